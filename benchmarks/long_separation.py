"""What long recordings cost and whether their speakers stay where they are.

    OMP_NUM_THREADS=1 python benchmarks/long_separation.py [memory speed order voices] [--minutes 60] [--data ../shared/data] [--json]

memory: peak resident memory of separating one minute and an hour of 16 kHz (a small untrained Conv-TasNet at 8 kHz, so that the resampler
    works too), each in a fresh process. Promise: at most 10 % more for the hour.
speed: process CPU seconds per second of audio of the same network, windowed, against the whole minute in one call, which is what most
    scripts do; medians of alternating repeats. The ratio to expect is window / hop = 2 (each second is heard twice), less where length
    costs.
order: recordings of 40 s of two known voices, one or both silent for a while, through separators that are exact but for the order of their
    outputs in every window, and with 15 dB of crosstalk; in how many do speakers change places? Against Asteroid's LambdaOverlapAdd, the
    reordering overlap-add people use, where it is installed (pip install --no-deps asteroid). Promise: none of ours.
voices: how often the average spectrum tells who speaks after a common silence: pairs of readers, three seconds of each known, one or both
    of them speaking again (needs the data pack; different readers were recorded on different microphones, which helps).
Exits 1 when a promise is missed.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from auscult.audio.reading import read_audio
from auscult.audio.resampling import resample
from auscult.serving.separation_profile import SpeakerProfiles
from auscult.serving.separator import RunSeparator, load_separator
from auscult.testing.known_separation import RATE, KnownSeparator, known_voices
from auscult.testing.separation_runs import fresh_separation_run
from shared_parts.timing import median_seconds

MOST_MEMORY = 1.10
_CHILD = """
import sys
from auscult.serving.separator import load_separator
record = load_separator(sys.argv[1], device="cpu").separate_file(sys.argv[2], sys.argv[3])
status = open("/proc/self/status").read()
print(status.split("VmHWM:")[1].split()[0], record["windows"])
"""


def memory(minutes: int) -> dict[str, Any]:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = fresh_separation_run(folder / "runs")
        for length in (1, minutes):
            path = folder / f"{length}.wav"
            with soundfile.SoundFile(path, "w", 16_000, 1, "PCM_16") as sound:
                for second in range(60 * length):
                    sound.write(0.1 * np.random.default_rng(second).standard_normal(16_000))
            child = [sys.executable, "-c", _CHILD, str(run), str(path), str(folder / "out")]
            kilobytes, windows = subprocess.run(child, check=True, capture_output=True, text=True).stdout.split()
            rows.append({"minutes": length, "peak_megabytes": int(kilobytes) / 1024, "windows": int(windows)})
            path.unlink()
    ratio = rows[1]["peak_megabytes"] / rows[0]["peak_megabytes"]
    return {"rows": rows, "ratio": ratio, "held": ratio <= MOST_MEMORY}


def speed() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        separator = load_separator(fresh_separation_run(Path(name)), device="cpu")
    mixture = known_voices(60.0, 1).sum(axis=0)

    def whole() -> None:
        with torch.inference_mode():
            separator.network(torch.from_numpy(mixture)[None])

    def rest() -> None:
        RunSeparator(lambda windows: torch.stack([windows, 0 * windows], dim=1), 2, RATE).separate(mixture)

    windowed, at_once, around = median_seconds(lambda: separator.separate(mixture), whole, rest, warm_up=1)
    return {
        "real_time_factor": windowed / 60, "whole_at_once": at_once / 60, "ratio": windowed / at_once,
        "gains_order_and_fades_alone": around / 60, "held": True,
    }  # fmt: skip


class Crosstalk(KnownSeparator):
    """The exact separator with a share of each voice in the other's output."""

    def __init__(self, share: float) -> None:
        super().__init__(shuffled=True, levels=False)
        self.share = share

    def __call__(self, mixture: torch.Tensor) -> torch.Tensor:
        """(batch, time) -> (batch, 2, time)."""
        found = super().__call__(mixture)
        return found + self.share * found.flip(1)


def stayed(found: NDArray[np.float32], voices: NDArray[np.float32]) -> bool:
    """Whether every half second with speech is nearer to one and the same naming of the outputs."""
    votes = set()
    for begin in range(2 * RATE, voices.shape[1] - 2 * RATE, RATE // 2):
        cut = slice(begin, begin + RATE // 2)
        score = float((found[:, cut] * voices[:, cut]).sum() - (found[::-1, cut] * voices[:, cut]).sum())
        if abs(score) > 1.0:
            votes.add(score > 0)
    return len(votes) < 2


@cache
def overlap_add_of_asteroid() -> Any:
    """Return the class, or None; the packages' own imports need more than these two files do."""
    spec = importlib.util.find_spec("asteroid")
    if spec is None:
        print("asteroid is not installed: pip install --no-deps asteroid", file=sys.stderr)
        return None
    for name in ("asteroid", "asteroid.dsp", "asteroid.losses"):
        module = ModuleType(name)
        module.__path__ = [str(Path(str(spec.origin)).parent.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = module
    return importlib.import_module("asteroid.dsp.overlap_add").LambdaOverlapAdd


def asteroid_separate(separator: Callable[[torch.Tensor], torch.Tensor], mixture: NDArray[np.float32]) -> NDArray[np.float32]:
    joined = overlap_add_of_asteroid()(lambda window: separator(window.reshape(1, -1)), 2, 4 * RATE)
    with torch.inference_mode():
        return np.asarray(joined.ola_forward(torch.from_numpy(mixture)[None, None])[0].numpy())


def order(recordings: int = 20) -> dict[str, Any]:
    cases: dict[str, Callable[[float], dict[int, list[tuple[float, float]]]]] = {
        "both speak": lambda begin: {},
        "one silent for 3 s": lambda begin: {0: [(begin, begin + 3)]},
        "both silent for 2 s": lambda begin: {0: [(begin, begin + 2)], 1: [(begin, begin + 2)]},
        "both silent for 6 s": lambda begin: {0: [(begin, begin + 6)], 1: [(begin, begin + 6)]},
        "in turn, 6 s each, 2 s between": lambda begin: {0: [(begin, begin + 10)], 1: [(begin - 8, begin + 2), (begin + 8, begin + 18)]},
    }
    installed = overlap_add_of_asteroid() is not None
    rows = []
    for case, silences in cases.items():
        for name, make in (("exact", lambda: KnownSeparator(levels=False)), ("15 dB of crosstalk", lambda: Crosstalk(10 ** (-15 / 20)))):
            lost, theirs = 0, 0
            for seed in range(recordings):
                begin = float(np.random.default_rng(seed).uniform(9, 20))
                voices = known_voices(40.0, seed, silences(begin))
                mixture = voices.sum(axis=0)
                lost += not stayed(RunSeparator(make(), 2, RATE).separate(mixture), voices)
                theirs += installed and not stayed(asteroid_separate(make(), mixture), voices)
            rows.append({"case": case, "separator": name, "auscult": lost, "asteroid": theirs if installed else None, "of": recordings})
    return {"rows": rows, "held": all(row["auscult"] == 0 for row in rows)}


def voices(data: Path, pairs: int = 1000) -> dict[str, Any]:
    said = []
    for path in sorted((data / "librispeech_1utt").glob("*.flac")):
        samples = resample(*read_audio(path), RATE).astype(np.float64)
        if len(samples) >= 6 * RATE:
            said.append(samples / samples.std())
    generator, right = np.random.default_rng(0), []
    for _ in range(pairs):
        one, other = (said[place] for place in generator.choice(len(said), 2, replace=False))
        profiles = SpeakerProfiles(2, RATE)
        profiles.learn(np.stack([one[: 3 * RATE], other[: 3 * RATE]]), 1.0)
        like = profiles.likeness(np.stack([one[-3 * RATE :], other[-3 * RATE :]]), 1.0)
        right.append((like[0, 0] + like[1, 1] > like[0, 1] + like[1, 0], like[0, 0] > like[1, 0]))
    both, alone = np.mean(right, axis=0).tolist()
    return {"readers": len(said), "pairs": pairs, "both_speak_again": both, "one_speaks_again": alone, "held": True}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="*", choices=["memory", "speed", "order", "voices"], default=[])
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    chosen = arguments.which or ["memory", "speed", "order", *(["voices"] if arguments.data.is_dir() else [])]
    makers = {"memory": lambda: memory(arguments.minutes), "speed": speed, "order": order, "voices": lambda: voices(arguments.data)}
    results = {which: makers[which]() for which in chosen}
    if arguments.json:
        print(json.dumps(results, indent=2))
        return 0 if all(result["held"] for result in results.values()) else 1
    for which, result in results.items():
        print(f"{which}: {'held' if result['held'] else 'MISSED'}")
        for row in [*result.pop("rows", []), {key: value for key, value in result.items() if key != "held"}]:
            if row:
                print(
                    "  " + ", ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items())
                )
    return 0 if all(result["held"] for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
