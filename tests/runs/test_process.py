from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from auscult.runs.process import is_gone, process_is_alive, this_process


def test_this_process_is_here_and_survives_json():
    assert not is_gone(json.loads(json.dumps(this_process())))


def test_number_used_again_by_another_process_is_not_the_same_process():
    process = this_process()
    if process["started"] is None:
        pytest.skip("this system does not tell when a process started")
    assert is_gone({**process, "started": process["started"] - 1})


def test_earlier_boot_is_gone_and_another_host_cannot_be_judged():
    assert is_gone({**this_process(), "boot": "an earlier one"})
    assert not is_gone({**this_process(), "host": "elsewhere", "pid": 2**22 + 1})


def test_killed_process_is_gone_even_while_nobody_has_collected_it():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    assert process_is_alive(child.pid)
    child.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not process_is_alive(child.pid)
    child.wait()
    assert not process_is_alive(child.pid)
