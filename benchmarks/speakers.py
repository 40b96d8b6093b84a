"""What the speaker recipes reach on speakers never heard, with the CPU time they take.

    python benchmarks/speakers.py verification     # three seeds: median EER < 8 % and under the untrained baseline, <= 4 CPU minutes each
    python benchmarks/speakers.py segmentation     # three seeds: frame error under 0.6 of the majority-class line, <= 5 CPU minutes each

Every run is a fresh process in a temporary folder, as a user would start it (`--keep FOLDER` keeps the runs). Exits 1 when a promise
is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from shared_parts.seeds import judged

EER, VERIFICATION_MINUTES = 0.08, 4.0
SHARE_OF_LINE, SEGMENTATION_MINUTES = 0.6, 5.0


def verification(seeds: int, root: Path) -> dict[str, Any]:
    rows = judged("verification/mini.yaml", seeds, root)
    for row in rows:
        low, high = row["intervals"]["eer"]
        print(
            f"seed {row['seed']}: EER {row['eer']:.2%} ({low:.2%} to {high:.2%}), untrained {row['eer_untrained']:.2%}, "
            f"minDCF(.01) {row['min_dcf_p01']:.3f}, minDCF(.05) {row['min_dcf_p05']:.3f}, Cllr {row['cllr']:.3f}, "
            f"{row['cpu_minutes']:.2f} CPU minutes",
            file=sys.stderr,
        )
    median = statistics.median(row["eer"] for row in rows)
    untrained = statistics.median(row["eer_untrained"] for row in rows)
    slowest = max(row["cpu_minutes"] for row in rows)
    held = median < EER and median < untrained and slowest <= VERIFICATION_MINUTES
    return {"runs": rows, "text": f"median EER {median:.2%}, untrained {untrained:.2%}", "held": held}


def segmentation(seeds: int, root: Path) -> dict[str, Any]:
    rows = judged("diarization/powerset_mini.yaml", seeds, root)
    for row in rows:
        print(
            f"seed {row['seed']}: frame error {row['frame_error']:.2%}, majority line {row['majority_frame_error']:.2%}, "
            f"{row['cpu_minutes']:.2f} CPU minutes",
            file=sys.stderr,
        )
    share = statistics.median(row["frame_error"] / row["majority_frame_error"] for row in rows)
    held = share < SHARE_OF_LINE and max(row["cpu_minutes"] for row in rows) <= SEGMENTATION_MINUTES
    return {"runs": rows, "text": f"median frame error {share:.0%} of the majority-class line", "held": held}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="*", choices=["verification", "segmentation"], default=[])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="folder for the runs")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    chosen = arguments.which or ["verification", "segmentation"]
    with tempfile.TemporaryDirectory() as name:
        root = arguments.keep if arguments.keep is not None else Path(name)
        root.mkdir(parents=True, exist_ok=True)
        results = {which: {"verification": verification, "segmentation": segmentation}[which](arguments.seeds, root) for which in chosen}
    if arguments.json:
        print(json.dumps(results, indent=2))
    else:
        for which, result in results.items():
            print(f"{which}: {'held' if result['held'] else 'MISSED'}, {result['text']}")
    return 0 if all(result["held"] for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
