"""Decode recordings once, compare them with what their manifest says, and name what is wrong.

`prepare` does this to every file, with or without keeping the samples, and both must refuse the same files in the same words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from auscult.audio.reading import AudioError, read_audio
from auscult.corpora.base import FileProblem

if TYPE_CHECKING:
    from lhotse import CutSet, Recording
    from lhotse.cut import Cut

Progress = Callable[[int, int], None]
"""Called with recordings done and recordings in all."""


def decode_problems(splits: Mapping[str, CutSet], threads: int = 1, progress: Progress | None = None) -> dict[str, FileProblem]:
    """Decode every file of all splits once and return what is wrong with them, by path, in the order of the cuts."""
    recordings = [recording for cuts in splits.values() for cut in cuts for recording in recordings_of(cut)]
    expected = {source.source: (one.sampling_rate, one.num_samples) for one in recordings for source in one.sources}
    found: dict[str, FileProblem] = {}
    with ThreadPoolExecutor(threads) as pool:
        results = pool.map(lambda path: _problem(path, expected[path]), expected)
        for done, (path, problem) in enumerate(zip(expected, results, strict=True), start=1):
            if problem is not None:
                found[path] = problem
            if progress is not None:
                progress(done, len(expected))
    return found


def recordings_of(cut: Cut) -> list[Recording]:
    """Return the recording of a cut, or those of the tracks of a mixture."""
    from lhotse.cut import MixedCut, PaddingCut

    parts = [track.cut for track in cut.tracks] if isinstance(cut, MixedCut) else [cut]
    return [part.recording for part in parts if not isinstance(part, PaddingCut)]


def _problem(path: str, stated: tuple[int, int]) -> FileProblem | None:
    decoded = decode(path, stated)
    return decoded if isinstance(decoded, FileProblem) else None


def decode(path: str, stated: tuple[int, int], channel: int | None = None) -> NDArray[np.float32] | FileProblem:
    """Return the samples (time,) of a whole file, or why it cannot be used.

    Args:
        path: the file.
        stated: sample rate and samples of its manifest.
        channel: counted from 0; the mean of all if None.
    """
    try:
        decoded, sample_rate = read_audio(path, channel=channel)
    except AudioError as error:
        return FileProblem(Path(path), error.problem, str(error))
    if (sample_rate, len(decoded)) == stated:
        return decoded
    problem = "truncated" if sample_rate == stated[0] and len(decoded) < stated[1] else "mismatch"
    detail = f"{path} holds {len(decoded)} samples at {sample_rate} Hz, its manifest says {stated[1]} at {stated[0]} Hz"
    return FileProblem(Path(path), problem, detail)
