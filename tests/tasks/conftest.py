"""Voices as constant numbers: a corpus in which an encoder that returns the mean sample recognises everybody."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

RATE = 8000
ENCODER = {"name": "small_tdnn", "channels": 8, "blocks": 1, "wide": 16, "dimensions": 8}


def voice(speaker: int) -> float:
    """The mean sample of a speaker."""
    return 0.05 + 0.05 * speaker


@pytest.fixture
def voices(tmp_path: Path) -> Path:
    """Manifest of 8 speakers with 4 recordings each, of different lengths, every sample of a recording near its speaker's voice."""
    folder, random = tmp_path / "voices", np.random.default_rng(0)
    folder.mkdir()
    rows = []
    for speaker in range(8):
        for number in range(4):
            samples = voice(speaker) + 0.001 * random.standard_normal(int(RATE * random.uniform(0.6, 2.0)))
            name = f"s{speaker}_{number}.wav"
            soundfile.write(folder / name, samples, RATE, subtype="PCM_16")
            rows.append({"audio": name, "speaker": f"s{speaker}", "session": f"s{speaker}-{number}"})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder / "manifest.jsonl"


@pytest.fixture
def verification(voices: Path) -> Callable[..., dict[str, Any]]:
    """Make the values of a tiny verification recipe; keywords add to its task section."""

    def make(**task: Any) -> dict[str, Any]:
        return {
            "task": {"name": "verification", "max_frames": 40, "crop_frames": 50, **task},
            "data": {
                "corpus": {"name": "folder", "source": str(voices)},
                "sample_rate": RATE,
                "train": {"speakers": ["s0", "s1", "s2", "s3"]},
                "validation": {"speakers": ["s4", "s5"]},
                "test": {"speakers": ["s6", "s7"]},
                "batch": {"speakers": 3, "utterances": 2},
            },
            "model": dict(ENCODER),
            "optimizer": {"name": "adam", "lr": 3e-3},
            "budget": {"updates": 6, "evaluate_every": 3, "checkpoint_every": 2, "log_every": 1},
        }

    return make
