"""A folder is whole, or what it was before."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from auscult.corpora.drafts import draft_folder
from auscult.errors import UserError


def test_new_content_replaces_the_old_at_the_end(tmp_path: Path) -> None:
    output = tmp_path / "out"
    for content in ("first", "second"):
        with draft_folder(output, "the corpus") as draft:
            assert not output.exists() or (output / "file").read_text() == "first"
            (draft / "file").write_text(content)
        assert (output / "file").read_text() == content
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_failure_leaves_the_old_content(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with draft_folder(output, "the corpus") as draft:
        (draft / "file").write_text("first")
    with pytest.raises(KeyError), draft_folder(output, "the corpus"):
        {}["the block fails"]
    assert (output / "file").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_draft_of_a_dead_process_is_removed_and_that_of_a_live_one_is_not(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = [f".out.{socket.gethostname()}.{number}.0.tmp" for number in (dead.pid, os.getppid())]
    for name in names:
        (tmp_path / name).mkdir()
    with draft_folder(tmp_path / "out", "the corpus"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([names[1], "out"])


def test_full_disk_is_one_sentence(tmp_path: Path) -> None:
    said = r"cannot write the corpus to .*out \(No space left on device\); free some space"
    with pytest.raises(UserError, match=said), draft_folder(tmp_path / "out", "the corpus"):
        raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())
