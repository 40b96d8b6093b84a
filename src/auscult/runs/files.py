"""Files that are either the old version or the new one, whatever happens in between.

Problem: a run is killed at any instant, and a disk fills up at the worst one; a checkpoint or a summary cut in half
is worse than none. Choice: write beside the target, flush, fsync, rename over it, fsync the folder. A reader sees one
whole version, and a failed write leaves the previous one as it was. The temporary name carries host and process, so
`remove_leftovers` can later tell an abandoned one from one in use. Rejected: writing in place with a backup copy (two
files to reconcile after a crash), `tempfile` (its files are private to one user).
"""

from __future__ import annotations

import errno
import io
import itertools
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from auscult.errors import UserError
from auscult.runs.json_values import from_json, to_json
from auscult.runs.process import process_is_alive

_counter = itertools.count()


def write_atomic(path: Path, data: bytes | str) -> None:
    """Replace a file with new content, whole or not at all; text is written as UTF-8.

    Raises:
        UserError: the file cannot be written (full disk, no permission); the old version is intact.
    """
    content = data.encode("utf-8") if isinstance(data, str) else data
    replace_with(path, lambda stream: _write_all(stream, content))


def write_json(path: Path, value: Any) -> None:
    """Replace a file with a value as indented JSON, whole or not at all.

    Raises:
        UserError: as `write_atomic`.
    """
    write_atomic(path, to_json(value, indent=1) + "\n")


def read_json(path: Path) -> Any:
    """Return the value in a JSON file.

    Raises:
        UserError: the file is missing, unreadable or not JSON; the message names it.
    """
    try:
        return from_json(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({_reason(error)}); check that the path is right and readable") from error
    except ValueError as error:
        raise UserError(
            f"{path}: is damaged, expected JSON ({error}); restore the file from a copy, or delete the folder it is in"
        ) from error


def replace_with(path: Path, writer: Callable[[BinaryIO], None]) -> None:
    """Replace a file with whatever a writer puts into a stream, whole or not at all; missing folders are made.

    Args:
        path: the file to replace.
        writer: called once with a binary stream, for example `lambda stream: torch.save(state, stream)`.

    Raises:
        UserError: the file cannot be written (full disk, no permission); the old version is intact and no temporary file stays behind.
    """
    path = Path(path)
    temporary = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write_through(temporary, writer)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def replace_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Replace a folder with what `fill` puts into an empty one beside it; what was there before goes only when the new one is whole.

    Between two renames there is no folder at all; a reader finds the old one, none, or the new one, and never a mixture of both.

    Args:
        path: the folder to replace or make.
        fill: called once with a new folder.

    Raises:
        UserError: something cannot be written; the old folder is intact.
    """
    path = Path(path)
    made, old = temporary_name(path), temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        made.mkdir()
        try:
            fill(made)
            sync_folder(made)
            if path.exists():
                path.rename(old)
            made.rename(path)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            if old.exists() and not path.exists():
                old.rename(path)
            raise
        shutil.rmtree(old, ignore_errors=True)
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> UserError:
    """Return the error for a file that could not be written, with what to do about it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = "free some space"
    else:
        remedy = "check the path and its permissions"
    return UserError(
        f"{path}: cannot be written ({_reason(error)}); {remedy} and run the same command again; what was there before is intact"
    )


def temporary_name(path: Path) -> Path:
    """Return a name beside `path` that no other process or thread uses."""
    return path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.{next(_counter)}.tmp")


def remove_leftovers(folder: Path) -> list[Path]:
    """Delete temporary files and folders directly in a folder whose process on this host is gone; return what was deleted."""
    removed = []
    for leftover in sorted(folder.glob(".*.tmp")):
        parts = leftover.name.rsplit(".", 3)
        owner = parts[1] if len(parts) == 4 else ""
        if not (owner.isdigit() and parts[0].endswith(f".{socket.gethostname()}")) or process_is_alive(int(owner)):
            continue
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()
        removed.append(leftover)
    return removed


def sync_folder(folder: Path) -> None:
    """Make a rename in a folder survive a power cut, where the file system can do that."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot sync a folder, and need not
            raise
    finally:
        os.close(descriptor)


class _WatchedStream(io.BufferedWriter):
    """Remembers why a write failed: some writers (torch.save) replace the disk's error by an unrelated one of their own."""

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = error
            raise


def _write_through(temporary: Path, writer: Callable[[BinaryIO], None]) -> None:
    stream = _WatchedStream(io.FileIO(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb"))
    try:
        writer(stream)
        stream.flush()
        os.fsync(stream.fileno())
    except BaseException:
        try:
            stream.close()
        except OSError as error:  # closing flushes again; the first failure is the one to report
            stream.failure = stream.failure or error
        if stream.failure is not None:
            raise stream.failure from None
        raise
    stream.close()


def _write_all(stream: BinaryIO, content: bytes) -> None:
    stream.write(content)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
