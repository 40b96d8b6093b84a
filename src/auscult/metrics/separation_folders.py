"""Separated files in the layouts people have them in, and which of them belong together.

Problem: a missing estimate that is skipped lifts a score, a file of another rate or one sample longer is scored against the wrong
instants, and neither shows. Choice: two layouts, told apart by what is there, and no guessing beyond them; whatever has no counterpart is
refused with the folder and the names.

Layouts: folders `s1/`, `s2/`, ... with the same file names (WSJ0-2mix, LibriMix), beside them perhaps `mix/`, or one folder whose
name begins with "mix"; or files `<id>_s1.wav`, `<id>_s2.wav`, ... in one folder, where the ending may also be spk, speaker, source or est,
after "_" or "-" (`auscult separate` writes `<id>-speaker1.wav`), and the mixture is `<id>_mix.wav` or `<id>.wav`. Files end in wav, flac
or ogg; which of these does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from auscult.errors import UserError

_SUFFIXES = (".wav", ".flac", ".ogg")
_NUMBERED = re.compile(r"(?P<id>.+)[_-](?:s|spk|speaker|source|est)(?P<number>[1-9]\d*)", re.IGNORECASE)
_NAMED = 3
_EXPECTED = "expected folders s1/, s2/, ... with equal file names, or files <id>_s1.wav, <id>_s2.wav, ..."


def find_signals(folder: Path) -> dict[str, list[Path]]:
    """Return the files of each mixture in the order of their numbers, mixtures in the order of their names.

    Raises:
        UserError: no such folder, no files in a known layout, or a number is missing.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; {_EXPECTED}")
    folders = sorted((int(one.name[1:]), one) for one in folder.iterdir() if one.is_dir() and re.fullmatch(r"s[1-9]\d*", one.name))
    found: dict[str, dict[int, Path]] = {}
    if folders:
        for number, one in folders:
            for name, path in _files(one).items():
                found.setdefault(name, {})[number] = path
        numbers = [number for number, _ in folders]
    else:
        for name, path in _files(folder).items():
            match = _NUMBERED.fullmatch(name)
            if match:
                place = found.setdefault(match["id"], {})
                number = int(match["number"])
                if number in place:
                    raise UserError(f"{folder}: {place[number].name} and {path.name} are both signal {number} of {match['id']}; remove one")
                place[number] = path
        numbers = sorted({number for paths in found.values() for number in paths})
    if not found:
        raise UserError(f"{folder}: no separated signals; {_EXPECTED}")
    _check_numbers(folder, found, numbers)
    return {name: [found[name][number] for number in numbers] for name in sorted(found)}


def find_mixtures(reference: Path, folder: Path | None, names: Iterable[str]) -> dict[str, Path] | None:
    """Return the mixture of each name, or None where there are none.

    Args:
        reference: folder of the sources, in which mixtures may lie.
        folder: where they lie instead.
        names: of the mixtures.

    Raises:
        UserError: some are there and others are missing, the folder that is named has none, or it is not clear which are meant.
    """
    inside = sorted(one for one in reference.iterdir() if one.is_dir() and one.name.startswith("mix"))
    inside = [one for one in inside if one.name == "mix"] or inside
    if folder is None and len(inside) > 1:
        raise UserError(f"{reference} holds {', '.join(one.name for one in inside)}; say with --mixture which the estimates were made from")
    place = folder or next(iter(inside), reference)
    if not place.is_dir():
        raise UserError(f"{place}: no such folder; expected the mixtures")
    files, found = _files(place), {}
    for name in names:
        path = files.get(name) or files.get(f"{name}_mix")
        if path is not None:
            found[name] = path
    if not found and place == reference:
        return None
    _check_names(place, found, dict.fromkeys(names), "mixtures")
    return found


def check_same(reference: Path, there: Mapping[str, list[Path]], folder: Path, said: Mapping[str, list[Path]]) -> None:
    """Refuse estimates that are missing, without a reference, or of another number.

    Raises:
        UserError: names the folder and the mixtures.
    """
    _check_names(folder, said, there, f"mixtures of {reference}")
    _check_names(reference, there, said, f"mixtures of {folder}")
    name = next(iter(there))
    if len(there[name]) != len(said[name]):
        raise UserError(f"{folder} holds {len(said[name])} signals for each mixture and {reference} {len(there[name])}; expected as many")


def _files(folder: Path) -> dict[str, Path]:
    """Return the audio files of a folder by name without the ending."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in _SUFFIXES and path.is_file() and not path.name.startswith("."):
            if path.stem in found:
                raise UserError(f"{folder}: {found[path.stem].name} and {path.name} have one name; remove one")
            found[path.stem] = path
    return found


def _check_numbers(folder: Path, found: Mapping[str, Mapping[int, Path]], numbers: list[int]) -> None:
    if numbers != list(range(1, len(numbers) + 1)):
        raise UserError(f"{folder}: signals are numbered {', '.join(map(str, numbers))}; expected 1, 2, ... without a gap")
    for name, paths in found.items():
        missing = [number for number in numbers if number not in paths]
        if missing:
            raise UserError(f"{folder}: {name} has no signal s{missing[0]}; every mixture needs all {len(numbers)}")


def _check_names(folder: Path, here: Mapping[str, object], there: Mapping[str, object], what: str) -> None:
    missing = [name for name in there if name not in here]
    if missing:
        listed = ", ".join(f'"{name}"' for name in missing[:_NAMED]) + (", ..." if len(missing) > _NAMED else "")
        raise UserError(f"{folder}: {len(missing)} of {len(there)} {what} are missing ({listed}); both sides need the same names")
