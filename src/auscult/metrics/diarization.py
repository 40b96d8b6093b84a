"""Diarization error rate: missed speech, false alarms and confused speakers, as a share of reference speaker time.

Problem: one system gets 2 %, 13 % or 19 % on the same recordings, depending on a collar, on what is done with overlapped speech and on
which regions are scored, and published numbers rarely say. Choice: these three are named objects that travel with every result
(`FULL`, `FAIR`, `FORGIVING`); a collar is always the half width, in seconds on EACH side of a reference boundary, as in NIST md-eval
(pyannote.metrics' `collar` is the whole width: its 0.5 is 0.25 here). Time is cut at every boundary, region edge and collar edge; in a
piece of length w with R reference and S system speakers, miss += w max(0, R - S), false alarm += w max(0, S - R), confusion +=
w (min(R, S) - correctly mapped). The mapping is the best one-to-one (Hungarian) on the time speakers share where it is scored. Recordings
are pooled as ratio of sums. Rejected: a greedy mapping (an upper bound only); frames; merging touching turns (see `segments`).

Without evaluated regions a recording is scored from the first to the last turn of BOTH sides. md-eval takes the reference's alone, which
makes false alarms after the last reference turn free of charge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from auscult.errors import UserError
from auscult.metrics.segments import Annotation, Evaluated, Flags, Floats, Regions, Turn, activity, extent, to_lanes, twin_of

_NAMED = 3  # recordings listed in a message


@dataclass(frozen=True)
class ScoringProtocol:
    """What is scored.

    Attributes:
        name: short name, the ending of keys in results.
        collar: seconds left out on EACH side of every reference boundary.
        skip_overlap: leave out where two or more reference speakers talk.
    """

    name: str
    collar: float
    skip_overlap: bool

    def __post_init__(self) -> None:
        if not 0.0 <= self.collar < float("inf"):
            raise UserError(f'protocol "{self.name}": expected a collar of 0 s or more, got {self.collar}')

    def __str__(self) -> str:
        collar = f"+-{self.collar:g} s collar" if self.collar else "no collar"
        return f"{self.name}: {collar}, overlap {'left out' if self.skip_overlap else 'scored'}"


FULL = ScoringProtocol("full", 0.0, skip_overlap=False)
FAIR = ScoringProtocol("fair", 0.25, skip_overlap=False)
FORGIVING = ScoringProtocol("forgiving", 0.25, skip_overlap=True)
PROTOCOLS = (FULL, FAIR, FORGIVING)


@dataclass(frozen=True)
class DiarizationCounts:
    """Seconds of speaker time.

    Attributes:
        miss: reference speakers that the system has fewer of.
        false_alarm: system speakers that the reference has fewer of.
        confusion: time in which a speaker was found and is another one.
        speaker_seconds: reference speaker time that was scored, overlapped speech counted once per speaker.
    """

    miss: float = 0.0
    false_alarm: float = 0.0
    confusion: float = 0.0
    speaker_seconds: float = 0.0

    def __add__(self, other: DiarizationCounts) -> DiarizationCounts:
        return DiarizationCounts(
            self.miss + other.miss,
            self.false_alarm + other.false_alarm,
            self.confusion + other.confusion,
            self.speaker_seconds + other.speaker_seconds,
        )

    @property
    def errors(self) -> float:
        """Return the sum of the three kinds."""
        return self.miss + self.false_alarm + self.confusion

    @property
    def rate(self) -> float | None:
        """Return the error rate as a share (it can exceed 1), or None where no reference speech is left to score."""
        return self.errors / self.speaker_seconds if self.speaker_seconds > 0 else None


@dataclass(frozen=True)
class Sweep:
    """One recording cut into pieces in which nothing changes.

    Attributes:
        edges: (pieces + 1,) seconds.
        reference: (reference speakers, pieces) who talks.
        system: (system speakers, pieces) who is said to talk.
        scored: (pieces,) what counts.
        reference_speakers: names of the rows.
        system_speakers: names of the rows.
    """

    edges: Floats
    reference: Flags
    system: Flags
    scored: Flags
    reference_speakers: tuple[str, ...]
    system_speakers: tuple[str, ...]

    def pairs(self) -> list[tuple[int, int]]:
        """Return the best one-to-one mapping as (reference row, system row), only pairs that share scored time."""
        shared = self._shared()
        return [(int(row), int(column)) for row, column in zip(*linear_sum_assignment(-shared), strict=True) if shared[row, column] > 0]

    def mapping(self) -> dict[str, str]:
        """Return system speaker to reference speaker; who has no counterpart is left out."""
        return {self.system_speakers[column]: self.reference_speakers[row] for row, column in self.pairs()}

    def piece_errors(self) -> tuple[Floats, Floats, Floats]:
        """Return how many speakers are missed, falsely alarmed and confused in each piece, three (pieces,); zero where not scored."""
        there, said = self.reference.sum(axis=0), self.system.sum(axis=0)
        right = np.zeros(len(there), dtype=np.int64)
        for row, column in self.pairs():
            right += self.reference[row] & self.system[column]
        counts = (np.maximum(there - said, 0), np.maximum(said - there, 0), np.minimum(there, said) - right)
        miss, false_alarm, confusion = (np.where(self.scored, count, 0).astype(np.float64) for count in counts)
        return miss, false_alarm, confusion

    def counts(self) -> DiarizationCounts:
        """Return the errors in seconds."""
        lengths = np.diff(self.edges)
        miss, false_alarm, confusion = (float(count @ lengths) for count in self.piece_errors())
        speaker_seconds = float((self.reference.sum(axis=0) * self.scored) @ lengths)
        return DiarizationCounts(miss, false_alarm, confusion, speaker_seconds)

    def _shared(self) -> Floats:
        """Return the scored seconds in which both talk, (reference speakers, system speakers)."""
        lengths = np.diff(self.edges) * self.scored
        shared: Floats = (self.reference * lengths) @ self.system.T.astype(np.float64)
        return shared


@dataclass(frozen=True)
class DiarizationErrors:
    """Errors of every recording under one protocol.

    Attributes:
        files: recording to counts, in the order of the reference.
        protocol: what was scored.
        regions: where it was scored, in words.
        missing: recordings that the system does not have; all their speech counts as missed.
    """

    files: dict[str, DiarizationCounts]
    protocol: ScoringProtocol
    regions: str
    missing: tuple[str, ...]

    @property
    def total(self) -> DiarizationCounts:
        """Return the sums over the recordings; their `rate` is the pooled error rate."""
        return sum(self.files.values(), DiarizationCounts())

    def __str__(self) -> str:
        rate = self.total.rate
        return f"DER {'undefined' if rate is None else f'{100 * rate:.2f} %'} ({self.protocol}; {self.regions})"


def diarization_errors(
    reference: Annotation, system: Annotation, evaluated: Evaluated | None = None, protocol: ScoringProtocol = FULL
) -> DiarizationErrors:
    """Compare who spoke with who is said to have spoken.

    Args:
        reference: recording to turns.
        system: recording to turns; speaker names need not agree with the reference's.
        evaluated: recording to regions (UEM); None scores from the first to the last turn of reference and system together.
        protocol: collar and overlap.

    Raises:
        UserError: the system or the regions name a recording that the reference lacks, or a recording has no region.

    >>> from auscult.metrics.segments import Turn
    >>> reference = {"talk": [Turn(0, 10, "A"), Turn(10, 20, "B")]}
    >>> print(diarization_errors(reference, {"talk": [Turn(0, 20, "x")]}))
    DER 50.00 % (full: no collar, overlap scored; regions: first to last turn of reference and system)
    """
    check_recordings(reference, system, evaluated)
    files = {}
    for name, turns in reference.items():
        regions = None if evaluated is None else evaluated[name]
        files[name] = sweep(turns, system.get(name, ()), regions, protocol).counts()
    missing = tuple(name for name in reference if name not in system)
    return DiarizationErrors(files, protocol, regions_in_words(evaluated), missing)


def sweep(reference: Sequence[Turn], system: Sequence[Turn], regions: Regions | None = None, protocol: ScoringProtocol = FULL) -> Sweep:
    """Cut one recording into pieces.

    Args:
        reference: turns of one recording.
        system: turns of the same recording.
        regions: what is scored; None takes the first to the last turn of both sides.
        protocol: collar and overlap.

    Raises:
        UserError: a region does not end after its start.
    """
    there, said = to_lanes(reference), to_lanes(system)
    scored_regions = np.array(extent(reference, system) if regions is None else list(regions), dtype=np.float64).reshape(-1, 2)
    if not (np.isfinite(scored_regions).all() and (scored_regions[:, 0] < scored_regions[:, 1]).all()):
        raise UserError(f"expected evaluated regions that end after their start, got {scored_regions.tolist()[:_NAMED]}")
    boundaries = np.concatenate([there.starts, there.ends])
    collars = np.stack([boundaries - protocol.collar, boundaries + protocol.collar])
    edges = np.unique(np.concatenate([boundaries, said.starts, said.ends, scored_regions.ravel(), collars.ravel()]))
    talking = activity(edges, there.starts, there.ends, there.lanes, len(there.speakers))
    scored = _covered(edges, scored_regions[:, 0], scored_regions[:, 1])
    if protocol.collar > 0:
        scored &= ~_covered(edges, collars[0], collars[1])
    if protocol.skip_overlap:
        scored &= talking.sum(axis=0) <= 1
    claimed = activity(edges, said.starts, said.ends, said.lanes, len(said.speakers))
    return Sweep(edges, talking, claimed, scored, there.speakers, said.speakers)


def check_recordings(reference: Mapping[str, object], system: Mapping[str, object], evaluated: Mapping[str, object] | None) -> None:
    """Refuse recordings that would be scored against nothing, or silently not at all.

    Raises:
        UserError: the reference is empty, the system or the regions name a recording that it lacks, or a recording has no region.
    """
    if not reference:
        raise UserError("the reference has no recordings; nothing can be scored")
    for who, names in (("system", system), ("UEM", evaluated or {})):
        unknown = [name for name in names if name not in reference]
        if unknown:
            listed = ", ".join(f'"{name}"' for name in unknown[:_NAMED]) + (", ..." if len(unknown) > _NAMED else "")
            raise UserError(
                f"the {who} has {len(unknown)} recordings that the reference lacks: {listed}{twin_of(unknown[0], reference)}; "
                "add them to the reference or leave them out"
            )
    lost = [] if evaluated is None else [name for name in reference if not evaluated.get(name)]
    if lost:
        raise UserError(
            f'the UEM has no region for {len(lost)} recordings of the reference, first "{lost[0]}"{twin_of(lost[0], evaluated or {})}; '
            "add their regions, or take them out of reference and system"
        )


def regions_in_words(evaluated: Evaluated | None) -> str:
    """Say where recordings are scored."""
    return "regions: UEM" if evaluated is not None else "regions: first to last turn of reference and system"


def _covered(edges: Floats, starts: Floats, ends: Floats) -> Flags:
    covered: Flags = activity(edges, starts, ends, np.zeros(len(starts), dtype=np.int64), 1)[0]
    return covered
