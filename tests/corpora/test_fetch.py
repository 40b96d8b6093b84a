"""Lists come whole, with the expected content, or not at all. Nothing here leaves the machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from auscult.corpora import fetch
from auscult.corpora.fetch import fetch_list
from auscult.errors import UserError

LIST = b"1 id10270/a/00001.wav id10270/b/00001.wav\n"
HASH = hashlib.sha256(LIST).hexdigest()


@pytest.fixture
def published(tmp_path: Path) -> Path:
    path = tmp_path / "server" / "veri test.txt"
    path.parent.mkdir()
    path.write_bytes(LIST)
    return path


def test_a_list_is_fetched_and_its_hash_returned(published: Path, tmp_path: Path) -> None:
    target = tmp_path / "lists" / "veri_test.txt"
    assert fetch_list(published.as_uri(), target) == HASH
    assert target.read_bytes() == LIST
    assert fetch_list(published.as_uri(), target, HASH.upper()) == HASH


def test_a_list_that_is_there_is_not_fetched_again(published: Path, tmp_path: Path) -> None:
    target = tmp_path / "veri_test.txt"
    fetch_list(published.as_uri(), target, HASH)
    published.unlink()
    assert fetch_list(published.as_uri(), target, HASH) == HASH
    with pytest.raises(UserError, match=r"cannot be fetched .*check the address"):
        fetch_list(published.as_uri(), target)
    assert target.read_bytes() == LIST


@pytest.mark.parametrize(
    ("content", "sha256", "message"),
    [
        (LIST[:-5], HASH, f"has the SHA-256 [0-9a-f]{{64}}, expected {HASH}"),
        (b"<!DOCTYPE html><title>Moved</title>", None, "is a web page, not a list"),
        (b" \n", None, "is empty, not a list"),
        (b"PK\x03\x04\xff\xff", None, "is not UTF-8 text .*archive"),
    ],
)
def test_what_is_not_the_list_leaves_the_old_one(published: Path, tmp_path: Path, content: bytes, sha256: str | None, message: str) -> None:
    target = tmp_path / "lists" / "veri_test.txt"
    target.parent.mkdir()
    target.write_text("old\n")
    published.write_bytes(content)
    with pytest.raises(UserError, match=message):
        fetch_list(published.as_uri(), target, sha256)
    assert [(path.name, path.read_text()) for path in target.parent.iterdir()] == [("veri_test.txt", "old\n")]


def test_a_huge_answer_is_not_read_to_its_end(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "LARGEST", 10)
    with pytest.raises(UserError, match="is no list; is it an archive"):
        fetch_list(published.as_uri(), tmp_path / "list.txt")


@pytest.mark.parametrize("url", ["ftp://host/list.txt", "veri_test.txt", "data:text/plain,1"])
def test_other_addresses_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no address of a list"):
        fetch_list(url, tmp_path / "list.txt")
