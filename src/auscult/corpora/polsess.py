"""PolSESS: mixtures of two Polish speakers in a scene with an event, every part of which is a file of its own.

Problem: a corpus that is read by a table is trained on as the table says, and a column that moved, a reverberation file that is named and
not there, or two rows of one mixture give no error anywhere. Choice: the 34 columns are compared with the published ones, in order; a row
has all three reverberation files (indoor) or none (outdoor); every file that is named must exist, as long as its mixture. What makes the
table another one is refused at once; files that cannot be used are collected and counted against `error_budget`.

Nothing in the table says who speaks, and the corpus draws two *files*, which may be of one speaker. So the speaker comes from the path a
source was cut from: the reader of `<reader>_<book>_<number>` (Multilingual LibriSpeech; LibriSpeech's hyphens too), or the
folder of a session, `SES0001` or `0001_ses` (EMU/PRS; one reader sits in a session, so it is the session too). Another source needs
`speaker_pattern`, or a table `speakers.csv` with columns `path` and `speaker` in the corpus's folder. A path that names nobody is refused:
an unknown speaker would make the search for mixtures of one speaker find nothing.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Annotated

from pydantic import Field

from auscult.corpora.base import Corpus, FileProblem, Utterance, resolve
from auscult.corpora.folder import read_rows
from auscult.corpora.polsess_columns import COLUMNS, FOLDER_OF_COLUMN, SPEAKER_TABLE, SPLITS, table_name
from auscult.errors import UserError, did_you_mean
from auscult.registry import register

LAYERS = {
    "source1": "speaker1File",
    "source2": "speaker2File",
    "scene": "sceneFile",
    "event": "eventFile",
    "reverb1": "reverbForSpeaker1",
    "reverb2": "reverbForSpeaker2",
    "event_reverb": "reverbForEvent",
}
"""The column that names the file of a layer."""
REVERBS = tuple(column for name, column in LAYERS.items() if "reverb" in name)
EMPTY = ("", "nan", "<missing>")
"""How MATLAB and pandas write a cell without a value."""
READER = re.compile(r"(\d+)([_-])\d+\2\d+")
SESSION = re.compile(r"(SES[-_]?\d+|\d+_ses)", re.IGNORECASE)


@dataclass(frozen=True)
class _Row:
    """A row of a table; `place` names file and line."""

    place: str
    values: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        value = self.values[column].strip()
        return "" if value.lower() in EMPTY else value


@register("corpus", "polsess")
class PolSess(Corpus):
    """Mixtures of two speakers with their layers; splits "train", "val" and "test" as far as they are there.

    `custom` holds speakers, indoor, scene_class, event_class, scene_file, event_file, speech_files (where the layers were cut from), ssr
    in dB, and session (of the sources that were recorded in one).

    Args:
        source: the folder that holds train, val and test.
        speaker_pattern: regular expression that finds the speaker in the path of a source, written with "/", as its first group;
            null reads MLS and EMU paths, see the module.
        error_budget: number of unusable files that may be left out.
    """

    name = "polsess"

    def __init__(self, source: str, speaker_pattern: str | None = None, error_budget: Annotated[int, Field(ge=0)] = 0) -> None:
        super().__init__()
        self.source = source
        self.speaker_pattern = speaker_pattern
        self.error_budget = error_budget
        self._pattern = None if speaker_pattern is None else _compiled(speaker_pattern)

    def utterances(self) -> Iterable[Utterance]:
        """Yield the mixtures in the order of the tables.

        Raises:
            UserError: no split, or a table that is not as described; the message names file, line and column.
        """
        root = resolve(self.source)
        found = [split for split in SPLITS if (root / split).is_dir()]
        if not found:
            raise UserError(f"{root} is no PolSESS corpus; expected {', '.join(SPLITS)} in it, each with a folder mix and a table")
        named = _speaker_table(root / SPEAKER_TABLE)
        for split in found:
            table, first = _table(root, split), dict[str, str]()
            for row in read_table(table):
                _check_names(row, first)
                utterance = self._utterance(root / split, row, split, named)
                if utterance is not None:
                    yield utterance

    def _utterance(self, folder: Path, row: _Row, split: str, named: Mapping[str, str]) -> Utterance | None:
        indoor = bool(row[REVERBS[0]])
        columns = {"mixture": "mixFile", **{name: column for name, column in LAYERS.items() if indoor or column not in REVERBS}}
        places = {name: f"{row.place}, column {column}" for name, column in columns.items()}
        files = {name: folder / FOLDER_OF_COLUMN[column] / PureWindowsPath(row[column]).name for name, column in columns.items()}
        absent = [
            FileProblem(path, "missing", f"{places[name]}: {path} does not exist", places[name])
            for name, path in files.items()
            if not path.is_file()
        ]
        self.problems += absent
        speech = [row[f"speech{number}OryginalPath"].replace("\\", "/") for number in (1, 2)]
        heard = [self._speaker(path, named, f"{row.place}, column speech{number}OryginalPath") for number, path in enumerate(speech, 1)]
        custom = {
            "speakers": [speaker for speaker, _ in heard],
            "indoor": indoor,
            "scene_class": row["sceneClass"],
            "event_class": row["eventClass"],
            "scene_file": row["sceneOryginalPath"].replace("\\", "/"),
            "event_file": row["eventOryginalPath"].replace("\\", "/"),
            "speech_files": speech,
            "ssr": _number(row, "SSR"),
        }
        sessions = list(dict.fromkeys(session for _, session in heard if session))
        mixture = files.pop("mixture")
        if absent:
            return None
        return Utterance(
            f"{split}/{mixture.stem}",
            mixture,
            split,
            custom=custom | ({"session": sessions} if sessions else {}),
            layers=files,
            places=places,
        )

    def _speaker(self, path: str, named: Mapping[str, str], place: str) -> tuple[str, str | None]:
        """Return the speaker of a source and its session, if it is of one."""
        if path in named:
            return named[path], None
        if self._pattern is not None:
            match = self._pattern.search(path)
            if match is not None and match.group(1):
                return match.group(1), None
            wanted = f"speaker_pattern {self.speaker_pattern!r} finds none in it; change the pattern"
        else:
            *folders, file = path.split("/")
            reader = READER.fullmatch(Path(file).stem)
            if reader is not None:
                return reader.group(1), None
            session = next((found.group() for found in map(SESSION.fullmatch, reversed(folders)) if found), None)
            if session is not None:
                return session, session
            wanted = "expected <reader>_<book>_<number> or a folder SES<number>; set speaker_pattern, or add a table speakers.csv"
        raise UserError(f'{place}: "{path}" does not say who speaks: {wanted}')


def read_table(table: Path) -> Iterator[_Row]:
    """Yield the rows of a table, whose columns and delimiter are checked.

    Raises:
        UserError: no text, another delimiter than "," and ";", other columns, no rows, or a row that is not as described.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            delimiter = ";" if head.count(";") > head.count(",") else ","
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            header = next(reader, [])
            _check_columns(table, [name.strip() for name in header])
            rows = 0
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                place = f"{table}, line {reader.line_num}"
                if len(cells) != len(COLUMNS):
                    raise UserError(f"{place}: {len(cells)} cells, expected {len(COLUMNS)}; put cells that hold a {delimiter} in quotes")
                rows += 1
                yield _checked(_Row(place, dict(zip(COLUMNS, cells, strict=True))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table} is no table in UTF-8 ({error}); save it as CSV in UTF-8") from error
    if not rows:
        raise UserError(f"{table} has a header and no rows; restore it, or remove the folder of the split")


def _check_columns(table: Path, found: list[str]) -> None:
    if found == list(COLUMNS):
        return
    if not any(found):
        raise UserError(f"{table} is empty; restore it, or remove the folder of the split")
    absent, foreign = [name for name in COLUMNS if name not in found], [name for name in found if name not in COLUMNS]
    reasons = [f'"{name}" is no column of PolSESS{did_you_mean(name, absent)}' for name in foreign]
    if absent:
        reasons.append("missing: " + ", ".join(absent))
    reasons += [f'"{name}" stands there twice' for name in dict.fromkeys(found) if name in COLUMNS and found.count(name) > 1]
    if not reasons:
        place = next(place for place, (one, other) in enumerate(zip(found, COLUMNS, strict=True)) if one != other)
        reasons = [f'column {place + 1} is "{found[place]}" and should be "{COLUMNS[place]}"']
    raise UserError(f"{table}: expected the {len(COLUMNS)} columns of PolSESS in order, with , or ; between: {'; '.join(reasons)}")


def _checked(row: _Row) -> _Row:
    """Return a row that names a file wherever one must be named."""
    given = [column for column in REVERBS if row[column]]
    for column in FOLDER_OF_COLUMN:
        if not row[column] and (column not in REVERBS or given):
            why = f"{given[0]} names one; an indoor row has all of {', '.join(REVERBS)}, an outdoor row none" if column in REVERBS else ""
            raise UserError(f"{row.place}, column {column}: no file is named{f', and {why}' if why else '; every mixture has one'}")
    return row


def _check_names(row: _Row, first: dict[str, str]) -> None:
    name = PureWindowsPath(row["mixFile"]).name
    if name in first:
        raise UserError(f'{row.place}, column mixFile: "{name}" is the mixture of {first[name]} already; keep one row of each mixture')
    first[name] = row.place.rpartition(", ")[2]


def _number(row: _Row, column: str) -> float:
    try:
        return float(row[column].replace(",", "."))  # tables with ; between may have decimal commas
    except ValueError as error:
        raise UserError(f'{row.place}, column {column}: "{row[column]}" is no number; expected dB') from error


def _table(root: Path, split: str) -> Path:
    """Return the table of a split: the one of the folder's name, or the only one, as folders get renamed."""
    expected = root / split / table_name(root.name, split)
    if expected.is_file():
        return expected
    found = sorted((root / split).glob(table_name("*", split)))
    if len(found) != 1:
        listed = f"found {', '.join(path.name for path in found)}" if found else "found none"
        raise UserError(f"{root / split}: expected one table {table_name('<name>', split)}, {listed}; restore it, or move the others away")
    return found[0]


def _speaker_table(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    named: dict[str, str] = {}
    for line, row in read_rows(path):
        if not row.get("path") or not row.get("speaker"):
            raise UserError(f'{path}, line {line}: expected a path and its speaker under a header "path,speaker"')
        named[row["path"].replace("\\", "/")] = row["speaker"]
    return named


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"polsess: speaker_pattern {pattern!r} is no regular expression ({error})") from error
    if compiled.groups < 1:
        raise UserError(f"polsess: speaker_pattern {pattern!r} has no group; put the speaker in parentheses, as in '/([^/]+)/[^/]+$'")
    return compiled
