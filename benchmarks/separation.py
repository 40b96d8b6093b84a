"""What the small separation recipe reaches on readers never heard, with the CPU time it takes.

    python benchmarks/separation.py     # three seeds: median SI-SDRi >= 3.5 dB, <= 5 CPU minutes each

Every run is a fresh process in a temporary folder, as a user would start it (`--keep FOLDER` keeps the runs). Exits 1 when the promise
is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from shared_parts.seeds import judged

IMPROVEMENT, MINUTES = 3.5, 5.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="separation/spectral_masks_mini.yaml", help="below recipes/")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="folder for the runs")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = arguments.keep if arguments.keep is not None else Path(name)
        root.mkdir(parents=True, exist_ok=True)
        rows = judged(arguments.recipe, arguments.seeds, root)
    for row in rows:
        low, high = row["intervals"]["si_sdri"]
        print(
            f"seed {row['seed']}: SI-SDRi {row['si_sdri']:.2f} dB ({low:.2f} to {high:.2f}), {row['failure_rate']:.0%} made worse, "
            f"{row['cpu_minutes']:.2f} CPU minutes",
            file=sys.stderr,
        )
    median = statistics.median(row["si_sdri"] for row in rows)
    held = median >= IMPROVEMENT and max(row["cpu_minutes"] for row in rows) <= MINUTES
    if arguments.json:
        print(json.dumps({"runs": rows, "median_si_sdri": median, "held": held}, indent=2))
    else:
        print(f"{arguments.recipe}: {'held' if held else 'MISSED'}, median SI-SDRi {median:.2f} dB over {len(rows)} seeds")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
