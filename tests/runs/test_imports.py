"""This room stays light: what lists or follows runs must not wait for torch."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import json, sys, time
import auscult.registry
names = ("torch", "lhotse", "yaml", "numpy", "tensorboard", "sqlite3")
begun = time.process_time()
import auscult.runs.directory, auscult.runs.index, auscult.runs.sink, auscult.runs.sinks.csv, auscult.runs.sinks.tensorboard
print(json.dumps([time.process_time() - begun, [name for name in names if name in sys.modules]]))
"""


def test_importing_the_room_is_quick_and_brings_no_torch(program_environment):
    measured = [json.loads(subprocess.check_output([sys.executable, "-c", PROGRAM], env=program_environment)) for _ in range(3)]
    assert measured[0][1] == ["sqlite3"]
    assert min(seconds for seconds, _ in measured) < 0.1
