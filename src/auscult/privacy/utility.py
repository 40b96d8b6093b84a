"""What a defence costs the clients, measured on each message and without training: so that defences are compared at equal utility.

Problem: any defence hides anything if it is only strong enough; a strength that ruins the message protects nobody who wants to train. The
published measure, accuracy after federated training, takes hours for each strength. Choice: what a message is for is a step that lowers
the loss, so each message is judged by the step. `loss_fall` is the fall of the victim's loss on the batch behind the message by one step
along the message as sent, divided by that along the message without defences, **each at its own best rate**: a server can tune one rate
for its protocol, so a defence that shortens messages (clipping) loses nothing, and one that points elsewhere does. 1 is an untouched
message, 0 one that does not lower the loss at any rate; a little above 1 is possible, as signs are at times the better direction.
Beside it stand `loss_fall_same_rate` (at the best rate of the undefended message, what a server that changes nothing would see; below 0
where the loss rises), `cosine` and `relative_error` of the message itself, which need no network.

Limits: one step, on the batch that the gradient is of and not on other speech; of the layers that were sent alone; at the weights of the
victim, where **noise in many directions costs little in one step** (on a small DeepSpeech 1, noise that halves the cosine leaves all of the
fall) and adds up over rounds; averages over clients, which cancel noise, only where the message is a sum. Dropout is part of the client's
training and not undone for the comparison. Rejected: the cosine alone, which is blind to curvature: random pruning to a tenth has a cosine
of 0.2 there, and leaves 0.9 of the fall.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from auscult.data.recognition_batch import RecognitionBatch
from auscult.privacy.capture import client_features
from auscult.privacy.message import Leak
from auscult.privacy.victim import Victim

UNTOUCHED = {"loss_fall": 1.0, "loss_fall_same_rate": 1.0, "cosine": 1.0, "relative_error": 0.0}
"""Of a message that nothing was done to."""
STEPS = 24
"""Most doublings or halvings of a rate."""

Tensors = Mapping[str, Tensor]


def message_utility(victim: Victim, batches: Sequence[RecognitionBatch], plain: Leak, sent: Leak) -> dict[str, float]:
    """Return the four measures of one message by name; falls are nan where the message without defences lowers the loss at no rate.

    Args:
        victim: whose loss falls; it has no dropout here.
        batches: of the clients behind the message.
        plain: the message without defences.
        sent: the message as sent.
    """
    first, second = (_flat(one) for one in (plain, sent))
    lengths = float(first.norm()), float(second.norm())
    product = float(first @ second)
    measures = {
        "cosine": product / (lengths[0] * lengths[1]) if lengths[0] * lengths[1] > 0 else 0.0,
        "relative_error": float((second - first).norm()) / lengths[0] if lengths[0] > 0 else math.nan,
    }
    measures["cosine"] = min(1.0, max(-1.0, measures["cosine"]))
    if lengths[0] == 0:
        return {"loss_fall": math.nan, "loss_fall_same_rate": math.nan, **measures}
    loss = _losses(victim, batches)
    start = loss({})
    sign = 1.0 if plain.kind == "delta" else -1.0

    def fall(tensors: Tensors, rate: float) -> float:
        moved = {name: victim.parameters[name].detach() + sign * rate * value for name, value in tensors.items()}
        after = loss(moved)
        return start - after if math.isfinite(after) else -math.inf

    # the first guess is the step after which a linear loss would vanish, of the same length for both messages
    rate, best = best_rate(lambda one: fall(plain.tensors, one), start / lengths[0] ** 2)
    if best <= 0:
        return {"loss_fall": math.nan, "loss_fall_same_rate": math.nan, **measures}
    own = best_rate(lambda one: fall(sent.tensors, one), start / (lengths[0] * lengths[1]))[1] if lengths[1] > 0 else 0.0
    return {"loss_fall": own / best, "loss_fall_same_rate": fall(sent.tensors, rate) / best, **measures}


def best_rate(fall: Callable[[float], float], guess: float) -> tuple[float, float]:
    """Return the rate of the largest fall that doubling and halving from a guess leads to, and the fall; 0 and 0 if none is above 0.

    >>> best_rate(lambda rate: rate - rate * rate, 8.0)
    (0.5, 0.25)
    """
    rate, value = guess, fall(guess)
    factor = 2.0 if fall(2.0 * guess) > value else 0.5
    for _ in range(STEPS):
        following = fall(rate * factor)
        if following <= value and (value > 0 or factor > 1):
            break
        rate, value = rate * factor, following
    for nearer in (rate * math.sqrt(2.0), rate / math.sqrt(2.0)):
        at = fall(nearer)
        rate, value = (nearer, at) if at > value else (rate, value)
    return (rate, value) if value > 0 else (0.0, 0.0)


def _flat(leak: Leak) -> Tensor:
    return torch.cat([value.double().reshape(-1) for _, value in sorted(leak.tensors.items())])


def _losses(victim: Victim, batches: Sequence[RecognitionBatch]) -> Callable[[Tensors], float]:
    """Return the mean of the clients' losses as a function of changed parameters."""
    inputs = [(*client_features(victim, batch), batch.tokens, batch.token_lengths) for batch in batches]

    def loss(parameters: Tensors) -> float:
        with torch.no_grad():
            return sum(float(victim.loss(*one, parameters=parameters)) for one in inputs) / len(inputs)

    return loss
