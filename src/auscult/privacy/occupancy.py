"""Who says what when: posteriors of every character at every frame, from the output layer's gradient and known features.

Problem: the signs of the output layer's gradient prove characters only while a network is untrained; later its own guesses outweigh the
true ones in every row. Choice: an attacker who has the features exactly (`first_layer_span` gives them) runs the network on them and knows
every p_t(k) and h_t. The gradient is sum_t c (p_t(k) - gamma_t(k)) h_t with the bias beside it, so least squares over frames give
c (p - gamma) frame by frame: as long as there are fewer frames than units, nothing is left to guess. A class that an utterance does not
hold has gamma = 0, hence c is the largest ratio that the classes agree on, and **1 / c counts the symbols** of the transcript under
a loss averaged over targets. Where a state of training makes frames look alike, the condition of the system grows and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auscult.privacy.message import Leak
from auscult.privacy.victim import Victim

Array = NDArray[np.float64]
WEIGHT, BIAS = "fc.weight", "fc.bias"
PRESENT = 0.05
"""Frames that a class must be occupied for, in all, to count as said; a character that is said is occupied for about one or more."""
AGREEING = 5
"""Classes with the largest ratios, whose median is the scale of an utterance: any five characters that it does not hold."""
SOUND = 1e7
"""Condition of the system up to which its solution is trusted: the message is in float32."""


class Occupancy(NamedTuple):
    """What the output layer's gradient says of one utterance.

    Attributes:
        posteriors: (frames, classes), gamma; rows sum to one up to the error.
        characters: that the utterance holds.
        scale: factor c of the utterance in the batch's loss.
    """

    posteriors: Array
    characters: frozenset[str]
    scale: float


def occupancies(victim: Victim, leak: Leak, features: Sequence[Tensor]) -> tuple[list[Occupancy], float]:
    """Return the occupancies of each utterance and the condition of the system that was solved; unsound above `SOUND`.

    Args:
        victim: of a kind whose output layer `fc` takes one vector per frame.
        leak: of one step, with the gradients of `fc.weight` and `fc.bias`.
        features: (frames, width) of each utterance of the batch.
    """
    step = -leak.rate if leak.kind == "delta" and leak.rate is not None else 1.0
    seen = [seen_by_output(victim, one) for one in features]
    units = np.concatenate([hidden for hidden, _ in seen])
    units = np.concatenate([units, np.ones((len(units), 1))], axis=1)  # (all frames, hidden + 1)
    rows = np.concatenate([leak.tensors[WEIGHT].double().cpu().numpy(), leak.tensors[BIAS].double().cpu().numpy()[:, None]], axis=1) / step
    left, sizes, right = np.linalg.svd(units, full_matrices=False)
    condition = float(sizes[0] / sizes[-1]) if len(units) <= units.shape[1] else np.inf
    inverse = np.where(sizes > sizes[0] * 1e-9, 1 / np.maximum(sizes, 1e-300), 0.0)
    errors = ((rows @ right.T) * inverse @ left.T).T  # (all frames, classes): c (p - gamma)
    ends = np.cumsum([len(hidden) for hidden, _ in seen])[:-1]
    parts = zip(np.split(errors, ends), seen, strict=True)
    return [read_errors(victim, error, probabilities) for error, (_, probabilities) in parts], condition


def seen_by_output(victim: Victim, features: Tensor) -> tuple[Array, Array]:
    """Return what the output layer sees (frames, hidden) and the probabilities (frames, classes)."""
    kept: list[Tensor] = []
    layer = victim.model.get_submodule("fc")
    hook = layer.register_forward_pre_hook(lambda module, inputs: kept.append(inputs[0]))
    try:
        with torch.no_grad():
            lengths = torch.tensor([len(features)])
            dtype = next(iter(victim.parameters.values())).dtype
            output = victim.model.encode(victim.features.stack(features[None].to(dtype), lengths))
    finally:
        hook.remove()
    return kept[0][0].double().numpy(), output.logits[0].double().softmax(-1).numpy()


def read_errors(victim: Victim, errors: Array, probabilities: Array) -> Occupancy:
    """Return what c (p - gamma) of one utterance says, (frames, classes), beside the probabilities p, (frames, classes)."""
    ratios = np.sort(errors.sum(0) / probabilities.sum(0))
    scale = float(np.median(ratios[-AGREEING:]))
    posteriors = probabilities - errors / scale if scale > 0 else np.zeros_like(probabilities)
    labels = victim.specification.labels
    said = [index for index in np.flatnonzero(posteriors.sum(0) > PRESENT).tolist() if index != victim.blank]
    return Occupancy(posteriors, frozenset(labels[index] for index in said), scale)
