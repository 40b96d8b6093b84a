"""The first-layer attack against a message that defences have changed: from the plain attack's features to those that explain the rest.

Problem: `auscult.privacy.refinement` needs a start, the sign of each utterance and what was sent; its fit has no certificate. Choice: the
start is what the plain attack found, however bad. Signs are tried for a few rounds, because a bias that was pruned or is noise tells
none, while units that are on where they should be off leave much of the message unexplained. Shifts are tried where much stays so: only
its edges tell an utterance from itself some frames later, and the fit gets stuck there. Where the size of what must be left is
declared (noise, rounding, nothing under pruning), more than that is a reason to say that the features are wrong; less is no proof.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from auscult.audio.front_ends.normalisation import Normalise
from auscult.privacy.attack import Reconstruction
from auscult.privacy.declared import Noised, Pruned, Rounded, Shortened
from auscult.privacy.evidence import Evidence, obstacle, weigh
from auscult.privacy.message import Leak
from auscult.privacy.priors import project
from auscult.privacy.refinement import ITERATIONS, Observed, Refined, left_by, refine, unknowns
from auscult.privacy.victim import Victim

WEIGHT, BIAS = "input.0.weight", "input.0.bias"
TRIED = 6
"""Rounds of each sign and shift."""
CHANCE = 0.02
"""Share by which the variance that is left may exceed what is expected."""
SHIFTS = (-2, -1, 1, 2)
"""Frames by which an utterance is moved."""
SEARCHES = 2
"""Searches among shifts at most."""
MOST = 0.03
"""Share of the message that may stay unexplained beyond what is declared; features at 15 dB left 0.05 to 0.1."""


def spoilt(leak: Leak) -> bool:
    """Return whether defences changed more than the length of a message, which the span does not notice."""
    return any(not isinstance(change, Shortened) for change in leak.changes)


def adapted(victim: Victim, leak: Leak, plain: Reconstruction) -> Reconstruction:
    """Return features that explain a changed message, found from those of the plain attack.

    Args:
        victim: DeepSpeech 1.
        leak: with the gradient of its first layer.
        plain: features of every utterance; where they are zero nothing can start.
    """
    reason = obstacle(leak)
    if reason is not None:
        return replace(plain, notes=(*plain.notes, f"not adapted to the defences: {reason}"))
    assert plain.features is not None
    evidence = weigh(leak, [name for name in (WEIGHT, BIAS) if name in leak.tensors])
    left, message, start = expected(leak, evidence), observed(leak, evidence), [one.double() for one in plain.features]
    missing = _missing(message, sum(map(len, start)), victim.features.width)
    if missing is not None:
        zeros = tuple(torch.zeros_like(one) for one in plain.features)
        return replace(plain, features=zeros, notes=(*plain.notes, missing), objective=1.0, gave_up=missing)
    found = _Search(victim, message).best(start, left)
    notes = [f"adapted to {', '.join(leak.defences)}: {found.unexplained:.2g} of the message stays unexplained, which is no certificate"]
    doubt = None
    if left is not None and unsettled(found, left):
        doubt = f"features and defences should leave {left:.2g} of it and no more: the features are probably wrong"
        notes.append(doubt)
    return replace(plain, features=tuple(found.sequences), objective=found.unexplained, notes=(*plain.notes, *notes), gave_up=doubt)


def observed(leak: Leak, evidence: Evidence) -> Observed:
    """Return what was sent of the first layer as one matrix."""
    parts = [_column(evidence.sent[name]) for name in evidence.sent]
    pruned = any(isinstance(change, Pruned) for change in leak.changes)
    told = torch.cat([_column(evidence.told[name]) for name in evidence.told], dim=1) if pruned else None
    return Observed(torch.cat(parts, dim=1), told, evidence.deviation)


def _missing(message: Observed, frames: int, width: int) -> str | None:
    """Return why no fit can be determined, or None."""
    if message.told is None:
        return None
    sent, needed = int(message.told.sum()), unknowns(frames, width, int((message.told.sum(1) > 0).sum()))
    if sent >= needed:
        return None
    why = f"{sent} values of the first layer were sent, fewer than the {needed} unknowns of {frames} frames"
    return f"{why}: nothing can be fitted, and zeros are returned"


def expected(leak: Leak, evidence: Evidence) -> float | None:
    """Return the deviation that the truth leaves unexplained, as a share of the root mean square of what was sent; None is unknown."""
    weight = evidence.sent[WEIGHT]
    size = float((weight.square().sum() / evidence.told[WEIGHT].sum()).sqrt())
    change = next(one for one in leak.changes if not isinstance(one, Shortened))
    if isinstance(change, Noised):
        return evidence.deviation / size
    if isinstance(change, Rounded):  # uniform within half a step, or of the variance of a whole one's remainder
        return float(weight.abs().max()) / change.levels * math.sqrt(change.reach / 6) / size
    return 0.0 if isinstance(change, Pruned) else None


class _Search:
    """The attacked network's half of the search."""

    def __init__(self, victim: Victim, message: Observed) -> None:
        self.message, self.context = message, victim.features.context
        self.layer = (victim.parameters[WEIGHT].detach(), victim.parameters[BIAS].detach())
        self.how: Normalise = getattr(victim.model.front_end, "normalise", "none")

    def best(self, start: list[Tensor], left: float | None) -> Refined:
        """Return what explains most; `left` is the deviation that the truth leaves, None is unknown."""
        before = left_by(self.message, self.layer, start, self.context)
        if left and before**2 <= (1 + CHANCE) * left**2:
            return Refined(start, before)  # hardly any noise: nothing is left to gain, and algebra is more exact than a fit in float32
        tried = [self._refined(start, TRIED)] + [self._refined(one, TRIED) for one in _changed(start, lambda sequence: [-sequence])]
        found = self._refined(min(tried, key=_unexplained).sequences)
        for _ in range(SEARCHES):
            if left is None or not unsettled(found, left):
                break
            tried = [self._refined(one, TRIED) for one in _changed(found.sequences, _shifted)]
            moved = min(tried, key=_unexplained)
            if moved.unexplained >= found.unexplained:
                break
            found = self._refined(moved.sequences)
        return Refined(start, before) if before <= found.unexplained else found

    def _refined(self, start: list[Tensor], iterations: int = ITERATIONS) -> Refined:
        sizes = [float(one.std()) for one in start]

        def fit(sequences: list[Tensor]) -> list[Tensor]:
            if self.how == "none":  # the message hardly tells the scale; it stays where the bias has put it
                return [one * (size / one.std()) for one, size in zip(sequences, sizes, strict=True)]
            return [project(one[None].float(), torch.tensor([len(one)]), self.how)[0].double() for one in sequences]

        return refine(self.message, self.layer, start, self.context, fit, iterations)


def unsettled(found: Refined, left: float) -> bool:
    """Return whether more is unexplained than what the truth leaves, `left`, and `MOST` and `CHANCE` beside it."""
    return found.unexplained**2 > (1 + CHANCE) * left**2 + MOST**2


def _changed(start: list[Tensor], change: Callable[[Tensor], list[Tensor]]) -> list[list[Tensor]]:
    """Return the start with one utterance changed, for all utterances and changes."""
    return [[*start[:place], other, *start[place + 1 :]] for place, one in enumerate(start) for other in change(one)]


def _shifted(sequence: Tensor) -> list[Tensor]:
    return [sequence.roll(frames, 0) for frames in SHIFTS if abs(frames) < len(sequence)]


def _unexplained(found: Refined) -> float:
    return found.unexplained


def _column(value: Tensor) -> Tensor:
    return value if value.dim() == 2 else value[:, None]
