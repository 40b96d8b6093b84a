"""Promise: 5,000 runs are listed and sorted in less than a second.

Makes small runs in a temporary folder and times, in this process: building the index from nothing, listing when
nothing has changed (median of five), listing after one run in a hundred has changed, and, as the alternative the
index is measured against, reading every folder each time. Exit code 1 when the promise is missed.

    python benchmarks/run_index.py [--runs 5000] [--json]
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from auscult.runs.directory import RunDirectory, find_runs
from auscult.runs.identity import Identity
from auscult.runs.index import RunIndex
from auscult.runs.scanning import scan
from auscult.runs.state import State

LIMIT_SECONDS = 1.0
RECIPE = "task: recognition\nmodel: {name: conv_ctc}\nseed: 7\n"


def make_runs(root: Path, count: int) -> None:
    """Make one real run and copy it: making each would time 25,000 disk syncs."""
    template = RunDirectory.create(root, "recognition-conv_ctc-00000", RECIPE, Identity.current("r", "d"), ["a", "b"], "train")
    template.set_state(State.RUNNING)
    for update in range(1, 21):
        template.events.append(
            "step", update=update, loss=3.0 / update, gradient_norm=1.0, lr=1e-3, items=8, audio_seconds=20.0, elapsed=0.5 * update
        )
    template.events.append("evaluation", update=20, split="validation", metrics={"wer": 0.5, "cer": 0.25}, seconds=1.0)
    template.write_summary("validation", {"metrics": {"wer": 0.5, "cer": 0.25}, "intervals": {"wer": [0.4, 0.6]}, "protocol": {}})
    template.set_state(State.COMPLETE)
    facts = json.loads((template.path / "run.json").read_text())
    for number in range(1, count):
        path = root / f"recognition-conv_ctc-{number:05d}"
        shutil.copytree(template.path, path)
        (path / "run.json").write_text(json.dumps({**facts, "run": path.name, "seed": number}))
        (path / "summary" / "test.json").write_text(json.dumps({"metrics": {"wer": (number * 7919 % 1000) / 1000}}))


def seconds(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def measure(root: Path, count: int) -> dict[str, float | int]:
    make_runs(root, count)
    index = RunIndex(root)
    built = seconds(index.refresh)
    listed = index.rows(sort="wer")
    listing = statistics.median(seconds(lambda: index.rows(sort="wer")) for _ in range(5))
    for path in find_runs(root)[::100]:
        RunDirectory.open(path).events.append("step", update=21, loss=0.1)
    changed = seconds(lambda: index.rows(sort="wer"))
    folders = seconds(lambda: [scan(path) for path in find_runs(root)])
    return {
        "runs": count,
        "listed": len(listed),
        "build_seconds": built,
        "listing_seconds": listing,
        "listing_after_changes_seconds": changed,
        "reading_folders_seconds": folders,
        "ratio": folders / listing,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Path(folder), arguments.runs)
    met = measured["listed"] == arguments.runs and measured["listing_seconds"] < LIMIT_SECONDS
    if arguments.json:
        print(json.dumps({**measured, "limit_seconds": LIMIT_SECONDS, "met": met}))
    else:
        for name, value in measured.items():
            print(f"{name:32s} {value:10.3f}")
        print(f"listing in less than {LIMIT_SECONDS} s: {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
