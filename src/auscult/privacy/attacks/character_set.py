"""Which characters were spoken: read off the gradient of the output layer, without descent and without lengths.

Problem: label attacks for images assume one softmax per datum; CTC has one per frame, and a character's frames are not known. Choice: row
k of the output layer's gradient is sum_t (p_t(k) - gamma_t(k)) h_t, where gamma is the posterior of class k at frame t. A character that
occurs in no transcript has gamma = 0. Where h cannot be negative (DeepSpeech 1 clips below zero) its row then has no negative entry:
**a negative entry proves presence**, with no false alarm beyond rounding, in any state of training. DeepSpeech 2 normalises h, so signs
prove nothing there; what is left is that rows of present characters are longer, and the largest fall among sorted lengths is a guess.

Noise on the message makes entries of every row negative. Units that were off throughout have a gradient of exactly zero before noise, so
the quietest columns of a changed message measure its noise, and only entries far below it count. That is strong evidence, no proof.
"""

from __future__ import annotations

import torch
from torch import Tensor

from auscult.errors import UserError
from auscult.models.deepspeech1 import DeepSpeech1
from auscult.privacy.attack import Attack, Reconstruction, Watch
from auscult.privacy.message import Knowledge, Leak
from auscult.privacy.victim import Victim
from auscult.registry import register

WEIGHT = "fc.weight"
QUIET = 0.1
"""Share of units taken to have been off throughout; of 512, 36 % were with random weights and more after training."""
DEVIATIONS = 5.0
"""How far below the noise of a changed message an entry must lie; of 15,000 normal values the least lies near 4."""


@register("attack", "character_set")
class CharacterSet(Attack):
    """Reveal the characters of a batch's transcripts from the gradient of the output layer; needs nothing else.

    Args:
        floor: share of a row's largest magnitude below which a negative entry counts as rounding.
    """

    def __init__(self, floor: float = 1e-5) -> None:
        if not 0 <= floor < 1:
            raise UserError(f"character_set: floor is a share of a row's largest entry, from 0 to below 1, not {floor}")
        self.floor = floor

    def run(self, victim: Victim, leak: Leak, knowledge: Knowledge, watch: Watch) -> Reconstruction:
        """Return the characters; raises as the contract says."""
        victim.accept(leak)
        if leak.steps != 1:
            raise UserError(f"character_set: {leak.steps} local steps mix gradients at different weights; it needs a message of one step")
        sign = -1.0 if leak.kind == "delta" else 1.0
        rows = sign * self.needed(leak, [WEIGHT])[WEIGHT].double()  # (classes, hidden)
        if isinstance(victim.model, DeepSpeech1):
            present, notes = self._proved(rows, noise=_noise(rows) if leak.defences else 0.0), list[str]()
            if leak.defences:
                notes = [f"the message was changed ({', '.join(leak.defences)}): the characters are likely, and not proved"]
        else:
            present, notes = _guessed(rows, victim.blank), ["activations can be negative: the characters are a guess by length of rows"]
        labels = victim.specification.labels
        characters = frozenset(labels[index] for index in present.nonzero()[:, 0].tolist() if index != victim.blank)
        return Reconstruction(characters=characters, notes=tuple(notes))

    def _proved(self, rows: Tensor, noise: float) -> Tensor:
        """Return which classes have a negative entry beyond rounding and noise, (classes,) bool."""
        return rows.amin(1) < -(self.floor * rows.abs().amax(1)).clamp_min(DEVIATIONS * noise)


def _noise(rows: Tensor) -> float:
    """Return the deviation of the noise on rows (classes, hidden), from the units that say least."""
    return float(rows.square().mean(0).sqrt().quantile(QUIET))


def _guessed(rows: Tensor, blank: int) -> Tensor:
    """Return the classes above the largest fall among sorted lengths of rows, the blank left out, (classes,) bool."""
    lengths = rows.norm(dim=1)
    others = torch.tensor([index for index in range(len(lengths)) if index != blank])
    order = others[lengths[others].argsort(descending=True)]
    falls = lengths[order][:-1] / lengths[order][1:].clamp_min(1e-300)
    present = torch.zeros(len(lengths), dtype=torch.bool)
    present[order[: int(falls.argmax()) + 1]] = True
    return present
