"""Lists of trials: pairs of recordings, and whether the same person speaks in both.

Problem: the first N pairs of a list are those of its first speakers, so a subset taken from its head measures those few voices; a
pair of a file with itself is always right; and ids in lists and manifests differ by an audio suffix or by how accents are
encoded. Choice: lists are read with the line of every complaint, ids are compared without suffix and in one Unicode form, and
generated lists take every pair or an even share per speaker and class. Format: the lists of VoxCeleb (`1 file file`), and the same
with the label last.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auscult.corpora.base import AUDIO_SUFFIXES
from auscult.errors import UserError, did_you_mean
from auscult.metrics.trial_lines import LABELS, Line, PairLedger, first_misfit, read_lines

_COLUMNS = 3


@dataclass(frozen=True, eq=False)
class Trials:
    """Pairs of files by index.

    Args:
        enrol: (trials,) int64 index into `ids`.
        test: (trials,) int64 index into `ids`.
        target: (trials,) bool, True where both are the same speaker.
        ids: every file of the trials, once.

    Raises:
        UserError: lengths differ, an index lies outside, or an id is there twice.

    >>> Trials(np.array([0]), np.array([1]), np.array([True]), ("a", "b"))
    Trials(1 trials, 1 target, 2 files)
    """

    enrol: NDArray[np.int64]
    test: NDArray[np.int64]
    target: NDArray[np.bool_]
    ids: tuple[str, ...]

    def __post_init__(self) -> None:
        if not (self.enrol.shape == self.test.shape == self.target.shape == (len(self.enrol),)):
            raise UserError(f"trials: {self.enrol.shape}, {self.test.shape} and {self.target.shape} should be three equally long lists")
        if len(set(self.ids)) != len(self.ids):
            raise UserError("trials: an id is there twice; every file needs an id of its own")
        both = np.concatenate([self.enrol, self.test])
        if len(both) and not (both.min() >= 0 and both.max() < len(self.ids)):
            raise UserError(f"trials: an index lies outside the {len(self.ids)} files")

    def __len__(self) -> int:
        return len(self.target)

    def __repr__(self) -> str:
        return f"Trials({len(self)} trials, {int(self.target.sum())} target, {len(self.ids)} files)"


def read_trials(path: str | Path, known_ids: Iterable[str] | None = None) -> Trials:
    """Read lines `1 id id` or `id id 1`, one order in the whole file; labels are 1 and 0, or target and nontarget.

    Args:
        path: a UTF-8 file; columns separated by white space, or by tabs.
        known_ids: files that exist; ids of the list must be among them, with or without an audio suffix, and are spelled as they are
            here. None takes the list's own spelling.

    Returns:
        The trials in the order of the file; `ids` holds the files of the list in the order of their first trial. A line that is there
        twice with the same label stays twice.

    Raises:
        UserError: the file cannot be read or is empty; a line has other columns, a bad label, an unknown id, a file compared with
            itself, or contradicts an earlier line. The message names the line.
    """
    path = Path(path)
    lines = read_lines(path, "trial list")
    label, first, second = _order(path, lines)
    files, ledger = _Files(path, None if known_ids is None else _by_key(known_ids)), PairLedger(path)
    rows = np.empty((len(lines), 3), dtype=np.int64)
    for row, (number, columns) in enumerate(lines):
        one, other, is_target = files.index(number, columns[first]), files.index(number, columns[second]), LABELS[columns[label]]
        ledger.add(number, files.names[one], files.names[other], is_target)
        rows[row] = one, other, is_target
    return Trials(rows[:, 0].copy(), rows[:, 1].copy(), rows[:, 2].astype(np.bool_), tuple(files.names))


def write_trials(path: str | Path, trials: Trials) -> None:
    """Write lines `1 id id`; columns are separated by tabs if an id holds white space.

    Raises:
        UserError: an id holds a tab or a line break, or the file cannot be written.
    """
    for one in trials.ids:
        if any(character in one for character in "\t\n\r") or not one.strip() == one or not one:
            raise UserError(f"trials: id {one!r} cannot stand in a list of lines; rename the file")
    space = "\t" if any(len(one.split()) > 1 for one in trials.ids) else " "
    triples = zip(trials.target.tolist(), trials.enrol.tolist(), trials.test.tolist(), strict=True)
    text = "".join(f"{int(label)}{space}{trials.ids[first]}{space}{trials.ids[second]}\n" for label, first, second in triples)
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot write the trial list ({error.strerror})") from error


def speakers_of_list(ids: Sequence[str], separator: str = "/") -> tuple[str, ...]:
    """Return the speaker of each file of a list: what stands before the separator in its id.

    Raises:
        UserError: an id has no separator, or nothing before it.

    >>> speakers_of_list(["id10270/x6uYqmx31kE/00001.wav"])
    ('id10270',)
    """
    for one in ids:
        if separator not in one or one.startswith(separator):
            raise UserError(f'trials: id "{one}" names no speaker before "{separator}"; expected ids such as id10270/x6uYqmx31kE/00001.wav')
    return tuple(one.split(separator)[0] for one in ids)


def generate_trials(speakers: Sequence[str], ids: Sequence[str], random: np.random.Generator, maximum: int | None = None) -> Trials:
    """Return all pairs of files, or an even share of them.

    A limited list has as many target as non-target trials where the files allow it. Target trials are dealt evenly to the speakers,
    non-target trials evenly to the pairs of speakers, and each takes its share at random.

    Args:
        speakers: (files,) who speaks.
        ids: (files,) one each.
        random: the only source of chance.
        maximum: of trials, at least 2; None takes all pairs.

    Returns:
        Trials in the order of their indices, the smaller index first; no pair twice, no file against itself.

    Raises:
        UserError: lengths differ, an id is there twice, the limit is below 2, or a kind of trial is impossible (and why).
    """
    if len(speakers) != len(ids):
        raise UserError(f"trials: {len(speakers)} speakers for {len(ids)} files")
    if maximum is not None and maximum < 2:
        raise UserError(f"trials: at most {maximum} trials cannot hold both kinds; allow 2 or more")
    names, group = np.unique(np.asarray(speakers, dtype=np.str_), return_inverse=True)
    members = [np.flatnonzero(group == one) for one in range(len(names))]
    targets = sum(len(one) * (len(one) - 1) // 2 for one in members)
    nontargets = len(ids) * (len(ids) - 1) // 2 - targets
    if not nontargets:
        raise UserError(f"trials: {len(ids)} files of {len(names)} speaker give no non-target trials; at least 2 speakers are needed")
    if not targets:
        raise UserError(f"trials: none of the {len(names)} speakers has two files, so there are no target trials; add or cut recordings")
    if maximum is None or targets + nontargets <= maximum:
        first, second = np.triu_indices(len(ids), 1)
    else:
        wanted = max(min(targets, maximum // 2), maximum - nontargets)
        pairs = np.concatenate([_some_targets(members, wanted, random), _some_nontargets(members, maximum - wanted, random)])
        pairs.sort(axis=1)
        first, second = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].T
    return Trials(first.astype(np.int64), second.astype(np.int64), group[first] == group[second], tuple(ids))


def _order(path: Path, lines: Sequence[Line]) -> tuple[int, int, int]:
    """Return the columns of the label and of both ids."""
    if len(lines[0].columns) != _COLUMNS:
        raise UserError(
            f"{path}:{lines[0].number}: expected a label (1 or 0) and two ids, got {len(lines[0].columns)} columns "
            f"in {' '.join(lines[0].columns)[:60]!r}"
        )
    front, back = first_misfit(lines, 0), first_misfit(lines, 2)
    if front is None and back is None:
        raise UserError(
            f"{path}: the first and the last column both hold only labels; write them as target and nontarget, first on the line"
        )
    if front is None:
        return 0, 1, 2
    if back is None:
        return 2, 0, 1
    number, columns = max(front, back)  # up to here, one order still fitted
    if columns[0] in LABELS or columns[2] in LABELS:
        raise UserError(f"{path}:{number}: the label stands at another place than on the lines before; use one order, such as `1 id id`")
    raise UserError(
        f'{path}:{number}: no label; expected 1 or 0 (or target, nontarget) before or after two ids, got "{columns[0]}" and "{columns[2]}"'
    )


def _key(identity: str) -> str:
    """Return an id without its audio suffix, in the composed Unicode form."""
    plain = unicodedata.normalize("NFC", identity)
    for suffix in AUDIO_SUFFIXES:
        if plain.lower().endswith(suffix):
            return plain[: -len(suffix)]
    return plain


def _by_key(known_ids: Iterable[str]) -> dict[str, str]:
    known: dict[str, str] = {}
    for one in known_ids:
        other = known.setdefault(_key(one), one)
        if other != one:
            raise UserError(f'trials: files "{other}" and "{one}" differ only in suffix or encoding, so a list cannot tell them apart')
    return known


class _Files:
    """Numbers the files of a list in order of appearance, whichever way each line spells them."""

    def __init__(self, path: Path, known: dict[str, str] | None) -> None:
        self.path, self.known = path, known
        self.names: list[str] = []
        self.by_spelling: dict[str, int] = {}
        self.by_key: dict[str, int] = {}

    def index(self, number: int, identity: str) -> int:
        if identity not in self.by_spelling:
            key = _key(identity)
            if key not in self.by_key:
                self.names.append(self._name(number, identity, key))
                self.by_key[key] = len(self.names) - 1
            self.by_spelling[identity] = self.by_key[key]
        return self.by_spelling[identity]

    def _name(self, number: int, identity: str, key: str) -> str:
        if self.known is None:
            return identity
        if key not in self.known:
            near = did_you_mean(identity, self.known.values())
            raise UserError(f'{self.path}:{number}: unknown file "{identity}"{near}; there are {len(self.known)} files')
        return self.known[key]


def _some_targets(members: Sequence[NDArray[np.intp]], wanted: int, random: np.random.Generator) -> NDArray[np.intp]:
    """Return (wanted, 2) pairs of files of one speaker each."""
    order = [members[one] for one in random.permutation(len(members)).tolist() if len(members[one]) > 1]
    shares = _even_shares(np.asarray([len(one) * (len(one) - 1) // 2 for one in order]), wanted)
    drawn = []
    for files, share in zip(order, shares.tolist(), strict=True):
        first, second = np.triu_indices(len(files), 1)
        chosen = random.choice(len(first), size=share, replace=False)
        drawn.append(np.stack([files[first[chosen]], files[second[chosen]]], axis=1))
    return np.concatenate(drawn)


def _some_nontargets(members: Sequence[NDArray[np.intp]], wanted: int, random: np.random.Generator) -> NDArray[np.intp]:
    """Return (wanted, 2) pairs of files of two speakers each."""
    pairs = _speaker_pairs(len(members), wanted, random)
    sizes = np.asarray([len(one) for one in members])
    shares = _even_shares(sizes[pairs[:, 0]] * sizes[pairs[:, 1]], wanted)
    drawn = []
    for (one, other), share in zip(pairs.tolist(), shares.tolist(), strict=True):
        chosen = random.choice(len(members[one]) * len(members[other]), size=share, replace=False)
        drawn.append(np.stack([members[one][chosen // len(members[other])], members[other][chosen % len(members[other])]], axis=1))
    return np.concatenate(drawn)


def _speaker_pairs(speakers: int, wanted: int, random: np.random.Generator) -> NDArray[np.intp]:
    """Return pairs of different speakers, in rounds in which everyone occurs equally often; all of them, or the first `wanted`."""
    ring = random.permutation(speakers)
    rounds: list[NDArray[np.intp]] = []
    for step in (random.permutation(speakers // 2) + 1).tolist():
        pairs = np.stack([ring, np.roll(ring, step)], axis=1)
        rounds.append(pairs[: speakers // 2] if 2 * step == speakers else pairs)  # half-way round, each pair comes twice
        if sum(map(len, rounds)) >= wanted:
            break
    return np.concatenate(rounds)[:wanted]


def _even_shares(available: NDArray[np.int64], wanted: int) -> NDArray[np.int64]:
    """Deal `wanted` one at a time to those that still have something available; `wanted` is at most the sum."""
    shares = np.zeros_like(available)
    while (left := wanted - int(shares.sum())) > 0:
        open_ones = np.flatnonzero(shares < available)
        each = left // len(open_ones)
        if each:
            shares[open_ones] = np.minimum(shares[open_ones] + each, available[open_ones])
        else:
            shares[open_ones[:left]] += 1
    return shares
