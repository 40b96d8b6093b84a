"""Powerset labels of frames, and a loss that is indifferent to which speaker is called first.

Problem: with one yes-or-no output per speaker every boundary needs a threshold, and overlap is whatever two thresholds leave. Choice: one
class per set of simultaneous speakers (nobody, each, each pair), so that a frame is one decision; speakers of a window have no order, so
the loss of a window is its negative log-likelihood under the assignment of speakers to outputs that suits it best. All assignments are
tried: with at most four local speakers there are 24, and the likelihoods of all of them follow from one matrix per window,
"frames of true class a, log-probability of class b", so no frame is looked at twice. Rejected: the Hungarian method on hard decisions
(its optimum is not the loss's optimum). Source: Plaquet and Bredin 2023 (arXiv 2310.13025).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, permutations

import torch
from torch import Tensor

from auscult.errors import UserError

NOBODY = "none"
"""Label of the empty set."""


class Powerset:
    """Classes for the sets of at most `at_once` out of `speakers` speakers, smaller sets first, then in order of their members.

    Args:
        speakers: local speakers, 1 to 4.
        at_once: most that are told apart when they speak at the same time.

    Attributes:
        sets: members of each class.
        mapping: (classes, speakers) float32, 1 where a speaker belongs to a class.
        permutations: (orders, speakers) int64, every order of the speakers, the given one first.
        class_permutations: (orders, classes) int64: the class that a class becomes when the columns of the activity are reordered.

    >>> Powerset(3, 2).sets
    ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2))
    """

    def __init__(self, speakers: int = 3, at_once: int = 2) -> None:
        if not (1 <= speakers <= 4 and 1 <= at_once <= speakers):
            raise UserError(
                f"powerset: expected 1 to 4 speakers and at_once from 1 to speakers, got speakers {speakers}, at_once {at_once}"
            )
        self.speakers, self.at_once = speakers, at_once
        self.sets = tuple(members for size in range(at_once + 1) for members in combinations(range(speakers), size))
        self.mapping = torch.tensor([[float(one in members) for one in range(speakers)] for members in self.sets])
        orders = list(permutations(range(speakers)))
        self.permutations = torch.tensor(orders)
        places = {members: place for place, members in enumerate(self.sets)}
        self.class_permutations = torch.tensor(
            [[places[tuple(sorted(order.index(one) for one in members))] for members in self.sets] for order in orders]
        )

    @classmethod
    def from_labels(cls, labels: Sequence[str]) -> Powerset:
        """Return the powerset whose `labels` these are.

        Raises:
            UserError: the labels are not those of a powerset.
        """
        speakers = max((int(one) for label in labels if label != NOBODY for one in label.split("+") if one.isdigit()), default=0)
        found = cls(min(max(speakers, 1), 4), min(max((label.count("+") + 1 for label in labels), default=1), max(speakers, 1), 4))
        if found.labels != tuple(labels):
            raise UserError(f"these are not the classes of a powerset: {', '.join(labels)}; expected for example {', '.join(found.labels)}")
        return found

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.sets)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, speakers counted from 1.

        >>> Powerset(2, 2).labels
        ('none', '1', '2', '1+2')
        """
        return tuple("+".join(str(one + 1) for one in members) or NOBODY for members in self.sets)

    def to_classes(self, activity: Tensor) -> Tensor:
        """Return the class of each frame: (..., speakers) of 0 and 1 -> (...) int64.

        The set that shares most speakers with the frame, the smallest of them in a tie; more than `at_once` speakers become the first
        `at_once` of them, so sort columns by importance (`most_active`).
        """
        self._check(activity)
        mapping = self.mapping.to(activity)
        scores = activity @ (mapping.T * (self.speakers + 1)) - mapping.sum(dim=1)
        return scores.argmax(dim=-1)

    def to_activity(self, classes: Tensor) -> Tensor:
        """Return who is active: (...) int64 -> (..., speakers) float32."""
        return self.mapping.to(classes.device)[classes]

    def soft_activity(self, log_probabilities: Tensor) -> Tensor:
        """Return the probability that each speaker is active: (..., classes) log-probabilities -> (..., speakers)."""
        return log_probabilities.exp() @ self.mapping.to(log_probabilities)

    def most_active(self, activity: Tensor) -> Tensor:
        """Return the `speakers` most active columns, most active first, silent ones where there are fewer.

        (batch, frames, any number) -> (batch, frames, speakers). Ties go to who is active earlier, so that the order of the
        columns given decides nothing unless two speakers are active in the very same frames.
        """
        missing = self.speakers - activity.shape[2]
        if missing > 0:
            activity = torch.nn.functional.pad(activity, (0, missing))
        frames = activity.shape[1]
        totals = activity.sum(dim=1).double()  # (batch, columns)
        places = torch.arange(frames, 0, -1, device=activity.device, dtype=torch.float64)[:, None]
        ranks = totals + (activity.double() * places).sum(dim=1) / (frames + 1) ** 2
        order = ranks.argsort(dim=1, descending=True, stable=True)[:, : self.speakers]
        return activity.gather(2, order[:, None].expand(-1, frames, -1))

    def _check(self, activity: Tensor) -> None:
        if activity.shape[-1] != self.speakers:
            raise UserError(
                f"powerset of {self.speakers} speakers: got {activity.shape[-1]} columns of activity; choose or pad them with most_active"
            )


def permutation_free_loss(log_probabilities: Tensor, frame_lengths: Tensor, activity: Tensor, powerset: Powerset) -> tuple[Tensor, Tensor]:
    """Return the negative log-likelihood of each window under its best assignment of speakers to outputs.

    Args:
        log_probabilities: (batch, frames, classes).
        frame_lengths: (batch,) int64; frames beyond them do not count.
        activity: (batch, frames, columns) of 0 and 1, any number of columns: the most active speakers are kept.
        powerset: the classes.

    Returns:
        losses (batch,) float32, summed over the true frames, and orders (batch,) int64, the row of `powerset.permutations` that was
        best: output k stands for speaker permutations[order, k] of `powerset.most_active(activity)`.

    Raises:
        UserError: shapes do not fit.
    """
    if log_probabilities.shape[:2] != activity.shape[:2] or log_probabilities.shape[2] != powerset.classes:
        raise UserError(
            f"permutation_free_loss: log-probabilities {tuple(log_probabilities.shape)} for activity {tuple(activity.shape)} and "
            f"{powerset.classes} classes; the model's frame grid is not that of the labels"
        )
    scores = log_probabilities.float()
    classes = powerset.to_classes(powerset.most_active(activity))  # (batch, frames)
    true = torch.arange(scores.shape[1], device=scores.device) < frame_lengths.to(scores.device)[:, None]
    table = torch.nn.functional.one_hot(classes, powerset.classes).float() * true[..., None]  # (batch, frames, true class)
    scores = torch.where(true[..., None], scores, 0.0)
    likelihoods = table.transpose(1, 2) @ scores  # (batch, true class, class)
    moved = powerset.class_permutations.to(scores.device)  # (orders, classes)
    rows = torch.arange(powerset.classes, device=scores.device).expand_as(moved)
    losses = -likelihoods[:, rows, moved].sum(dim=2)  # (batch, orders)
    best = losses.min(dim=1)
    return best.values, best.indices
