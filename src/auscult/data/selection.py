"""Which utterances of a corpus form a split, and a content hash of the result.

Problem: `head(n)` of a corpus is one room or one speaker (the index order leaks in), `random.sample` is neither nested nor stable
when a corpus grows, and a data ladder (2,000, 4,000, 8,000 items) is only comparable if each rung contains the one below.
Choice: every id has a fixed place in [0, 1) by a salted BLAKE2 hash. `items` takes the ids of smallest place; `fraction` takes the ids
whose place lies in an interval, so slices of different selections never overlap, whatever else the selections filter and whatever is
added later; `speaker_fraction` does the same by speaker, so that two splits share no voice. Rejected: slicing by rank (exact sizes,
but one more filter in one split moves the boundary and leaks ids across it).
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from lhotse import CutSet
from lhotse.audio import Recording
from lhotse.cut import Cut, MixedCut, MonoCut

from auscult.corpora.packs.source import PackedSource
from auscult.data.strings import speaker_of, speakers_of, text_of
from auscult.errors import UserError, did_you_mean


class Selection(Protocol):
    """What a recipe says about one split; None or empty means no restriction."""

    @property
    def splits(self) -> Sequence[str] | str | None:
        """Glob patterns over the corpus' split names."""

    @property
    def speakers(self) -> Sequence[str] | None:
        """Speakers to keep."""

    @property
    def exclude_speakers(self) -> Sequence[str] | None:
        """Speakers to leave out."""

    @property
    def seconds(self) -> tuple[float | None, float | None]:
        """Shortest and longest duration, both included; None leaves a side open."""

    @property
    def fraction(self) -> tuple[float, float] | None:
        """Interval [low, high) of the hash place."""

    @property
    def speaker_fraction(self) -> tuple[float, float] | None:
        """Interval [low, high) of the hash place of the speaker's name."""

    @property
    def items(self) -> int | None:
        """At most this many utterances, a nested subset."""


def select(splits: Mapping[str, CutSet], selection: Selection) -> CutSet:
    """Return the utterances a selection describes: in corpus order, or in hash order where `items` limits them.

    Filters apply in this order: splits, speakers, speaker_fraction, seconds, fraction, items.

    Raises:
        UserError: nothing matches, a speaker does not exist (the message lists what exists), or `speaker_fraction` meets an
            utterance that does not have exactly one speaker.
    """
    names = _matching(splits, selection.splits)
    cuts = _unique([cut for name in names for cut in splits[name]])
    cuts = _by_speaker(cuts, selection.speakers, selection.exclude_speakers, names)
    if selection.speaker_fraction is not None:
        cuts = _by_speaker_fraction(cuts, *selection.speaker_fraction)
    cuts = _by_duration(cuts, *selection.seconds)
    if selection.fraction is not None:
        low, high = selection.fraction
        held = len(cuts)
        cuts = [cut for cut in cuts if low <= hash_place(cut.id) < high]
        if not cuts:
            raise UserError(f"fraction: none of the {held} utterances falls into [{low}, {high}); widen the interval or select more data")
    if selection.items is not None:
        by_id = {cut.id: cut for cut in cuts}
        cuts = [by_id[one] for one in nested_subset(list(by_id), min(selection.items, len(cuts)))]
    return CutSet.from_cuts(cuts)


def _matching(splits: Mapping[str, CutSet], patterns: Sequence[str] | str | None) -> list[str]:
    wanted = [patterns] if isinstance(patterns, str) else list(patterns or ["*"])
    for pattern in wanted:
        if not fnmatch.filter(splits, pattern):
            raise UserError(f'splits: nothing matches "{pattern}"{did_you_mean(pattern, splits)}; the corpus has {_listed(splits)}')
    names = [name for name in splits if any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted)]
    if not any(len(splits[name]) for name in names):
        raise UserError(f"splits: {_listed(names)} hold no utterances; the corpus has {_listed(splits)}")
    return names


def _unique(cuts: list[Cut]) -> list[Cut]:
    seen: set[str] = set()
    for cut in cuts:
        if cut.id in seen:
            raise UserError(f'utterance id "{cut.id}" occurs twice in the selected splits; ids must be unique over a corpus')
        seen.add(cut.id)
    return cuts


def _by_speaker(cuts: list[Cut], keep: Sequence[str] | None, leave_out: Sequence[str] | None, names: Sequence[str]) -> list[Cut]:
    if not keep and not leave_out:
        return cuts
    known = sorted({speaker_of(cut) for cut in cuts})
    for key, wanted in (("speakers", keep), ("exclude_speakers", leave_out)):
        for speaker in wanted or ():
            if speaker not in known:
                raise UserError(
                    f'{key}: no speaker "{speaker}"{did_you_mean(speaker, known)} in {_listed(names)}; there are {_listed(known)}'
                )
    chosen = [cut for cut in cuts if (not keep or speaker_of(cut) in keep) and speaker_of(cut) not in (leave_out or ())]
    if not chosen:
        raise UserError(f"speakers: every selected speaker is also excluded; {_listed(names)} have {_listed(known)}")
    return chosen


def _by_speaker_fraction(cuts: list[Cut], low: float, high: float) -> list[Cut]:
    for cut in cuts:
        names = speakers_of(cut)
        if len(names) != 1:  # a joint name has a place of its own, so its speakers would be in several slices
            raise UserError(
                f'speaker_fraction: utterance "{cut.id}" has {len(names) or "no"} speakers and each needs exactly one; '
                "name speakers in the corpus, or divide these recordings with fraction or splits"
            )
    chosen = [cut for cut in cuts if low <= hash_place(speaker_of(cut)) < high]
    if not chosen:
        speakers = len({speaker_of(cut) for cut in cuts})
        raise UserError(
            f"speaker_fraction: none of the {speakers} speakers falls into [{low}, {high}); widen the interval or select more data"
        )
    return chosen


def _by_duration(cuts: list[Cut], low: float | None, high: float | None) -> list[Cut]:
    chosen = [cut for cut in cuts if (low is None or cut.duration >= low) and (high is None or cut.duration <= high)]
    if not chosen:
        durations = [cut.duration for cut in cuts]
        limits = " and ".join(f"{word} {limit} s" for word, limit in (("at least", low), ("at most", high)) if limit is not None)
        raise UserError(f"seconds: no utterance lasts {limits}; they last {min(durations):.2f} to {max(durations):.2f} s; widen the limits")
    return chosen


def _listed(names: Iterable[str], shown: int = 12) -> str:
    every = list(names)
    return (", ".join(every[:shown]) or "none") + (f" and {len(every) - shown} more" if len(every) > shown else "")


def hash_place(utterance_id: str, salt: int = 0) -> float:
    """Return the fixed place of an id in [0, 1), the same in every process and on every machine.

    >>> round(hash_place("a"), 6) == round(hash_place("a"), 6) and hash_place("a") != hash_place("a", salt=1)
    True
    """
    return int.from_bytes(_digest(utterance_id, salt)[:6], "big") / 2**48


def nested_subset(ids: Sequence[str], size: int, salt: int = 0) -> list[str]:
    """Return the `size` ids with the smallest salted hash, in hash order.

    The result for a smaller `size` is a prefix of the result for a larger one. Adding m ids replaces at most m members.

    Raises:
        UserError: `size` is negative or exceeds the number of ids.

    >>> nested_subset(["a", "b", "c"], 2)[:1] == nested_subset(["c", "b", "a"], 1)
    True
    """
    if not 0 <= size <= len(ids):
        raise UserError(f"a subset of {size} out of {len(ids)} utterances is not possible")
    return sorted(ids, key=lambda one: (_digest(one, salt), one))[:size]


def _digest(utterance_id: str, salt: int) -> bytes:
    return hashlib.blake2b(utterance_id.encode(), digest_size=8, salt=salt.to_bytes(8, "big")).digest()


def manifest_hash(cuts: Iterable[Cut]) -> str:
    """Return a content hash (hexadecimal) of a set of utterances.

    It covers id, text, speaker, start, duration, sampling rate and file size of every utterance (of every part, for strings; of all
    layers, for mixtures), the times and speakers of turns that are not the whole utterance, the levels of tracks and the regions that are
    evaluated where they are stated. It
    depends neither on the folder the audio lies in nor on the order of the utterances.

    Raises:
        UserError: an audio file does not exist.
    """
    sizes: dict[str, int] = {}
    lines = sorted(_line(cut, sizes) for cut in cuts)
    total = hashlib.blake2b(digest_size=16)
    for line in lines:
        total.update(hashlib.blake2b(line.encode(), digest_size=16).digest())
    return total.hexdigest()


def _line(cut: Cut, sizes: dict[str, int]) -> str:
    values: list[str] = [cut.id, text_of(cut), speaker_of(cut), *_levels(cut)]
    tracks = [(track.offset, track.cut) for track in cut.tracks] if isinstance(cut, MixedCut) else [(0.0, cut)]
    for offset, part in tracks:
        size = _audio_size(part.recording, sizes) if isinstance(part, MonoCut) and part.has_recording else -1
        values += [f"{offset:.6f}", f"{part.start:.6f}", f"{part.duration:.6f}", str(part.sampling_rate), str(size)]
        values += _turns(part)
    return "\x1f".join(values)


def _levels(cut: Cut) -> list[str]:
    """Return how loud the tracks of a mixture are, as far as they say so, and what its layers are."""
    if not isinstance(cut, MixedCut):
        return [str(name) for name in (getattr(cut, "custom", None) or {}).get("layers", ())]
    stated = [(track.snr, *((track.cut.custom or {}).get(key) for key in ("gain", "level"))) for track in cut.tracks]
    return [] if all(value is None for values in stated for value in values) else [repr(values) for values in stated]


def _turns(part: Cut) -> list[str]:
    """Return who speaks when, and which regions are judged; nothing where one supervision covers the whole part."""
    custom = part.custom if isinstance(part, MonoCut) and part.custom else {}
    turns = part.supervisions
    if len(turns) == 1 and abs(turns[0].start) < 1e-3 and abs(turns[0].duration - part.duration) < 1e-3:
        turns = []  # its times are those of the part
    spoken = sorted(f"{turn.start:.6f}\x1e{turn.duration:.6f}\x1e{turn.speaker}" for turn in turns)
    return spoken + [f"evaluated\x1e{start:.6f}\x1e{end:.6f}" for start, end in custom.get("evaluated", ())]


def _audio_size(recording: Recording, sizes: dict[str, int]) -> int:
    """Return the bytes of a recording's sources, also of files that were packed; those that are not files count their length, or -1."""
    total = 0
    for source in recording.sources:
        if isinstance(source, PackedSource):
            total += source.place.bytes
        elif source.type == "memory":
            total += len(source.source)
        elif source.type != "file":
            total -= 1
        else:
            path = str(source.source)
            if path not in sizes:
                try:
                    sizes[path] = Path(path).stat().st_size
                except OSError as error:
                    raise UserError(
                        f"{path}: audio of recording {recording.id} cannot be found ({error.strerror}); repair or prepare again"
                    ) from error
            total += sizes[path]
    return total
