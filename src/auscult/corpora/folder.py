"""Recordings listed in a table: JSON lines or CSV, the form in which most private corpora exist.

One row per whole file: `audio` and, where known, `text`, `speaker`, `duration`, `split`, `id`, `language`, `sample_rate`,
`samples`, `channels`. Every further column is kept in `cut.custom`. `duration` alone is compared with the file's header, never trusted: it
is usually rounded, and a row that describes a piece of a longer file would pair the wrong audio with its text. Rows that give
`samples` and `sample_rate` (and `channels`, unless it is one) are trusted and cost one existence check instead of a header read.

Speaker corpora are often folders named by speaker and nothing else. `speakers_from: folder` reads those; it has to be asked for, because
a first folder called `clips` or `test` would make one speaker of everything.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from auscult.corpora.base import Corpus, FileProblem, Utterance, find_recordings, resolve
from auscult.errors import UserError, did_you_mean
from auscult.registry import register

TEXT_KEYS = ("audio", "text", "speaker", "split", "id", "language", "sex")
NUMBER_KEYS = {"duration": float, "sample_rate": int, "samples": int, "channels": int}
SEXES: dict[str, Literal["female", "male"]] = {"female": "female", "f": "female", "male": "male", "m": "male"}
PARENTS = 3
"""How many folders above the manifest a relative audio path may start from."""


@register("corpus", "folder")
class Folder(Corpus):
    """Recordings listed in a manifest, whose column `split` divides them, or in one folder per speaker.

    Args:
        source: a .jsonl, .csv or .tsv manifest, or a folder with manifest.jsonl or with one manifest per split.
        language: of rows that state none.
        split: of rows that state none, where there is a single manifest or none.
        speakers_from: "folder" reads every audio file below `source`, without manifest; its speaker is the first folder below it.
        error_budget: number of unusable files that may be left out.
    """

    name = "folder"

    def __init__(
        self,
        source: str,
        language: str | None = None,
        split: Annotated[str, Field(min_length=1)] = "all",
        speakers_from: Literal["manifest", "folder"] = "manifest",
        error_budget: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__()
        self.source = source
        self.language = language
        self.split = split
        self.speakers_from = speakers_from
        self.error_budget = error_budget

    def utterances(self) -> Iterable[Utterance]:
        """Yield the rows in the order of the manifests, or the files in the order of their paths.

        Raises:
            UserError: no manifest, or a row that is not as described; the message names file and line; no folder of a speaker.
        """
        source = resolve(self.source)
        if self.speakers_from == "folder":
            yield from self._files(source)
            return
        for manifest, split in _manifests(source, self.split):
            for line, row in read_rows(manifest):
                yield self._utterance(manifest, line, row, split)

    def _files(self, source: Path) -> Iterator[Utterance]:
        found = find_recordings(source)
        for path in found:
            inside = path.relative_to(source)
            if len(inside.parts) == 1:
                self.problems.append(FileProblem(path, "misnamed", f"{path} lies in no folder of a speaker"))
                continue
            identity = inside.with_suffix("").as_posix()
            yield Utterance(identity, path, self.split, speaker=inside.parts[0], language=self.language)
        if not found:
            raise UserError(f"{source} holds no .wav, .flac or .ogg file; expected <speaker>/.../<name>.wav below it")

    def _utterance(self, manifest: Path, line: int, row: dict[str, Any], split: str) -> Utterance:
        values = {key: value for key, value in row.items() if value is not None and value != ""}
        place = f"{manifest}, line {line}"
        if "audio" not in values:
            raise UserError(f'{place}: no "audio"{did_you_mean("audio", values)}; every row needs the path of its recording')
        known = {key: _text(values.pop(key, None), key, place) for key in TEXT_KEYS}
        numbers = {key: _number(values.pop(key, None), key, kind, place) for key, kind in NUMBER_KEYS.items()}
        sex = SEXES.get(str(known["sex"]).lower()) if known["sex"] is not None else None
        if known["sex"] is not None and sex is None:
            raise UserError(f'{place}: sex is "{known["sex"]}"; expected "female" or "male", or F or M')
        audio = str(known["audio"])
        return Utterance(
            id=known["id"] or Path(audio).with_suffix("").as_posix(),
            audio=find_audio(audio, manifest),
            split=known["split"] or split,
            text="" if row.get("text") == "" else known["text"],
            speaker=known["speaker"],
            language=known["language"] or self.language,
            sex=sex,
            custom=values,
            **numbers,
        )


def read_rows(manifest: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line number and row of a .jsonl, .csv or .tsv manifest.

    Raises:
        UserError: not UTF-8, not JSON objects, or a table without header or with ragged rows.
    """
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            yield from _json_rows(manifest, file) if manifest.suffix == ".jsonl" else _table_rows(manifest, file)
    except UnicodeDecodeError as error:
        raise UserError(f"{manifest} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error


def find_audio(audio: str, manifest: Path) -> Path:
    """Return the absolute path of a recording; relative paths start at the manifest's folder or up to three folders above it.

    Where nothing is found, the path below the manifest's folder is returned, to be reported as missing.
    """
    path = Path(audio).expanduser()
    if path.is_absolute():
        return path
    for base in (manifest.parent, *list(manifest.parent.parents)[:PARENTS]):
        if (base / path).is_file():
            return base / path
    return manifest.parent / path


def _manifests(source: Path, default: str) -> list[tuple[Path, str]]:
    """Return the manifests and the split of their rows that name none."""
    if source.is_file():
        if source.suffix not in (".jsonl", ".csv", ".tsv"):
            raise UserError(f"{source} is no manifest; expected a .jsonl, .csv or .tsv file")
        return [(source, default)]
    single = source / "manifest.jsonl"
    found = [single] if single.is_file() else sorted(source.glob("*.jsonl")) or sorted((*source.glob("*.csv"), *source.glob("*.tsv")))
    if not found:
        raise UserError(
            f'{source} holds no manifest; expected manifest.jsonl or *.csv with a column "audio", '
            "or set speakers_from: folder if every speaker has a folder"
        )
    return [(found[0], default)] if len(found) == 1 else [(path, path.stem) for path in found]


def _json_rows(manifest: Path, lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{manifest}, line {number}: not JSON ({error.msg}); expected one object per line") from error
        if not isinstance(row, dict):
            raise UserError(f'{manifest}, line {number}: expected an object such as {{"audio": "a.wav", "text": "..."}}')
        yield number, row


def _table_rows(manifest: Path, lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(lines, delimiter="\t" if manifest.suffix == ".tsv" else ",", strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                columns = len(reader.fieldnames or ())
                raise UserError(f"{manifest}, line {reader.line_num}: the header has {columns} columns, this row has not; quote the text")
            yield reader.line_num, dict(row)
    except csv.Error as error:
        raise UserError(f"{manifest}, line {reader.line_num}: {error}") from error


def _text(value: object, key: str, place: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if key in ("speaker", "id") and isinstance(value, int):
        return str(value)
    raise UserError(f"{place}: {key} is {value!r}; expected text")


def _number(value: Any, key: str, kind: type[int] | type[float], place: str) -> Any:
    if value is None:
        return None
    try:
        number = kind(value)
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number < float("inf"):
        raise UserError(f"{place}: {key} is {value!r}; expected a number, zero or more")
    return number
