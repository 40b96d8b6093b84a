"""Records of trials as arrays, and what their errors have in common: short recordings, single speakers, pairs of speakers.

Problem: an equal error rate says how often a system is wrong, not with whom; in most test sets a few speakers make most of the errors. All
groups here are judged at one threshold, that of the equal error rate of the whole split, because a threshold per speaker is one nobody has
in use. The rate by duration has a threshold of its own per group, and says so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.errors import UserError
from auscult.metrics.detection import DetectionCurve
from auscult.metrics.trial_bootstrap import bootstrap_detection

Floats = NDArray[np.float64]
UNKNOWN = "unknown"
"""What the records say of a speaker nobody has named."""
SCORES = {"score": "trained", "normalised_score": "trained, normalised", "untrained_score": "untrained"}
"""Scores a record may have, and what they are called."""
REPLICATES = 200
MOST_RESAMPLED = 50_000
"""Trials of a group above which its interval is left out, so that a report takes seconds."""


@dataclass(frozen=True)
class SpeakerErrors:
    """Errors at the threshold of the split of the trials a speaker takes part in.

    Attributes:
        speaker: who.
        targets: trials of the speaker with themself.
        missed: those of them that are rejected.
        nontargets: trials of the speaker with others.
        accepted: those of them that are accepted.
        confused: the other speaker of most accepted trials and their number; None without one.
    """

    speaker: str
    targets: int
    missed: int
    nontargets: int
    accepted: int
    confused: tuple[str, int] | None

    @property
    def rate(self) -> float:
        """Mean of both error rates; of the one there is where trials of one kind are missing."""
        rates = [errors / trials for errors, trials in ((self.missed, self.targets), (self.accepted, self.nontargets)) if trials]
        return sum(rates) / max(len(rates), 1)


@dataclass(frozen=True)
class TrialTable:
    """Records of trials of one split.

    Args:
        items: as `items/<split>.jsonl` holds them; trials of both kinds.
    """

    items: Sequence[Mapping[str, Any]]

    @cached_property
    def target(self) -> NDArray[np.bool_]:
        """Which trials are of one speaker, (trials,)."""
        return np.array([bool(item["target"]) for item in self.items])

    def column(self, name: str) -> Floats:
        """Return a number of every record, (trials,)."""
        return np.array([float(item[name]) for item in self.items])

    @cached_property
    def curves(self) -> dict[str, DetectionCurve]:
        """Operating points of every kind of score the records have."""
        return {name: DetectionCurve.of(self.column(name), self.target) for name in SCORES if name in self.items[0]}

    @cached_property
    def accepted(self) -> NDArray[np.bool_]:
        """Which trials are accepted at the threshold of the equal error rate of the trained scores, (trials,)."""
        return self.column("score") >= self.curves["score"].equal_error_threshold()

    @cached_property
    def speakers(self) -> tuple[list[str], list[str]]:
        """Who speaks on either side; two lists (trials,)."""
        first, second = ([str(item.get(f"{side}_speaker", UNKNOWN)) for item in self.items] for side in ("enrol", "test"))
        return first, second

    @property
    def known(self) -> bool:
        """Whether all speakers have names."""
        return UNKNOWN not in {*self.speakers[0], *self.speakers[1]}

    def by_duration(self, most: int = 5) -> list[dict[str, Any]]:
        """Return the equal error rate by the shorter of the two recordings.

        Groups of equally many trials, at most `most`; each length is one where there are no more of them.
        """
        seconds = np.minimum(self.column("enrol_seconds"), self.column("test_seconds")).round(2)
        values = np.unique(seconds)
        if len(values) <= most:
            return [{"seconds": f"{value:.3g}", **self._rate(np.flatnonzero(seconds == value))} for value in values.tolist()]
        edges = np.unique(np.quantile(seconds, np.linspace(0.0, 1.0, most + 1)).round(2))
        place = np.clip(np.searchsorted(edges, seconds, side="right") - 1, 0, len(edges) - 2)
        return [
            {"seconds": f"{edges[group]:.3g} to {edges[group + 1]:.3g}", **self._rate(np.flatnonzero(place == group))}
            for group in range(len(edges) - 1)
        ]

    def _rate(self, rows: NDArray[np.intp]) -> dict[str, Any]:
        target, score = self.target[rows], self.column("score")[rows]
        found: dict[str, Any] = {"trials": len(rows), "targets": int(target.sum())}
        if not 0 < found["targets"] < found["trials"]:
            return {**found, "eer": float("nan"), "low": float("nan"), "high": float("nan")}
        low = high = float("nan")
        if len(rows) <= MOST_RESAMPLED:
            first, second = self.speakers
            sides = ([first[row] for row in rows], [second[row] for row in rows]) if self.known else None
            with contextlib.suppress(UserError):  # too few speakers to resample: the rate stands without an interval
                low, high = bootstrap_detection(score, target, sides, REPLICATES).intervals["eer"]
        return {**found, "eer": DetectionCurve.of(score, target).equal_error_rate(), "low": low, "high": high}

    @cached_property
    def by_speaker(self) -> list[SpeakerErrors]:
        """Errors of every speaker, most wrong first; empty where speakers are not known."""
        if not self.known:
            return []
        rows: dict[str, list[int]] = {}
        for row, (first, second) in enumerate(zip(*self.speakers, strict=True)):
            for name in dict.fromkeys((first, second)):
                rows.setdefault(name, []).append(row)
        found = [self._errors_of(name, np.array(own)) for name, own in rows.items()]
        return sorted(found, key=lambda one: (-one.rate, -one.accepted - one.missed, one.speaker))

    def _errors_of(self, name: str, rows: NDArray[np.intp]) -> SpeakerErrors:
        target, accepted = self.target[rows], self.accepted[rows]
        first, second = self.speakers
        others: dict[str, int] = {}
        for row in rows[~target & accepted].tolist():
            other = second[row] if first[row] == name else first[row]
            others[other] = others.get(other, 0) + 1
        confused = min(others.items(), key=lambda pair: (-pair[1], pair[0])) if others else None
        return SpeakerErrors(
            name, int(target.sum()), int((target & ~accepted).sum()), int((~target).sum()), int((~target & accepted).sum()), confused
        )

    def shares_accepted(self, names: Sequence[str]) -> Floats:
        """Return the share of accepted trials between speakers, both directions together: (names, names), nan where there are none."""
        place = {name: row for row, name in enumerate(names)}
        counts, accepted = np.zeros((2, len(names), len(names)))
        for row, (first, second) in enumerate(zip(*self.speakers, strict=True)):
            if first in place and second in place:
                one, other = sorted((place[first], place[second]))
                counts[one, other] += 1
                accepted[one, other] += self.accepted[row]
        with np.errstate(invalid="ignore"):
            shares = accepted / counts
        return np.where(np.isnan(shares), shares.T, shares)

    def worst(self, most: int) -> list[int]:
        """Return the trials that lie furthest on the wrong side of the threshold, both kinds taking turns, at most `most`."""
        wrong = self.target != self.accepted
        score = self.column("score")
        low = [int(row) for row in np.argsort(score, kind="stable") if wrong[row] and self.target[row]]
        high = [int(row) for row in np.argsort(-score, kind="stable") if wrong[row] and not self.target[row]]
        half = most // 2
        return [*high[: max(half, most - len(low))], *low[: max(most - half, most - len(high))]][:most]
