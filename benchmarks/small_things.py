"""What a person waits for without noticing: the help page, strings of words, reading them, an audit of a large manifest.

    python benchmarks/small_things.py [--json]

Process CPU time, one thread; the help page in wall time of a fresh process, median of seven. Exits 1 when a promise is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from lhotse import CutSet

from auscult.corpora.base import Utterance, make_cut
from auscult.data.alphabet import Alphabet
from auscult.data.audit import audit
from auscult.data.store import AudioStore
from auscult.data.strings import concatenate_words
from auscult.testing.corpora import toy_corpus

PROMISES = {
    "auscult --help, seconds": 0.3,
    "audit of 100,000 rows without audio, seconds": 10.0,
    "4,000 strings of words, seconds": 3.0,
    "2,000 words read from the cache, seconds": 1.0,
}
"""Upper limits."""


def cpu_seconds(action: Callable[[], Any]) -> float:
    began = time.process_time()
    action()
    return time.process_time() - began


def help_seconds() -> float:
    times = []
    for _ in range(7):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "auscult", "--help"], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def cuts_of(number: int) -> CutSet:
    rows = (
        Utterance(id=f"s{i % 200}-{i}", audio=Path(f"{i}.wav"), split="train", text=f"one two three {i % 7} four", speaker=f"s{i % 200}")
        for i in range(number)
    )
    return CutSet.from_cuts([make_cut(row, 16000, 16000 + i % 5000, 1) for i, row in enumerate(rows)])


def measure() -> dict[str, float]:
    results = {"auscult --help, seconds": help_seconds()}
    large = {"train": cuts_of(100_000)}
    alphabet = Alphabet(tuple(sorted(set("one two three four 0123456789"))))
    results["audit of 100,000 rows without audio, seconds"] = cpu_seconds(
        lambda: audit(large, alphabet=alphabet, output_frames=lambda samples: samples // 320, sample_rate=16000, audio=False)
    )
    with tempfile.TemporaryDirectory() as name:
        from auscult.corpora.folder import Folder

        words = Folder(str(toy_corpus(Path(name), speakers=5, utterances=20, sample_rate=8000))).splits()["train"]
        made: list[CutSet] = []
        random = np.random.default_rng(0)
        results["4,000 strings of words, seconds"] = cpu_seconds(
            lambda: made.append(concatenate_words(words, 4000, (4, 4), (0.05, 0.2), random))
        )
        store = AudioStore(8000, 100)
        strings = list(made[0])[:500]
        for string in strings:
            store.samples(string)
        results["2,000 words read from the cache, seconds"] = cpu_seconds(lambda: [store.samples(string) for string in strings])
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = measure()
    missed = [name for name, most in PROMISES.items() if results[name] >= most]
    if arguments.json:
        print(json.dumps({"results": results, "promises": PROMISES, "missed": missed}, indent=2))
    else:
        for name, value in results.items():
            print(f"{name:50s} {value:8.3f}   promised below {PROMISES[name]:g}{'   MISSED' if name in missed else ''}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
