"""JSON that any tool can read and that gives back exactly the values that went in.

Problem: a diverging run logs `nan` and `inf`, which JSON does not have; Python writes the bare words all the same,
and `jq`, browsers and SQLite then refuse the file. Choice: a non-finite float is written as the string "nan", "inf"
or "-inf" and read back as a float. A *text* that is one of these three words (an utterance may well say "nan") gets a
backslash in front, so nothing is ever mistaken for a number. Rejected: null (hides which of the three it was), a
wrapper object per number (unreadable in a plain listing).
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

_NUMBERS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_MARKS = ('nan"', 'inf"')
"""Every encoded non-finite float and every escaped text contains one of these; other documents need no second pass."""


def to_json(value: Any, *, sort_keys: bool = False, indent: int | None = None) -> str:
    """Return a value as strict JSON text on one line (or indented); NumPy scalars and paths are accepted.

    Raises:
        TypeError: the value holds something that is not data.

    >>> to_json({"loss": float("nan"), "text": "nan"})
    '{"loss": "nan", "text": "\\\\\\\\nan"}'
    """
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, sort_keys=sort_keys, indent=indent, default=_plain)
        if not any(mark in text for mark in _MARKS):
            return _encodable(text, value, sort_keys, indent)
    except ValueError:  # a non-finite float somewhere: the second pass below writes it as text
        pass
    value = _encode(value)
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, sort_keys=sort_keys, indent=indent, default=_plain)
    return _encodable(text, value, sort_keys, indent)


def from_json(text: str) -> Any:
    """Return the value that `to_json` wrote.

    Raises:
        ValueError: the text is not JSON.

    >>> from_json('{"loss": "-inf", "word": "inform"}')
    {'loss': -inf, 'word': 'inform'}
    """
    value = json.loads(text)
    return _decode(value) if any(mark in text for mark in _MARKS) else value


def _encodable(text: str, value: Any, sort_keys: bool, indent: int | None) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # a file name that is not UTF-8 arrives as lone surrogates, which only \u escapes can carry
        return json.dumps(value, allow_nan=False, sort_keys=sort_keys, indent=indent, default=_plain)
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    scalar = getattr(value, "item", None)
    if callable(scalar):
        return scalar()
    raise TypeError(f"{type(value).__name__} {value!r} cannot be stored as JSON; pass plain numbers, text, lists and dictionaries")


def _encode(value: Any) -> Any:
    if isinstance(value, str):
        return f"\\{value}" if value.lstrip("\\") in _NUMBERS else value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(float(value))
    if isinstance(value, dict):
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encode(item) for item in value]
    return value if value is None or isinstance(value, (bool, int)) else _encode(_plain(value))


def _decode(value: Any) -> Any:
    if isinstance(value, str):
        if value in _NUMBERS:
            return _NUMBERS[value]
        return value[1:] if value.startswith("\\") and value.lstrip("\\") in _NUMBERS else value
    if isinstance(value, dict):
        return {key: _decode(item) for key, item in value.items()}
    return [_decode(item) for item in value] if isinstance(value, list) else value
