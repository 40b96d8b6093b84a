"""What the recognition recipes reach: error rates on recorded digits, and the R0 experiment, with the time they take.

    python benchmarks/recognition.py digits     # three seeds, held-out takes: median WER <= 8 % after <= 4 CPU minutes
    python benchmarks/recognition.py unseen     # three seeds, a speaker never heard: median WER <= 35 %
    python benchmarks/recognition.py r0         # full-size DeepSpeech 2 on three utterances: all below 0.001 in < 6 minutes

Every run is a fresh process in a temporary folder, as a user would start it; CPU time is that of the process and its children.
Exits 1 when a promise is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from shared_parts.verbs import auscult

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / "recipes" / "recognition"
PROMISES = {"digits": ("fsdd_digits.yaml", 0.08, 4.0), "unseen": ("fsdd_unseen_speaker.yaml", 0.35, 4.0)}
R0_MINUTES = 6.0


def digits(which: str, seeds: int) -> dict[str, Any]:
    recipe, most, minutes = PROMISES[which]
    rows = []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            trained, cpu, wall = auscult(folder, "train", str(RECIPES / recipe), f"seed={seed}", "--no-report")
            judged, _, _ = auscult(folder, "evaluate", trained["run"], "--split", "test")
        low, high = judged["intervals"]["wer"]
        rows.append({"seed": seed, "wer": judged["metrics"]["wer"], "low": low, "high": high, "cpu_minutes": cpu, "wall_minutes": wall})
        print(f"{recipe} seed {seed}: WER {rows[-1]['wer']:.2%} ({low:.2%} to {high:.2%}), {cpu:.2f} CPU minutes", file=sys.stderr)
    median = statistics.median(row["wer"] for row in rows)
    slowest = max(row["cpu_minutes"] for row in rows)
    return {"recipe": recipe, "runs": rows, "median_wer": median, "most": most, "held": median <= most and slowest <= minutes}


def r0() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        answer, cpu, wall = auscult(Path(name), "check", str(RECIPES / "deepspeech2.yaml"))
        drawn = [Path(path).name for path in answer["figures"]]
    rows = [
        {key: item[key] for key in ("id", "updates", "earlier_updates", "loss", "reference", "hypothesis")} for item in answer["utterances"]
    ]
    for row in rows:
        print(
            f"{row['id']}: {row['updates']} updates (R0: {row['earlier_updates']}), loss {row['loss']:.6f}, {row['hypothesis']!r}",
            file=sys.stderr,
        )
    print(f"{wall:.2f} minutes, {cpu:.2f} CPU minutes, figures: {', '.join(drawn)}", file=sys.stderr)
    held = answer["passed"] and wall < R0_MINUTES and len(drawn) >= 5
    return {"utterances": rows, "figures": drawn, "wall_minutes": wall, "cpu_minutes": cpu, "held": held}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="*", choices=["digits", "unseen", "r0"], default=[])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    chosen = arguments.which or ["digits", "unseen", "r0"]
    results = {which: r0() if which == "r0" else digits(which, arguments.seeds) for which in chosen}
    if arguments.json:
        print(json.dumps(results, indent=2))
    else:
        for which, result in results.items():
            print(
                f"{which}: {'held' if result['held'] else 'MISSED'}",
                f"median WER {result['median_wer']:.2%}" if "median_wer" in result else "",
            )
    return 0 if all(result["held"] for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
