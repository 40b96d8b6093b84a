"""A process killed at a chosen moment, and a run to play with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import auscult
from auscult.runs.directory import RunDirectory
from auscult.runs.identity import Identity

RECIPE = "task: recognition\nmodel: {name: conv_ctc}\nseed: 7\n"


@pytest.fixture
def program_environment():
    """Environment in which another Python finds the package under test."""
    return {**os.environ, "PYTHONPATH": str(Path(auscult.__file__).parents[1])}


@pytest.fixture
def kill_after(program_environment):
    """Run a program until it prints a line, let it go on for some seconds, and SIGKILL it; return the line."""

    def run(program: str, arguments: list[str], seconds: float) -> str:
        process = subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True, env=program_environment)
        assert process.stdout is not None
        line = process.stdout.readline()
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert line, "the program ended by itself"
        return line.strip()

    return run


@pytest.fixture
def identity():
    return Identity("recipe", "data", {"training/stepper.py": "1", "models/conv_ctc.py": "1"}, {"torch": "2.13", "processors": 2})


@pytest.fixture
def make_run(tmp_path, identity):
    """Make a run in `tmp_path / "runs"`."""

    def make(name: str = "recognition-conv_ctc-0123456789ab", recipe: str = RECIPE, labels=("a", "b"), verb: str = "train") -> RunDirectory:
        return RunDirectory.create(tmp_path / "runs", name, recipe, identity, labels, verb)

    return make
