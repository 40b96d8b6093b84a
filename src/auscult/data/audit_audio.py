"""What is wrong with the samples: unreadable, duplicate, silent, clipped, offset.

Every piece of recording is read once, however many strings use it, and only a digest and five numbers of it are kept. Duplicates are
found by the digest of the *decoded samples*, so a copy under another name, another container or another header is still a copy
(R4 trained on a "16k" set that held 8k recordings twice).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from lhotse.cut import Cut

from auscult.audio.reading import AudioError
from auscult.data.audit_report import Finding, finding
from auscult.data.audit_rows import Rows, Source, is_layered, source_of
from auscult.data.store import AudioStore

Progress = Callable[[int, int], None]
"""Called with pieces done and pieces in all."""

SILENT_PEAK = 1e-3
"""Peak below which a recording holds nothing to learn from (-60 dB of full scale)."""
CLIPPED_SHARE = 1e-3
"""Share of samples that lie on a flat top of the waveform before a recording counts as clipped."""
OFFSET = 0.01
"""Mean, in full scale, from which on a recording has a DC offset (if it is also a tenth of the effective value)."""


@dataclass
class _Found:
    """Ids by kind of fault; digests by split."""

    unreadable: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    clipped: list[str] = field(default_factory=list)
    offset: list[str] = field(default_factory=list)
    digests: dict[bytes, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))


def audit_audio(splits: Sequence[Rows], progress: Progress | None = None) -> Iterator[Finding]:
    """Read every piece of recording once and yield what is wrong with it."""
    pieces = _pieces(splits)
    stores: dict[int, AudioStore] = {}
    found = _Found()
    for done, (part, names) in enumerate(pieces.values(), start=1):
        store = stores.setdefault(part.sampling_rate, AudioStore(part.sampling_rate, 0))
        try:
            _inspect(part.id, store.samples(part), names, found)
        except AudioError as error:
            found.unreadable.append(part.id)
            found.problems.append(str(error))
        if progress is not None:
            progress(done, len(pieces))
    yield from _findings(found)


def _pieces(splits: Sequence[Rows]) -> dict[Source, tuple[Cut, list[str]]]:
    """Return each distinct piece of recording with the splits that use it."""
    pieces: dict[Source, tuple[Cut, list[str]]] = {}
    for rows in splits:
        for parts in rows.parts:
            for part in parts:
                if is_layered(part):
                    continue  # `audit_mixture_audio` reads it with its layers
                _, names = pieces.setdefault(source_of(part), (part, []))
                if rows.name not in names:
                    names.append(rows.name)
    return pieces


def _inspect(identity: str, samples: np.ndarray, splits: Sequence[str], found: _Found) -> None:
    """Judge the samples (time,) of one piece."""
    if float(np.abs(samples).max(initial=0.0)) < SILENT_PEAK:
        found.silent.append(identity)
        return  # silences equal one another; that is no duplication
    digest = hashlib.blake2b(samples.tobytes(), digest_size=16).digest()
    found.digests[digest] += [(split, identity) for split in splits]
    mean = float(samples.mean(dtype=np.float64))
    if abs(mean) > OFFSET and abs(mean) > 0.1 * float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))):
        found.offset.append(identity)
    if clipped_share(samples) > CLIPPED_SHARE:
        found.clipped.append(identity)


def clipped_share(samples: np.ndarray) -> float:
    """Return the share of samples that sit, beside an equal neighbour, at the highest or lowest value of a recording.

    It needs no full-scale peak, so a recording that was clipped and then turned down is found too.

    >>> clipped_share(np.clip(np.sin(np.arange(1000) / 10), -0.5, 0.5)) > 0.5
    True
    """
    flat = 0
    for extreme in (float(samples.max(initial=0.0)), float(samples.min(initial=0.0))):
        if abs(extreme) >= 0.05:  # quieter peaks repeat because of quantisation
            at = samples == np.float32(extreme) if samples.dtype == np.float32 else samples == extreme
            beside = np.zeros(len(samples), dtype=bool)
            beside[1:] |= at[:-1]
            beside[:-1] |= at[1:]
            flat += int((at & beside).sum())
    return flat / max(len(samples), 1)


def _findings(found: _Found) -> Iterator[Finding]:
    if found.unreadable:
        yield finding("error", "unreadable_audio", f"audio cannot be read: {found.problems[0]}; repair or remove it", found.unreadable)
    if found.silent:
        yield finding(
            "error", "silent_audio", "recordings are silent (peak below -60 dB) yet have a place in the data; remove them", found.silent
        )
    if found.clipped:
        yield finding("warning", "clipped_audio", "recordings are clipped; record or export them at a lower level", found.clipped)
    if found.offset:
        yield finding("warning", "dc_offset", "recordings have a DC offset; remove the mean before use", found.offset)
    yield from _duplicates(found.digests)


def _duplicates(digests: dict[bytes, list[tuple[str, str]]]) -> Iterator[Finding]:
    inside: list[str] = []
    across: list[str] = []
    for members in digests.values():
        by_split: dict[str, list[str]] = defaultdict(list)
        for split, identity in members:
            by_split[split].append(identity)
        inside += [" = ".join(names) for names in by_split.values() if len(names) > 1]
        if len(by_split) > 1 and len({identity for _, identity in members}) > 1:
            across.append(" = ".join(f"{split}:{names[0]}" for split, names in by_split.items()))
    if inside:
        yield finding("error", "duplicate_audio", "the same samples occur under several ids of a split; keep one of each", inside)
    if across:
        yield finding(
            "error",
            "duplicate_audio_across_splits",
            "the same samples occur in several splits; scores would not be on unseen audio",
            across,
        )
