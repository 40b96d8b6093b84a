"""Starts training processes in a fraction of a second: imports everything once, then forks a child per command.

Run as a script; reads one JSON object a line from standard input and answers with one on standard output.
`{"do": "start", "arguments": [...], "log": path, "environment": {...}, "faults": [...]}` -> `{"pid": n}`: the child is the
command line `auscult ARGUMENTS`. `{"do": "wait", "pid": n}` -> `{"code": c}`, negative for a signal.

A fault makes the child send itself a signal at an exact place: `{"target": "module:Class.method", "call": n, "when": "before" |
"after" | "half", "signal": 9}`; "half" is for `torch.save`, which is then killed in the middle of the file.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import signal
import sys
from typing import Any


def plant(fault: dict[str, Any]) -> None:
    """Wrap a function so that its n-th call sends this process a signal."""
    module_name, _, path = fault["target"].partition(":")
    *parents, name = path.split(".")
    owner: Any = importlib.import_module(module_name)
    for parent in parents:
        owner = getattr(owner, parent)
    original, calls = getattr(owner, name), 0

    def strike() -> None:
        os.kill(os.getpid(), fault.get("signal", signal.SIGKILL))

    def wrapped(*args: Any, **keywords: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls != fault["call"]:
            return original(*args, **keywords)
        if fault["when"] == "half":
            buffer = io.BytesIO()
            original(args[0], buffer)
            args[1].write(buffer.getvalue()[: len(buffer.getvalue()) // 2])
            args[1].flush()
            strike()
        if fault["when"] == "before":
            strike()
        result = original(*args, **keywords)
        if fault["when"] == "after":
            strike()
        return result

    setattr(owner, name, wrapped)


def child(command: dict[str, Any]) -> int:
    from auscult.cli import main

    log = os.open(command["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(command.get("environment", {}))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for fault in command.get("faults", []):
        plant(fault)
    code = main(command["arguments"])
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def start(command: dict[str, Any]) -> dict[str, Any]:
    pid = os.fork()
    if pid:
        return {"pid": pid}
    code = 70
    try:
        code = child(command)
    finally:
        os._exit(code)


def wait(command: dict[str, Any]) -> dict[str, Any]:
    _, status = os.waitpid(command["pid"], 0)
    return {"code": os.waitstatus_to_exitcode(status)}


def warm_up(recipe: str) -> None:
    """Train a little here, so that everything a child needs is imported."""
    import tempfile

    import torch

    from auscult.cli import main

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        output, sys.stdout = sys.stdout, io.StringIO()
        code = main(["train", recipe, "budget.updates=2", "data.workers=0", "--root", folder, "--no-report", "--json"])
        sys.stdout = output
    assert code == 0


if __name__ == "__main__":
    warm_up(sys.argv[1])
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(start(order) if order["do"] == "start" else wait(order)), flush=True)
