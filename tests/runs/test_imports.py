"""This room stays light: what lists or follows runs must not wait for torch."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import json, sys
names = ("torch", "lhotse", "yaml", "numpy", "tensorboard", "sqlite3")
import auscult.runs.directory, auscult.runs.index, auscult.runs.sink, auscult.runs.sinks.csv, auscult.runs.sinks.tensorboard
print(json.dumps([name for name in names if name in sys.modules]))
"""


def test_importing_the_room_brings_no_torch(program_environment):
    assert json.loads(subprocess.check_output([sys.executable, "-c", PROGRAM], env=program_environment)) == ["sqlite3"]
