"""Error rates and speed of the whole diarization pipeline, beside the two systems that do not listen, from given runs.

    OMP_NUM_THREADS=1 python benchmarks/diarization_pipeline.py [SEGMENTATION_RUN VERIFICATION_RUN] [--data ../shared/data]

Without runs, both small recipes are trained first (about eight minutes).
Promises: on pooled `ami_clips` (30 s, real meetings, UEM) and `librispeech_mix2` (two readers, much overlap) the full error rate is at
least ten points below the better trivial system, and embeddings included one core needs at most 0.05 s per second of audio. Speed is
also stated as a ratio: the same embeddings with every window encoded by itself, in the same process, medians of alternating repeats of
process CPU time. What a machine and its load do to seconds they do to both.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from auscult.audio.reading import read_audio
from auscult.serving.diarization_evaluation import evaluate_diarization, find_audio
from auscult.serving.diarization_files import read_evaluated, read_references, stream_file
from auscult.serving.diarizer import Diarizer, load_diarizer
from auscult.serving.diarizer_settings import Speakers
from auscult.serving.voices import EncoderVoices
from auscult.serving.windows import FrameGrid
from shared_parts.timing import median_seconds
from shared_parts.verbs import ROOT, auscult

SETS = {"ami_clips": True, "librispeech_mix2": False}
"""Folder, and whether it has a UEM."""
REPEATS = 3
POINTS, REAL_TIME_FACTOR = 0.10, 0.05


class WindowByWindow(EncoderVoices):
    """The alternative: each window is encoded anew, and its speakers are pooled from that."""

    def embed(
        self, samples: NDArray[np.float32], starts: NDArray[np.int64], weights: NDArray[np.float32], grid: FrameGrid
    ) -> NDArray[np.float32]:
        """Embed the rows of one window at a time."""
        rows = [starts == one for one in np.unique(starts)]
        parts = [super(WindowByWindow, self).embed(samples, starts[row], weights[row], grid) for row in rows]
        return np.concatenate(parts)


alternating = partial(median_seconds, repeats=REPEATS)


def errors(diarizer: Diarizer, folder: Path, with_uem: bool) -> dict[str, Any]:
    reference, audio = read_references(folder), find_audio(folder)
    regions = read_evaluated(folder) if with_uem else None
    offline = evaluate_diarization(diarizer.diarize, reference, audio, regions)
    stream = evaluate_diarization(lambda path: stream_file(diarizer, path, Speakers()), reference, audio, regions)
    systems = {**offline.systems, "stream, 0.5 s": stream.systems["system"]}
    trivial = min(systems[name]["der_full"] for name in ("one speaker everywhere", "all silence"))
    rates = {
        name: {key: value for key, value in scores.items() if "der" in key or key == "jer" or "full" in key}
        for name, scores in systems.items()
    }
    return {
        "systems": rates,
        "points_below_the_better_trivial_system": 100 * (trivial - systems["system"]["der_full"]),
        "kept": systems["system"]["der_full"] <= trivial - POINTS,
        "speakers_found": {name: [row["speakers_found"], row["speakers_reference"]] for name, row in offline.per_file.items()},
        "protocol": offline.protocol,
        "notes": offline.notes,
    }


def speed(diarizer: Diarizer, folder: Path) -> dict[str, float | bool]:
    """Twenty clips end to end as one recording of minutes, so that windows overlap as in a meeting."""
    assert isinstance(diarizer.voices, EncoderVoices)
    clips = [read_audio(path)[0] for path in find_audio(folder).values()]
    meeting = np.concatenate(clips * 3)
    slow = Diarizer(diarizer.segmenter, WindowByWindow(diarizer.voices.encoder), diarizer.settings)
    ours, theirs = alternating(lambda: diarizer.diarize(meeting), lambda: slow.diarize(meeting))
    seconds = len(meeting) / diarizer.segmenter.grid.sample_rate
    return {
        "seconds_of_audio": seconds,
        "cpu_seconds_per_second": ours / seconds,
        "ratio_window_by_window": theirs / ours,
        "kept": ours / seconds <= REAL_TIME_FACTOR,
    }


def measured(segmentation: Path, verification: Path, data: Path) -> dict[str, Any]:
    diarizer = load_diarizer(segmentation, verification)
    torch.set_num_threads(1)
    results: dict[str, Any] = {name: errors(diarizer, data / name, with_uem) for name, with_uem in SETS.items()}
    return {**results, "speed": speed(diarizer, data / "ami_clips")}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("segmentation", type=Path, nargs="?", help="diarization run; without, both small recipes are trained first")
    parser.add_argument("verification", type=Path, nargs="?", help="verification run")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    options = parser.parse_args()
    if options.verification is not None:
        results = measured(options.segmentation, options.verification, options.data)
    else:
        with tempfile.TemporaryDirectory() as folder:
            recipes = ("diarization/powerset_mini.yaml", "verification/mini.yaml")
            trained = [auscult(Path(folder), "train", str(ROOT / "recipes" / one), "--no-report")[0] for one in recipes]
            results = measured(*(Path(folder) / one["run"] for one in trained), options.data)
    print(json.dumps(results, indent=2))
    return 0 if all(result["kept"] for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
