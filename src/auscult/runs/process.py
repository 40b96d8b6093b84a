"""Is the process that claimed a run still there?

Problem: a killed run cannot say so; its folder goes on claiming RUNNING for ever. A process number alone is no proof,
because numbers are used again. Choice: remember host, boot, number and start time of the process; the same four mean
the same process. A process on another host cannot be judged from here and counts as alive. Rejected: a heartbeat
thread (one more thing that stalls when the machine is busy).
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any


def this_process() -> dict[str, Any]:
    """Return what identifies the current process: host, boot, pid and started (clock ticks after boot; None where /proc is missing)."""
    return {"host": socket.gethostname(), "boot": _boot(), "pid": os.getpid(), "started": _start_time(os.getpid())}


def is_gone(process: dict[str, Any]) -> bool:
    """Tell whether a process recorded by `this_process` has certainly ended; False for a process of another host."""
    if process.get("host") != socket.gethostname():
        return False
    if process.get("boot") != _boot():
        return True
    pid = int(process["pid"])
    return not process_is_alive(pid) or (process.get("started") is not None and _start_time(pid) != process["started"])


def process_is_alive(pid: int) -> bool:
    """Tell whether a process number is in use on this host by a process that can still do something (a zombie cannot)."""
    status = _status(pid)
    if status is not None:
        return status[0] not in ("Z", "X")
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it exists and belongs to somebody else
        return True
    return True


def _start_time(pid: int) -> int | None:
    status = _status(pid)
    return None if status is None else int(status[19])


def _status(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the third (state) on; None where there is none. The second, the name, may hold spaces and brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _boot() -> str | None:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text(encoding="ascii").strip() if path.exists() else None
