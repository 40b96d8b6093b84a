"""Running a verb as a user would: a fresh process, its JSON answer, the CPU time of it and its children."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def auscult(folder: Path, *words: str) -> tuple[Any, float, float]:
    """Run a verb with --json in a folder; return its answer, CPU minutes and wall minutes."""
    environment = {**os.environ, "AUSCULT_DATA": os.environ.get("AUSCULT_DATA", str(ROOT.parent / "shared" / "data"))}
    before, began = os.times(), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "auscult", *words, "--json"], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    after = os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    if not done.stdout:
        sys.exit(f"auscult {' '.join(words)} failed with exit code {done.returncode}")
    return json.loads(done.stdout), cpu / 60, (time.monotonic() - began) / 60
