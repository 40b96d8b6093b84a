"""Random crops of mixtures made while reading: two voices and a noise from WAV files, against lhotse's `mix` and `load_audio`.

    OMP_NUM_THREADS=1 python benchmarks/mixing.py [--json] [--repeats N]

64 mixtures of recordings of 12 s at 8 kHz (16 bits), crops of 4 s, pages warm, nothing kept in memory; one process, one thread. Ours
returns the mixture *and* its sources (`data.layers.read_example`); lhotse truncates three cuts, mixes them and loads either the mixture
alone or its tracks, which are then added. Before anything is timed, both are compared sample by sample. The second row is the clean
variant of stored mixtures with four or seven layers, which scripts for PolSESS make by reading files with soundfile. Medians of process
CPU time, in turn. Exit code 1 if a promise is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from lhotse import CutSet, MonoCut
from lhotse.cut import MixedCut, MixTrack
from numpy.typing import NDArray

from auscult.corpora.folder import Folder
from auscult.corpora.polsess import PolSess
from auscult.data.layers import layer_names, left_out, read_example
from auscult.data.store import AudioStore
from auscult.testing.mixtures import toy_mixtures, write_polsess
from shared_parts.timing import median_seconds

RATE, SECONDS, CROP, MIXTURES = 8000, 12, 32000, 64
FASTER = {"lhotse, mixture alone": 4.0, "lhotse, tracks added": 4.0, "soundfile, whole layers": 1.0}
"""Least ratios of the alternative's time to ours."""


def recordings(folder: Path) -> list[MonoCut]:
    """Write noise, three recordings for each mixture, and return their cuts."""
    random, rows = np.random.default_rng(0), []
    for number in range(3 * MIXTURES):
        soundfile.write(folder / f"{number}.wav", random.integers(-3000, 3000, SECONDS * RATE, dtype=np.int16), RATE, subtype="PCM_16")
        speaker = {} if number % 3 == 2 else {"speaker": f"s{number}"}
        rows.append(json.dumps({"audio": f"{number}.wav", **speaker}))
    (folder / "manifest.jsonl").write_text("\n".join(rows))
    cuts = list(Folder(str(folder)).splits()["all"])
    return sorted(cuts, key=lambda cut: int(cut.id))


def ours(mixtures: list[MixedCut], starts: list[int]) -> list[NDArray[np.float32]]:
    store = AudioStore(RATE, 0)
    return [read_example(cut, "S", "separate_both", store, start, CROP).mixture for cut, start in zip(mixtures, starts, strict=True)]


def theirs(cuts: list[MonoCut], starts: list[int], mixed: bool) -> list[NDArray[np.float32]]:
    found = []
    for number, start in enumerate(starts):
        first, second, noise = (cut.truncate(offset=start / RATE, duration=CROP / RATE) for cut in cuts[3 * number : 3 * number + 3])
        loaded = first.mix(second).mix(noise).load_audio(mixed=mixed)
        found.append(loaded[0] if mixed else np.sum(loaded, axis=0)[0])
    return found


def stored(corpus: CutSet, starts: list[int], count: int) -> list[NDArray[np.float32]]:
    """Return the clean variant of stored mixtures: seven files less, for rows with reverberation."""
    store = AudioStore(RATE, 0)
    return [read_example(cut, "C", "separate_both", store, start, count).mixture for cut, start in zip(corpus, starts, strict=True)]


def whole_layers(corpus: CutSet, starts: list[int], count: int) -> list[NDArray[np.float32]]:
    """The same as scripts do it: every file as a whole, subtracted, then cut."""
    found = []
    for cut, start in zip(corpus, starts, strict=True):
        names = layer_names(cut)
        files = dict(zip(["mixture", *names], [one.source for one in cut.recording.sources], strict=True))
        mixture = soundfile.read(files["mixture"], dtype="float32")[0]
        for name in left_out(names, "C", "separate_both"):
            mixture = mixture - soundfile.read(files[name], dtype="float32")[0]
        np.stack([soundfile.read(files[name], dtype="float32")[0] for name in ("source1", "source2")])
        found.append(mixture[start : start + count])
    return found


def check(one: list[NDArray[np.float32]], other: list[NDArray[np.float32]]) -> None:
    if not all(np.allclose(mine, other_one, atol=1e-6) for mine, other_one in zip(one, other, strict=True)):
        raise SystemExit("the mixtures differ: the comparison is void")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    random, rows = np.random.default_rng(1), {}

    def row(name: str, run: Callable[[], object], alternatives: dict[str, Callable[[], object]]) -> None:
        times = median_seconds(run, *alternatives.values(), repeats=arguments.repeats, warm_up=1)
        rows[name] = {"mixtures per second": MIXTURES / times[0]}
        rows[name] |= {other: taken / times[0] for other, taken in zip(alternatives, times[1:], strict=True)}

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cuts = recordings(folder)
        mixtures = [MixedCut(f"m{n}", [MixTrack(cut=cut) for cut in cuts[3 * n : 3 * n + 3]]) for n in range(MIXTURES)]
        starts = random.integers(0, SECONDS * RATE - CROP, MIXTURES).tolist()
        check(ours(mixtures, starts), theirs(cuts, starts, mixed=True))
        row(
            "mixed while reading",
            lambda: ours(mixtures, starts),
            {
                "lhotse, mixture alone": lambda: theirs(cuts, starts, mixed=True),
                "lhotse, tracks added": lambda: theirs(cuts, starts, mixed=False),
            },
        )
        corpus = PolSess(str(write_polsess(folder / "toy", toy_mixtures("train", MIXTURES), seconds=4.0))).splits()["train"]
        starts = [0] * MIXTURES
        check(stored(corpus, starts, CROP), whole_layers(corpus, starts, CROP))
        row(
            "layers taken out of stored mixtures",
            lambda: stored(corpus, starts, CROP),
            {"soundfile, whole layers": lambda: whole_layers(corpus, starts, CROP)},
        )
    missed = [f"{name}: {other}" for name, figures in rows.items() for other, least in FASTER.items() if figures.get(other, least) < least]
    if arguments.json:
        print(json.dumps({"rows": rows, "missed": missed}, indent=2))
    else:
        for name, figures in rows.items():
            print(f"{name}: {figures.pop('mixtures per second'):,.0f} mixtures/s, times faster than", end=" ")
            print("; ".join(f"{other} {ratio:.1f}" for other, ratio in figures.items()))
        print("missed: " + ", ".join(missed) if missed else "every promise kept")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
