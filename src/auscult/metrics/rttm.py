"""RTTM (who speaks when) and UEM (what is scored): reading that refuses what it would have to guess, and writing.

Problem: a scorer that skips what it cannot read reports a better or worse number for another set of files, and says nothing; a
known one dropped the evaluated regions of every file with a dot in its name. Choice: a line is understood or refused with file and
line number; names are opaque texts, compared as they are; an end is onset + duration in double precision, unrounded, because the
frames of the Jaccard error rate depend on it (see `jaccard`). Rejected: reading the name up to a dot; skipping turns of zero length;
merging the channels of a recording.

Format of RTTM: NIST RT-09, `SPEAKER file channel onset duration <NA> <NA> speaker confidence [<NA>]`; UEM: `file channel start end`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from auscult.errors import UserError, did_you_mean
from auscult.metrics.segments import Annotation, Evaluated, Turn

_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_LONGEST = 1e7  # seconds; a larger number is a damaged line, or samples taken for seconds
_OTHER_TYPES: tuple[str, ...] = ("SPKR-INFO", "LEXEME", "NON-LEX", "NON-SPEECH", "SEGMENT", "NOSCORE", "NO_RT_METADATA")
_OTHER_TYPES += ("A/P", "IP", "SU", "CB", "EDIT", "FILLER")
_RTTM = "SPEAKER file channel onset duration <NA> <NA> speaker <NA> <NA>"


@dataclass(frozen=True)
class Rttm:
    """What an RTTM file holds: turns by recording, in file order, and how many lines of other types were passed over, by type."""

    turns: dict[str, list[Turn]]
    skipped: dict[str, int]


def read_rttm(path: str | Path) -> Rttm:
    """Read an RTTM file.

    Lines of other types than SPEAKER are counted in `skipped`; empty lines and comments (`;;`) are nothing.

    Raises:
        UserError: the file is missing, not UTF-8 or without SPEAKER lines, or a line has another number of columns than 9 or 10, a
            time that is no number, a negative onset, a duration of zero or less, or a second channel of a recording.
    """
    path = Path(path)
    turns: dict[str, list[Turn]] = {}
    channels: dict[str, str] = {}
    skipped: dict[str, int] = {}
    for where, fields in _lines(path, "RTTM"):
        if fields[0] != "SPEAKER":
            if fields[0] not in _OTHER_TYPES:
                hint = did_you_mean(fields[0], ["SPEAKER", *_OTHER_TYPES])
                raise UserError(f'{where}: "{fields[0][:40]}" is no type of RTTM line{hint}; expected: {_RTTM}')
            skipped[fields[0]] = skipped.get(fields[0], 0) + 1
            continue
        if len(fields) not in (9, 10):
            raise UserError(f"{where}: expected 10 columns (9 in older files), got {len(fields)}; expected: {_RTTM}")
        _same_channel(where, channels, fields[1], fields[2])
        turns.setdefault(fields[1], []).append(_turn(where, fields))
    if not turns:
        raise UserError(f"{path}: no SPEAKER lines; expected lines such as: {_RTTM}")
    return Rttm(turns, skipped)


def read_uem(path: str | Path) -> dict[str, list[tuple[float, float]]]:
    """Read the evaluated regions of a UEM file, by recording.

    Raises:
        UserError: the file is missing, not UTF-8 or empty, or a line does not have four columns, a time that is no number, an end that
            does not lie after its start, or a second channel of a recording.
    """
    path = Path(path)
    regions: dict[str, list[tuple[float, float]]] = {}
    channels: dict[str, str] = {}
    for where, fields in _lines(path, "UEM"):
        if len(fields) != 4:
            raise UserError(f"{where}: expected 4 columns, got {len(fields)}; expected: file channel start end")
        _same_channel(where, channels, fields[0], fields[1])
        start, end = _seconds(where, "start", fields[2]), _seconds(where, "end", fields[3])
        if end <= start:
            raise UserError(f"{where}: the region ends at {fields[3]}, not after its start at {fields[2]}; give start, then end")
        regions.setdefault(fields[0], []).append((start, end))
    if not regions:
        raise UserError(f"{path}: no regions; expected lines such as: file channel start end")
    return regions


def rttm_text(annotation: Annotation) -> str:
    """Return turns as RTTM, recordings in the given order, turns by start; the caller writes the file.

    Raises:
        UserError: a recording or speaker name is empty or holds white space, which the format cannot express, or a turn starts before 0.

    >>> rttm_text({"talk": [Turn(0.5, 2.0, "anna")]})
    'SPEAKER talk 1 0.500000 1.500000 <NA> <NA> anna <NA> <NA>\\n'
    """
    lines = []
    for name, turns in annotation.items():
        for turn in sorted(turns, key=lambda turn: (turn.start, turn.end, turn.speaker)):
            _writable("recording", name)
            _writable("speaker", turn.speaker)
            if turn.start < 0:
                raise UserError(f"{name}: a turn of {turn.speaker} starts at {turn.start} s; RTTM has no negative times")
            onset = round(turn.start, 6)
            duration = max(round(turn.end, 6) - onset, 1e-6)  # shorter than a microsecond is still a turn, and 0 is none
            confidence = "<NA>" if turn.confidence is None else f"{turn.confidence:.6f}"
            lines.append(f"SPEAKER {name} 1 {onset:.6f} {duration:.6f} <NA> <NA> {turn.speaker} {confidence} <NA>\n")
    return "".join(lines)


def uem_text(evaluated: Evaluated) -> str:
    """Return regions as UEM; the caller writes the file.

    Raises:
        UserError: a name is empty or holds white space, or a region does not end after its start.

    >>> uem_text({"talk": [(0.0, 30.0)]})
    'talk 1 0.000000 30.000000\\n'
    """
    lines = []
    for name, regions in evaluated.items():
        _writable("recording", name)
        for start, end in regions:
            if not 0 <= start < end < _LONGEST:
                raise UserError(f"{name}: expected a region with 0 <= start < end, got {start} to {end}")
            lines.append(f"{name} 1 {start:.6f} {end:.6f}\n")
    return "".join(lines)


def _lines(path: Path, kind: str) -> Iterator[tuple[str, list[str]]]:
    """Yield (file:line, columns) of every line that says something."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot read the {kind} file ({(error.strerror or str(error)).lower()}); check the path") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte {error.start}); convert the file to UTF-8") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip() and not line.lstrip().startswith(";;"):
            yield f"{path}:{number}", _columns(line)


def _columns(line: str) -> list[str]:
    """Split at ASCII white space only: a no-break space may be part of a name."""
    return line.split() if line.isascii() else re.split(r"[ \t\r\f\v]+", line.strip(" \t\r\f\v"))


def _turn(where: str, fields: list[str]) -> Turn:
    onset, duration = _seconds(where, "onset", fields[3]), _seconds(where, "duration", fields[4])
    end = onset + duration
    if end <= onset:
        raise UserError(f"{where}: the duration is {fields[4]}, expected more than 0; delete the line if nobody speaks")
    confidence = None if fields[8] == "<NA>" else _number(where, "confidence", fields[8])
    return Turn(onset, end, fields[7], confidence)


def _seconds(where: str, what: str, field: str) -> float:
    value = _number(where, what, field)
    if not 0 <= value < _LONGEST:
        raise UserError(f"{where}: the {what} is {field}, expected seconds from 0 to {_LONGEST:.0e}")
    return value


def _number(where: str, what: str, field: str) -> float:
    if not _DECIMAL.fullmatch(field) or not math.isfinite(float(field)):
        raise UserError(f'{where}: the {what} is "{field[:40]}", expected a number')
    return float(field)


def _same_channel(where: str, channels: dict[str, str], name: str, channel: str) -> None:
    if channels.setdefault(name, channel) != channel:
        raise UserError(
            f'{where}: channel {channel} of "{name}" after channel {channels[name]}; channels are scored one at a time: '
            "give each its own file name, or keep one"
        )


def _writable(what: str, name: str) -> None:
    if not name or re.search(r"[ \t\r\n\f\v]", name):
        raise UserError(f'{what} "{name}": RTTM and UEM need names without spaces; rename it, for example with underscores')
