"""Which output is which speaker, from window to window, for as long as a recording lasts.

Problem: permutation-invariant training leaves the order of the outputs free, and it changes from window to window; pasted together as
they come, half of a file belongs to the other speaker. Choice: the new window's overlap is compared with what was put out for it already,
by correlation: the energy of all signals together normalises it, so that a silent speaker's residue weighs as little as it is loud (the
mean-square distance of the two orders, in other words), and an overlap in which nobody is heard is neutral. The order of the window
before stays unless another one is better by `margin`; among those that are about as good, what the speakers sounded like decides
(`separation_profile`), and where that does not know either, the order stays and the join is counted as doubtful.

With scores between neighbours only, the best order of each join is independent of all others (a score depends on the relative order
alone), so choosing greedily is what a Viterbi search would find; the profiles add what was heard long before, and are not revised later.
Rejected: plain normalised correlation of each pair (two residues of one loud voice correlate as well as the voice itself and cancel the
decision), and a search over the whole recording (needs all of it).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from auscult.errors import UserError
from auscult.serving.separation_profile import SpeakerProfiles

MOST_SOURCES = 5
"""All orders are compared; more sources have too many."""
SILENT = 10 ** (-40 / 10)
"""Power, relative to the mean power of the mixture, below which nobody is heard."""
DecidedBy = Literal["overlap", "profile", "nothing", "silence"]


@dataclass(frozen=True)
class OrderRules:
    """When to believe a comparison.

    Attributes:
        margin: least advantage of another order over the one of the window before, in correlation (0 to 2).
        likeness_margin: the same for the likeness of spectra, where the overlap decides nothing.
    """

    margin: float = 0.1
    likeness_margin: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.margin <= 2 or not 0 <= self.likeness_margin <= 2:
            raise UserError(f"margin {self.margin:g} and likeness_margin {self.likeness_margin:g}: expected 0 to 2")


@dataclass(frozen=True)
class Join:
    """How a window was joined to the ones before.

    Attributes:
        order: output of each speaker.
        margin: correlation of the best order minus that of the next; 0 in silence.
        decided_by: "overlap"; "profile"; "nothing": the order stayed because nothing spoke against it; or "silence": it stayed and does not
            matter, because nobody is heard in the window.
        swapped: the network put its outputs in another order than in the window before.
    """

    order: tuple[int, ...]
    margin: float
    decided_by: DecidedBy
    swapped: bool


class OrderKeeper:
    """The order of one recording.

    Args:
        sources: outputs of the network.
        sample_rate: in hertz.
        rules: when to believe a comparison.

    Raises:
        UserError: more than five sources.
    """

    def __init__(self, sources: int, sample_rate: int, rules: OrderRules) -> None:
        if sources > MOST_SOURCES:
            raise UserError(f"{sources} sources: the order of at most {MOST_SOURCES} can be kept over windows")
        self.rules = rules
        self.profiles = SpeakerProfiles(sources, sample_rate)
        self._orders = list(permutations(range(sources)))
        self._current = 0  # place of the order of the window before

    def join(self, before: NDArray[np.float64], window: NDArray[np.float64], reference: float) -> Join:
        """Find the order of a window.

        Args:
            before: (speakers, overlap) what was put out for its beginning.
            window: (sources, time) what the network now says, with gains.
            reference: mean power of the mixture so far.
        """
        if (window**2).sum() <= SILENT * reference * window.shape[1]:
            return self._decide(self._current, 0.0, "silence")
        totals = self._totals(overlap_scores(before, window[:, : before.shape[1]], reference))
        ranked = np.sort(totals)[::-1]
        margin = float(ranked[0] - ranked[1]) if len(ranked) > 1 else float("inf")
        left = np.flatnonzero(totals >= ranked[0] - self.rules.margin).tolist()
        if len(left) == 1:
            return self._decide(left[0], margin, "overlap")
        usual = self._current if self._current in left else int(totals.argmax())
        like = self._totals(self.profiles.likeness(window, reference))
        likest = max(left, key=lambda place: (like[place], place == usual))
        if like[likest] - like[usual] > self.rules.likeness_margin:
            return self._decide(likest, margin, "profile")
        second = max((like[place] for place in left if place != usual), default=0.0)
        return self._decide(usual, margin, "profile" if like[usual] - second > self.rules.likeness_margin else "nothing")

    def _totals(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum along every order."""
        rows = np.arange(len(scores))
        return np.array([scores[rows, list(order)].sum() for order in self._orders])

    def _decide(self, place: int, margin: float, decided_by: DecidedBy) -> Join:
        swapped = place != self._current
        self._current = place
        return Join(self._orders[place], margin, decided_by, swapped)


def overlap_scores(before: NDArray[np.float64], after: NDArray[np.float64], reference: float) -> NDArray[np.float64]:
    """Return (speakers, sources) correlations of two versions (speakers, time) and (sources, time) of one stretch.

    The sum along the right order is 1 where the versions agree; all are 0 where nobody is heard in one of them.

    >>> voice, silence = np.ones(4), np.zeros(4)
    >>> overlap_scores(np.stack([voice, silence]), np.stack([silence, voice]), 1.0).tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    energies = float((before**2).sum()), float((after**2).sum())
    if min(energies) <= SILENT * reference * max(before.shape[1], 1):
        return np.zeros((len(before), len(after)))
    return np.asarray(before @ after.T / np.sqrt(energies[0] * energies[1]))
