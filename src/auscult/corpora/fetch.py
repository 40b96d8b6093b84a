"""Lists that belong to a corpus and are published apart from its audio, such as the trial lists of VoxCeleb.

Problem: a list that was fetched half, or a page of an error in its place, is still a text file. Choice: one function that compares a hash
where one is known, returns it to be written down where none is, refuses web pages, and puts the file in place whole or not at all.
Audio is never fetched: its licences ask for agreement, and its size for another tool.
"""

from __future__ import annotations

import hashlib
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlparse
from urllib.request import urlopen

from auscult.errors import UserError
from auscult.runs.files import write_atomic

LARGEST = 256 * 2**20
"""Bytes above which something is not a list."""


def fetch_list(url: str, path: Path | str, sha256: str | None = None, seconds: float = 60.0) -> str:
    """Fetch a list of text lines, and return its SHA-256 (64 hexadecimal digits).

    A file that is there and has the hash is left alone, and nothing is fetched.

    Args:
        url: http, https or file.
        path: file to write.
        sha256: what its content must be; None takes what comes, over what is there.
        seconds: without an answer after which the attempt ends.

    Raises:
        UserError: the address cannot be read, is no list, or has another content; what was there before is intact.
    """
    path = Path(path)
    if sha256 is not None and path.is_file() and _hash(path.read_bytes()) == sha256.lower():
        return sha256.lower()
    content = _content(url, seconds)
    found = _hash(content)
    if sha256 is not None and found != sha256.lower():
        raise UserError(f"{url} has the SHA-256 {found}, expected {sha256.lower()}; it has changed or was cut off: compare the lists")
    _check_lines(content, url)
    write_atomic(path, content)
    return found


def _content(url: str, seconds: float) -> bytes:
    if urlparse(url).scheme not in ("http", "https", "file"):
        raise UserError(f'"{url}" is no address of a list; expected http://, https:// or file://')
    try:
        with urlopen(url, timeout=seconds) as answer:
            content: bytes = answer.read(LARGEST + 1)
    except (URLError, OSError, HTTPException, ValueError) as error:
        raise UserError(f"{url} cannot be fetched ({getattr(error, 'reason', error)}); check the address and the network") from error
    if len(content) > LARGEST:
        raise UserError(f"{url} is larger than {LARGEST // 2**20} MB, which is no list; is it an archive?")
    return content


def _check_lines(content: bytes, url: str) -> None:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{url} is not UTF-8 text ({error.reason} at byte {error.start}), which is no list; is it an archive?") from error
    if not text.strip() or text.lstrip()[:1] == "<":
        what = "a web page" if text.strip() else "empty"
        raise UserError(f"{url} is {what}, not a list; the publisher may have moved it, or ask for a login")


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
