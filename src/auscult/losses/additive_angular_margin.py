"""Additive angular margin softmax: the *angle* to the true class is enlarged by a margin before the others are compared with it.

Problem: cos(theta + m) is computed from a cosine, and sqrt(1 - c^2) has an infinite gradient at c = 1 and is NaN just above it, which
rounding reaches; beyond theta = pi - m the function turns upwards again and rewards worse embeddings. Choice: float32, cosines kept inside
1 - 1e-7, the root of a number that is never zero; beyond pi - m the line c - (1 - cos m), which continues it without a jump
(at theta = pi - m both are -1). Rejected: the line c - m sin m, which jumps (voxceleb_trainer).
With sub-centres a speaker has several weights and the nearest counts, so that a noisy recording need not pull the main one; inter-top-k
makes the hardest wrong speakers harder by a margin of their own.
Sources: Deng et al. 2019 (arXiv 1801.07698); Deng et al. 2020 (sub-centres); Zhao et al. 2021 (arXiv 2110.05042, inter-top-k).
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from auscult.errors import UserError
from auscult.losses.class_cosines import at_labels, class_weights, classified, cosines, target_entries
from auscult.losses.speaker_loss import LARGEST_COSINE, InitialLoss, SpeakerLoss, SpeakerLossOutput, flatten
from auscult.registry import INJECTED, register


def add_angle(cosine: Tensor, margin: float) -> Tensor:
    """Return cos(theta + margin) of cosines, continued by cos(theta) -+ (1 - cos(margin)) where theta + margin leaves 0 to pi.

    Args:
        cosine: any shape, float32 or float64; values beyond +-1 by rounding are taken as +-1.
        margin: in radians; a negative one brings the angle nearer. Where it would pass zero the line goes on above 1: a constant
            there would have no gradient, and the nearest wrong speakers would be left alone.

    >>> round(float(add_angle(torch.tensor(0.5), 0.2)), 4)
    0.318
    """
    inside = cosine.clamp(-LARGEST_COSINE, LARGEST_COSINE)
    sine = torch.sqrt((1.0 - inside * inside).clamp_min(1e-12))
    moved = inside * math.cos(margin) - sine * math.sin(margin)
    if margin >= 0:
        return torch.where(inside > -math.cos(margin), moved, inside - (1.0 - math.cos(margin)))
    return torch.where(inside < math.cos(margin), moved, inside + (1.0 - math.cos(margin)))


@register("loss", "additive_angular_margin")
class AdditiveAngularMargin(SpeakerLoss):
    """AAM-softmax (ArcFace) over the training speakers; every utterance is a row.

    Args:
        dimensions: supplied by the program.
        classes: supplied by the program.
        margin: added to the angle to the true class, in radians; 0 is the normalised softmax.
        scale: of the logits.
        sub_centres: weights per speaker, the nearest of which counts.
        inter_top_k: how many of the nearest wrong speakers are brought nearer; 0 none.
        top_k_margin: by how much, in radians.
    """

    def __init__(
        self,
        dimensions: Annotated[int, INJECTED],
        classes: Annotated[int, INJECTED],
        margin: Annotated[float, Field(ge=0, le=1.5)] = 0.2,
        scale: Annotated[float, Field(gt=0)] = 30.0,
        sub_centres: Annotated[int, Field(ge=1)] = 1,
        inter_top_k: Annotated[int, Field(ge=0)] = 0,
        top_k_margin: Annotated[float, Field(ge=0, le=1.5)] = 0.06,
    ) -> None:
        super().__init__(dimensions, classes)
        if inter_top_k >= classes:
            raise UserError(f"loss.inter_top_k: {inter_top_k} wrong speakers do not exist among {classes}; give at most {classes - 1}")
        self.margin, self.scale, self.sub_centres = margin, scale, sub_centres
        self.inter_top_k, self.top_k_margin = inter_top_k, top_k_margin
        self.set_margin(1.0)
        self.weight = class_weights(classes * sub_centres, dimensions)

    def set_margin(self, fraction: float) -> None:
        """Use this share of the margins from now on."""
        self.margin_in_effect, self.top_k_margin_in_effect = fraction * self.margin, fraction * self.top_k_margin

    def compute(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        """Return cross-entropy with the margins, and cosines without them."""
        rows, targets = flatten(embeddings, labels)
        every = cosines(rows, self.weight)  # (items, classes * sub-centres)
        free = every if self.sub_centres == 1 else every.view(-1, self.classes, self.sub_centres).amax(2)
        logits = free if not self.inter_top_k else self._harder(free, targets)
        logits = at_labels(logits, targets, add_angle(target_entries(free, targets), self.margin_in_effect))
        return classified(self.scale * logits, free, targets)

    def _harder(self, free: Tensor, targets: Tensor) -> Tensor:
        """Bring the nearest wrong speakers of each item nearer."""
        wrong = at_labels(free.detach(), targets, torch.full_like(targets, -2, dtype=free.dtype))
        nearest = wrong.topk(self.inter_top_k, dim=1).indices
        return free.scatter(1, nearest, add_angle(free.gather(1, nearest), -self.top_k_margin_in_effect))

    def initial(self, speakers: int, utterances: int) -> InitialLoss | None:
        """Return the loss of random directions, about ln C + s sin m + s^2 / (2 D); None with inter-top-k, which depends on ranks."""
        if self.inter_top_k:
            return None
        margin, several = self.margin_in_effect, self.sub_centres
        what = f", angular margin {margin:g}" + (f", {several} sub-centres" if several > 1 else "")
        return InitialLoss.of_softmax(
            self.classes, self.dimensions, self.scale, what, lambda cosine: add_angle(torch.from_numpy(cosine), margin).numpy(), several
        )
