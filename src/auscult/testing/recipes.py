"""A complete recipe of the smallest size, for tests that need a run rather than a part of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from auscult.testing.corpora import toy_corpus

SAMPLE_RATE = 8000


def toy_recipe(folder: Path, updates: int = 6, speakers: int = 3, utterances: int = 6) -> dict[str, Any]:
    """Write a corpus of spelled tones into a folder and return the recipe of a tiny recogniser for it, as plain values.

    Args:
        folder: where the corpus goes; made if absent, reused if there.
        updates: budget.
        speakers: of the corpus.
        utterances: per speaker.
    """
    manifest = folder / "manifest.jsonl"
    if not manifest.exists():
        toy_corpus(folder, speakers=speakers, utterances=utterances, sample_rate=SAMPLE_RATE)
    return {
        "task": {"name": "recognition"},
        "data": {
            "corpus": {"name": "folder", "source": str(manifest)},
            "sample_rate": SAMPLE_RATE,
            "train": "train",
            "validation": "validation",
            "test": "test",
            "batch": {"items": 4, "buckets": 2},
        },
        "model": {"name": "conv_ctc", "channels": 16, "blocks": 1, "kernel": 5},
        "optimizer": {"name": "adamw", "lr": 0.005},
        "budget": {"updates": updates, "evaluate_every": 3, "checkpoint_every": 2, "log_every": 1},
        "seed": 3,
    }
