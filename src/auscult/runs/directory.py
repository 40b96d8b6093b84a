"""The run directory: the only truth about a run; everything later reads it and nothing reaches back.

Problem: results live in trackers, terminals and memories, and a killed process leaves half a folder. Choice: one
folder per run holds all of it in files that are replaced whole (recipe, identity, labels, state, summaries,
checkpoints) or only appended (events). The folder itself appears in one rename. One process at a time may train it,
by a lock that the kernel gives back when the process dies. Rejected: a lock file that is merely there or not (stays
behind after kill -9), a database (one damaged page takes every run with it).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from auscult.errors import UserError, did_you_mean
from auscult.runs.events import EventLog
from auscult.runs.facts import recipe_facts
from auscult.runs.files import cannot_write, read_json, remove_leftovers, sync_folder, temporary_name, write_atomic, write_json
from auscult.runs.identity import Identity, canonical_hash
from auscult.runs.process import is_gone, this_process
from auscult.runs.records import Records, plain_name
from auscult.runs.state import State

_held: set[int] = set()
"""Descriptors of locks this process holds. A forked worker closes its copies: it must not keep a run locked after its parent was killed."""


def _release_in_child() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_release_in_child)


class RunDirectory(Records):
    """One run on disk; make one with `create`, or read one with `open`.

    Attributes:
        path: the folder.
        events: its event log.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events = EventLog(path / "events.jsonl")

    def __repr__(self) -> str:
        return f"RunDirectory({str(self.path)!r})"

    @classmethod
    def create(cls, root: Path, name: str, recipe_text: str, identity: Identity, labels: Sequence[str] | None, verb: str) -> RunDirectory:
        """Make a new run in state QUEUED; the folder appears complete or not at all.

        Args:
            root: folder of all runs; made if missing.
            name: of the run's folder.
            recipe_text: the resolved recipe as YAML.
            identity: what determines the result.
            labels: ordered label map of the model's outputs, where it has one.
            verb: the command that makes the run ("train", "check").

        Raises:
            UserError: the run exists (open it instead), or the folder cannot be written.
        """
        path = Path(root) / plain_name(name, "run")
        temporary = temporary_name(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(path.parent)
            temporary.mkdir()
            try:
                _fill(temporary, name, recipe_text, identity, labels, verb)
                temporary.rename(path)
            except BaseException:
                shutil.rmtree(temporary)
                raise
            sync_folder(path.parent)
        except OSError as error:
            if path.exists():
                raise UserError(
                    f"{path}: this run exists already; open it to resume or reuse it, or delete the folder to start over"
                ) from error
            raise cannot_write(path, error) from error
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """Return an existing run.

        Raises:
            UserError: the path is no run directory; the message names the nearest run beside it.
        """
        path = Path(path)
        if not _is_run(path):
            nearby = {str(run): run for run in [*find_runs(path.parent), *find_runs(path.parent / "runs")]}
            by_name = {run.name: run for run in nearby.values()}
            hint = f' (did you mean "{by_name[path.name]}"?)' if path.name in by_name else did_you_mean(str(path), nearby)
            problem = "is not a run directory" if path.exists() else "there is no such run"
            raise UserError(f"{path}: {problem}{hint}; `auscult runs` lists the runs there are")
        return cls(path)

    @property
    def state(self) -> State:
        """The state now; RUNNING whose process is gone from this host reads as CRASHED."""
        return current_state(self._state_record())

    @property
    def reason(self) -> str:
        """Why the run is in the state last recorded; empty where nothing needed explaining."""
        return str(self._state_record()["reason"])

    def set_state(self, state: State, reason: str = "") -> None:
        """Record a state, the reason for it, this process and the time; earlier states stay listed under "times".

        Raises:
            UserError: the file cannot be written.
        """
        self._record_state(state, reason, time.time())

    @contextmanager
    def lock(self) -> Iterator[RunDirectory]:
        """Hold the exclusive right to train this run; on entry a crash of the last holder is recorded and its temporary files are removed.

        Raises:
            UserError: another process (or this one, elsewhere) holds it; the message names the process.
        """
        descriptor = _acquire(self.path / "lock")
        try:
            self._settle()
            yield self
            os.ftruncate(descriptor, 0)
        finally:
            if descriptor in _held:  # a forked child that leaves this block has closed its copy already
                _held.remove(descriptor)
                os.close(descriptor)

    @property
    def recipe_text(self) -> str:
        """The resolved recipe as it was written when the run was made."""
        return (self.path / "recipe.yaml").read_text(encoding="utf-8")

    @property
    def identity(self) -> Identity:
        """What determined the run when it was last started or resumed."""
        path = self.path / "identity.json"
        try:
            return Identity.from_dict(read_json(path))
        except (KeyError, TypeError) as error:
            raise UserError(f"{path}: is damaged, expected recipe, data, code and environment; restore it from a copy") from error

    def record_identity(self, identity: Identity) -> list[str]:
        """Make an identity the current one when it differs, moving the old one to "history"; return what changed, in words.

        Raises:
            UserError: the file is damaged or cannot be written.
        """
        changes = identity.changes_since(self.identity)
        if changes:
            path = self.path / "identity.json"
            old = read_json(path)
            history = old.pop("history", [])
            entry = {**identity.to_dict(), "time": time.time(), "changes": changes, "history": [*history, old]}
            write_json(path, entry)
        return changes

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The ordered label map, or None for a run without one.

        Raises:
            UserError: the file does not match its own checksum: it was edited or damaged.
        """
        path = self.path / "labels.json"
        if not path.exists():
            return None
        record = read_json(path)
        if not isinstance(record, dict) or record.get("checksum") != canonical_hash(record.get("labels")):
            raise UserError(f"{path}: does not match its checksum, so outputs would be read with the wrong labels; restore it from a copy")
        return tuple(record["labels"])

    def checkpoint(self, which: str) -> Path:
        """Return where a checkpoint ("last", "best", ...) lives, whether or not it is there."""
        return self.path / "checkpoints" / f"{plain_name(which, 'checkpoint')}.pt"

    @property
    def arrays_folder(self) -> Path:
        """Folder of arrays behind the figures, made if missing."""
        return self._folder("arrays")

    @property
    def figures_folder(self) -> Path:
        """Folder of figures, made if missing."""
        return self._folder("figures")

    @property
    def listening(self) -> Path:
        """Folder of sounds to listen to, `<split>/` beside its index `<split>.json`; there only where a task has something audible."""
        return self.path / "listening"

    def _folder(self, name: str) -> Path:
        folder = self.path / name
        folder.mkdir(exist_ok=True)
        return folder

    def _state_record(self) -> dict[str, Any]:
        path = self.path / "state.json"
        record = read_json(path)
        if not isinstance(record, dict) or record.get("state") not in State.__members__ or "process" not in record:
            raise UserError(f"{path}: is damaged, expected a state of {', '.join(State)}; restore it from a copy, or delete the run")
        return record

    def _record_state(self, state: State, reason: str, moment: float) -> None:
        times = [*self._state_record()["times"], {"state": str(state), "time": moment}]
        write_json(self.path / "state.json", _new_record(state, reason, times))

    def _settle(self) -> None:
        """Record the crash of an earlier process at the time of its last event, so that the time in between is not counted as training."""
        for folder in (self.path, *(self.path / name for name in ("checkpoints", "items", "summary", "figures", "arrays", "listening"))):
            remove_leftovers(folder)
        record = self._state_record()
        if record["state"] == State.RUNNING and current_state(record) is State.CRASHED:
            last = self.events.path.stat().st_mtime if self.events.path.exists() else time.time()
            pid = record["process"].get("pid")
            self._record_state(State.CRASHED, f"process {pid} ended without a word", max(last, record["times"][-1]["time"]))


def find_runs(root: Path) -> list[Path]:
    """Return the run directories directly in a folder, sorted by name; none for a missing folder."""
    root = Path(root)
    if not root.is_dir():
        return []
    with os.scandir(root) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    return [root / name for name in names if os.path.exists(f"{root}/{name}/state.json")]  # noqa: PTH110 - 5,000 of them


def current_state(record: dict[str, Any]) -> State:
    """Return the state a `state.json` record means now: RUNNING without its process is CRASHED."""
    state = State(record["state"])
    return State.CRASHED if state is State.RUNNING and is_gone(record["process"]) else state


def _acquire(path: Path) -> int:
    """Lock a file, write this process into it, and return its descriptor."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} on {socket.gethostname()}".encode(), 0)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 200, 0).decode("utf-8", errors="replace") or "unknown"
        os.close(descriptor)
        raise UserError(f"{path.parent}: is being trained by process {holder}; wait for it or stop it first") from error
    except OSError as error:
        os.close(descriptor)
        raise cannot_write(path, error) from error
    _held.add(descriptor)
    return descriptor


def _is_run(path: Path) -> bool:
    return (path / "state.json").is_file()


def _fill(folder: Path, name: str, recipe_text: str, identity: Identity, labels: Sequence[str] | None, verb: str) -> None:
    now = time.time()
    write_atomic(folder / "recipe.yaml", recipe_text)
    write_json(folder / "identity.json", {**identity.to_dict(), "time": now, "history": []})
    if labels is not None:
        write_json(folder / "labels.json", {"labels": list(labels), "checksum": canonical_hash(list(labels))})
    write_json(folder / "run.json", {"run": name, "verb": verb, "created": now, **recipe_facts(recipe_text)})
    write_json(folder / "state.json", _new_record(State.QUEUED, "", [{"state": str(State.QUEUED), "time": now}]))


def _new_record(state: State, reason: str, times: list[dict[str, Any]]) -> dict[str, Any]:
    return {"state": str(state), "reason": reason, "process": this_process(), "times": times}
