"""A recipe trained and judged on its test split as a user would, once for each of a few seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shared_parts.verbs import ROOT, auscult


def judged(recipe: str, seeds: int, root: Path) -> list[dict[str, Any]]:
    """Return metrics, intervals and the CPU minutes of training for each seed from 0 on; `recipe` is a path below recipes/."""
    rows = []
    for seed in range(seeds):
        trained, cpu, _ = auscult(root, "train", str(ROOT / "recipes" / recipe), f"seed={seed}", "--no-report")
        answer, _, _ = auscult(root, "evaluate", trained["run"], "--split", "test")
        rows.append({"seed": seed, "run": trained["run"], "cpu_minutes": cpu, **answer["metrics"], "intervals": answer["intervals"]})
    return rows
