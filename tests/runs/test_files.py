from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import textwrap

import pytest

from auscult.errors import UserError
from auscult.runs import files
from auscult.runs.files import read_json, remove_leftovers, replace_folder, replace_with, write_atomic, write_json


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_writes_text_and_bytes_and_makes_the_folder(tmp_path):
    path = tmp_path / "new" / "file"
    write_atomic(path, "zażółć")
    assert path.read_bytes() == "zażółć".encode()
    write_atomic(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert names(path.parent) == ["file"]


def test_new_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "usual").write_text("x")
    write_atomic(tmp_path / "atomic", "x")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_full_disk_keeps_the_old_version_and_says_what_to_do(tmp_path):
    path = tmp_path / "last.pt"
    path.write_bytes(b"old")

    def writer(stream):
        stream.write(b"half of the new one")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match=r"last\.pt: cannot be written \(no space left on device\); free some space"):
        replace_with(path, writer)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["last.pt"]


def test_full_disk_at_the_last_sync_keeps_the_old_version(tmp_path, monkeypatch):
    path = tmp_path / "state.json"
    write_json(path, 1)

    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(UserError, match="free some space"):
        write_json(path, 2)
    assert read_json(path) == 1
    assert names(tmp_path) == ["state.json"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")  # noqa: PTH110
def test_torch_save_on_a_full_disk_reports_the_disk(tmp_path, monkeypatch):
    """torch.save replaces the disk's error by one about zip archives; the user must read about the disk."""
    torch = pytest.importorskip("torch")
    path = tmp_path / "last.pt"
    path.write_bytes(b"old")
    really_open = os.open

    def open_full_device(target, flags, mode=0o777):
        return really_open("/dev/full", os.O_WRONLY) if str(target).endswith(".tmp") else really_open(target, flags, mode)

    monkeypatch.setattr(files.os, "open", open_full_device)
    with pytest.raises(UserError, match=r"last\.pt: cannot be written \(no space left on device\)"):
        replace_with(path, lambda stream: torch.save({"weight": torch.zeros(100_000)}, stream))
    assert path.read_bytes() == b"old"


def test_error_of_the_writer_itself_is_not_hidden(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def writer(stream):
        stream.write(b"half")
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        replace_with(path, writer)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_folder_that_is_a_file_is_a_user_error(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_atomic(tmp_path / "runs" / "x", "y")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"a": 1'])
def test_damaged_json_names_the_file(tmp_path, content):
    path = tmp_path / "state.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"state\.json: is damaged, expected JSON"):
        read_json(path)


def test_missing_json_names_the_file(tmp_path):
    with pytest.raises(UserError, match=r"absent\.json: cannot be read"):
        read_json(tmp_path / "absent.json")


def test_leftovers_of_dead_processes_go_and_those_of_living_ones_stay(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = socket.gethostname()
    gone = [tmp_path / f".last.pt.{host}.{dead.pid}.0.tmp", tmp_path / f".run.{host}.{dead.pid}.3.tmp"]
    stay = [
        tmp_path / f".last.pt.{host}.{os.getpid()}.0.tmp",
        tmp_path / f".last.pt.elsewhere.{dead.pid}.0.tmp",
        tmp_path / ".notes.tmp",
        tmp_path / "x",
    ]
    gone[1].mkdir()
    (gone[1] / "inside").write_text("")
    for path in [gone[0], *stay]:
        path.write_text("")
    assert sorted(remove_leftovers(tmp_path)) == sorted(gone)
    assert names(tmp_path) == sorted(path.name for path in stay)


def test_writer_killed_at_any_moment_leaves_one_whole_version(tmp_path, kill_after):
    path = tmp_path / "summary.json"
    write_json(path, {"version": -1, "filler": []})
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from auscult.runs.files import write_json
        for version in range(10**9):
            write_json(Path(sys.argv[1]), {"version": version, "filler": [version] * 5000})
            if version == 0:
                print("ready", flush=True)
        """
    )
    for seconds in (0.0, 0.003, 0.011, 0.027, 0.05):
        kill_after(program, [str(path)], seconds)
        value = read_json(path)
        assert value["filler"] == [value["version"]] * 5000
        remove_leftovers(tmp_path)
        assert names(tmp_path) == ["summary.json"]


def _fill(*contents):
    return lambda folder: [(folder / name).write_text(name) for name in contents]


def test_a_folder_is_replaced_whole(tmp_path):
    replace_folder(tmp_path / "run" / "sounds", _fill("a", "b"))
    replace_folder(tmp_path / "run" / "sounds", _fill("c"))
    assert names(tmp_path / "run" / "sounds") == ["c"]
    assert names(tmp_path / "run") == ["sounds"]


def test_a_folder_that_cannot_be_filled_leaves_the_old_one(tmp_path):
    replace_folder(tmp_path / "sounds", _fill("a"))

    def half(folder):
        (folder / "b").write_text("b")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match=r"sounds: cannot be written .*free some space"):
        replace_folder(tmp_path / "sounds", half)
    assert names(tmp_path / "sounds") == ["a"]
    assert names(tmp_path) == ["sounds"]


def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path, monkeypatch):
    replace_folder(tmp_path / "sounds", _fill("a"))
    rename, moved = files.Path.rename, []

    def fails_second(path, target):
        moved.append(path)
        if len(moved) == 2:
            raise OSError(errno.EACCES, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(files.Path, "rename", fails_second)
    with pytest.raises(UserError, match="permission denied"):
        replace_folder(tmp_path / "sounds", _fill("b"))
    assert len(moved) == 3
    assert names(tmp_path / "sounds") == ["a"]
    assert names(tmp_path) == ["sounds"]
