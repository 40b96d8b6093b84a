"""What training must not share with the data it is judged on: speakers, sessions, recordings.

Problem: an error rate of verification or diarization on speakers that were trained on is the error rate of another, easier task, and
nothing in the numbers shows it; published recipes divide utterances at random (SpeechBrain's `split_speaker=False`), or test on
VoxCeleb1-E and -H with VoxCeleb1 in training. Choice: a hard check before training, which names the first shared speakers and the
recipe keys that separate them. The audit's milder finding stays for recognition, where a closed set of speakers can be meant.

Copies under another name are found by their bytes. Only files of equal size are opened, and of those a second time only files that
begin alike, so that 1.1 million training files cost their `stat`; copies in another container are found by `auscult audit`, which decodes.
Of files that were packed and are gone, the samples are compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from lhotse import AudioSource
from lhotse.cut import Cut

from auscult.corpora.packs.source import PackedSource
from auscult.data.audit_rows import parts_of, sessions_of
from auscult.data.strings import speakers_of
from auscult.errors import UserError

_Key = TypeVar("_Key")

NAMED = 3
"""How many shared names a reason lists."""
HEAD = 65_536
"""Bytes that are compared first."""


def check_disjoint(splits: Mapping[str, Iterable[Cut]], sessions: bool = True, copies: bool = True) -> None:
    """Refuse splits that share with "train" what they are judged on.

    Args:
        splits: cuts by name; everything but "train" is judged.
        sessions: compare `custom["session"]` too; for corpora whose session names mean something within a speaker only, say False.
        copies: look for files of the same bytes under other names.

    Raises:
        UserError: one line per kind of thing and split, see `shared_with_train`.
    """
    reasons = shared_with_train(splits, sessions, copies)
    if reasons:
        raise UserError("\n".join(reasons))


def shared_with_train(splits: Mapping[str, Iterable[Cut]], sessions: bool = True, copies: bool = True) -> list[str]:
    """Return what the other splits share with "train": a sentence each, with up to three names and what to do; empty if nothing.

    Raises:
        UserError: an audio file that is needed for the comparison cannot be read.
    """
    train = splits.get("train")
    judged = {name: cuts for name, cuts in splits.items() if name != "train"}
    if train is None:
        return []
    reasons = []
    known = _first(train, speakers_of)
    for name, cuts in judged.items():
        shared = [speaker for speaker in _first(cuts, speakers_of) if speaker in known]
        if shared:
            reasons.append(
                f"train and {name} share {_counted(shared, 'speaker')}: scores would be of voices that were trained on; divide by speaker, "
                f"with speaker_fraction: [0.0, 0.9] and [0.9, 1.0] under data.train and data.{name}, or with exclude_speakers"
            )
    if sessions:
        reasons += _shared_sessions(train, judged)
    return [*reasons, *_shared_audio(train, judged, copies)]


def check_trial_speakers(train_speakers: Iterable[str], trial_speakers: Iterable[str]) -> None:
    """Refuse trials of speakers who were trained on (VoxCeleb1-E and -H with VoxCeleb1 dev in training).

    Raises:
        UserError: names up to three of them.

    >>> check_trial_speakers(["ann", "bob"], ["cid"])
    """
    known = set(train_speakers)
    shared = sorted({speaker for speaker in trial_speakers if speaker in known})
    if shared:
        raise UserError(
            f"the trials and train share {_counted(shared, 'speaker')}: scores would be of voices that were trained on; "
            "take them out with exclude_speakers under data.train, or use another trial list"
        )


def _shared_sessions(train: Iterable[Cut], judged: Mapping[str, Iterable[Cut]]) -> Iterator[str]:
    known = _first(train, _sessions_of)
    for name, cuts in judged.items():
        shared = [session for session in _first(cuts, _sessions_of) if session in known]
        if shared:
            yield (
                f"train and {name} share {_counted(shared, 'session')}: one microphone, room and day would be in both; keep every session "
                "in one split, or name sessions so that different ones differ"
            )


def _shared_audio(train: Iterable[Cut], judged: Mapping[str, Iterable[Cut]], copies: bool) -> Iterator[str]:
    known, content = _first(train, _files_of), _Content()
    for name, cuts in judged.items():
        files = _first(cuts, _files_of)
        same = [f"{identity} = {known[path]}" for path, identity in files.items() if path in known]
        if copies:
            content.packed |= {
                source.source: source for cut in (*cuts, *train) for source in _sources_of(cut) if isinstance(source, PackedSource)
            }
            others = {path: identity for path, identity in files.items() if path not in known}
            same += [f"{others[path]} = {known[copy]}" for path, copy in _copies(list(others), list(known), content)]
        if same:
            yield (
                f"train and {name} hold {_counted(same, 'recording')} in common: scores would be on audio that was trained on; "
                "keep every recording in one split and remove copies"
            )


def _first(cuts: Iterable[Cut], names_of: Callable[[Cut], Iterable[str]]) -> dict[str, str]:
    """Return the first utterance id by name, in the order of the cuts."""
    found: dict[str, str] = {}
    for cut in cuts:
        for name in names_of(cut):
            found.setdefault(name, cut.id)
    return found


def _sessions_of(cut: Cut) -> list[str]:
    return [session for part in parts_of(cut) for session in sessions_of(part)]


def _files_of(cut: Cut) -> list[str]:
    return [str(source.source) for source in _sources_of(cut)]


def _sources_of(cut: Cut) -> list[AudioSource]:
    return [source for part in parts_of(cut) for source in part.recording.sources if source.type == "file"]


def _counted(names: list[str], what: str) -> str:
    """Return "5 speakers (a, b, c and 2 more)"."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{len(names)} {what}{'s' if len(names) > 1 else ''} ({', '.join(names[:NAMED])}{more})"


def _copies(judged: list[str], train: list[str], content: _Content) -> list[tuple[str, str]]:
    """Return pairs of a judged and a training file of equal bytes."""
    pairs: list[tuple[str, str]] = []
    sizes = _by(judged, content.size)
    alike = _by([path for path in train if content.size(path) in sizes], content.size)
    for size, candidates in sorted(alike.items()):
        heads = _by(candidates, lambda path: content.digest(path, HEAD))
        for path in sizes[size]:
            same_start = heads.get(content.digest(path, HEAD), [])
            pairs += [(path, other) for other in same_start if size <= HEAD or content.digest(path) == content.digest(other)][:1]
    return pairs


def _by(paths: Iterable[str], key: Callable[[str], _Key]) -> dict[_Key, list[str]]:
    groups: dict[_Key, list[str]] = {}
    for path in paths:
        groups.setdefault(key(path), []).append(path)
    return groups


class _Content:
    """What is in a file, or was when it was packed.

    Attributes:
        packed: sources by the path of their file.
    """

    def __init__(self) -> None:
        self.packed: dict[str, PackedSource] = {}

    def size(self, path: str) -> int:
        """Return the bytes of the file."""
        if path in self.packed:
            return self.packed[path].place.bytes
        try:
            return Path(path).stat().st_size
        except OSError as error:
            raise UserError(f"{path} cannot be found ({error.strerror}); repair it or prepare the corpus again") from error

    def digest(self, path: str, size: int = -1) -> bytes:
        """Return a hash of the first bytes of the file, or of all."""
        try:
            with Path(path).open("rb") as file:
                return hashlib.blake2b(file.read(size), digest_size=16).digest()
        except OSError as error:
            if path in self.packed:
                source = self.packed[path]
                samples = source.read(0, source.place.samples)
                return hashlib.blake2b(samples.tobytes()[: None if size < 0 else size], digest_size=16).digest()
            raise UserError(f"{path} cannot be read ({error.strerror}); repair it or prepare the corpus again") from error
