"""Conformance of CTC-like losses: what any replacement of `auscult.losses.ctc.ctc_loss` must do, runnable on your own.

Problem: a faster or twice-differentiable CTC is easily right on the one example of its author and wrong on padding, repeats or half
precision. Choice: oracles that share no code with any implementation (enumeration of every class sequence, and the closed form for uniform
outputs), and one function that runs all checks and reports every failure at once.
"""

from __future__ import annotations

import itertools
import math
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auscult.errors import UserError

UNIFORM = (
    (10, 5, (1, 1, 2), 9.2656671),
    (6, 4, (1, 2, 2, 3), 6.1205416),
    (7, 3, (1, 1, 1), 4.3580815),
    (3, 3, (1, 1), 3.2958369),
    (4, 3, (1, 2), 1.6863990),
    (5, 29, (), 16.8364791),
)
"""Frames, classes, target (blank 0) and loss in nats under uniform outputs."""

_TARGETS = ((1, 2, 2), (), (1,))
_LENGTHS = (7, 3, 5)


class CtcFunction(Protocol):
    """Keyword-only view of the signature of `ctc_loss`; with "none" it returns (batch,) losses in nats."""

    def __call__(
        self,
        *,
        logits: Tensor,
        logit_lengths: Tensor,
        tokens: Tensor,
        token_lengths: Tensor,
        blank: int,
        reduction: str,
        ids: list[str],
        allow_empty: bool,
    ) -> Tensor:
        """Return the losses."""


def enumerate_texts(probabilities: NDArray[np.floating], blank: int) -> dict[tuple[int, ...], float]:
    """Return the probability of every token sequence, by enumeration of all classes ** frames alignments (keep it under 1,000,000).

    Args:
        probabilities: (frames, classes), rows sum to 1.
        blank: index of the blank.

    >>> enumerate_texts(np.array([[0.6, 0.4], [0.6, 0.4]]), blank=0)[(1,)]
    0.64
    """
    frames, classes = probabilities.shape
    texts: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(classes), repeat=frames):
        text = tuple(token for token, _ in itertools.groupby(path) if token != blank)
        texts[text] = texts.get(text, 0.0) + math.prod(float(probabilities[frame, token]) for frame, token in enumerate(path))
    return texts


def check_loss(loss: CtcFunction) -> None:
    """Run every check on a CTC loss function.

    Args:
        loss: called with the keywords of `ctc_loss` and reduction "none".

    Raises:
        AssertionError: names every check that failed, with its reason.
    """
    failures = []
    for check in (_uniform, _enumeration, _lengths, _padding_of_tokens, _integers, _half_precision, _certain, _gradient, _infeasible):
        try:
            check(loss)
        except AssertionError as error:
            failures.append(f"{check.__name__.strip('_')}: {str(error).strip().splitlines()[0]}")
    if failures:
        raise AssertionError(f"{len(failures)} checks of the loss failed; " + "; ".join(failures))


def _call(
    loss: CtcFunction, logits: Tensor, lengths: Tensor, targets: tuple[tuple[int, ...], ...], blank: int = 0, pad: int = -1
) -> Tensor:
    width = max(1, *(len(target) for target in targets)) if len(targets) > 1 else max(1, len(targets[0]))
    tokens = torch.tensor([[*target, *[pad] * (width - len(target))] for target in targets], dtype=torch.int64)
    sizes = torch.tensor([len(target) for target in targets])
    ids = [f"utterance-{index}" for index in range(len(targets))]
    return loss(
        logits=logits, logit_lengths=lengths, tokens=tokens, token_lengths=sizes, blank=blank, reduction="none", ids=ids, allow_empty=True
    )


def _batch(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Logits (3, 7, 3) and lengths for `_TARGETS`: padding, repeats and an empty target at once."""
    values = torch.randn(3, 7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return values.to(dtype), torch.tensor(_LENGTHS)


def _uniform(loss: CtcFunction) -> None:
    for frames, classes, target, expected in UNIFORM:
        value = float(_call(loss, torch.zeros(1, frames, classes, dtype=torch.float64), torch.tensor([frames]), (target,)))
        assert abs(value - expected) < 1e-6, f"{frames} uniform frames, {classes} classes, target {target}: {value}, expected {expected}"


def _enumeration(loss: CtcFunction) -> None:
    for frames, classes in ((1, 2), (4, 2), (5, 3), (6, 3)):
        logits = torch.randn(frames, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(frames))
        for target, probability in enumerate_texts(logits.softmax(-1).numpy(), blank=0).items():
            value = math.exp(-float(_call(loss, logits[None], torch.tensor([frames]), (target,))))
            assert abs(value - probability) < 1e-12, f"{frames} frames, target {target}: probability {value}, by enumeration {probability}"


def _lengths(loss: CtcFunction) -> None:
    logits, lengths = _batch()
    values = _call(loss, logits, lengths, _TARGETS)
    for index, target in enumerate(_TARGETS):
        alone = _call(loss, logits[index : index + 1, : _LENGTHS[index]], lengths[index : index + 1], (target,))
        difference = abs(float(values[index]) - float(alone))
        assert difference < 1e-12, f"{_LENGTHS[index]} of 7 frames are valid, yet the others change the loss by {difference:.3g}"
    leaf = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(_call(loss, leaf, lengths, _TARGETS).sum(), leaf)
    assert float(gradient[1, _LENGTHS[1] :].abs().max()) == 0.0, "frames beyond the length receive a gradient"


def _padding_of_tokens(loss: CtcFunction) -> None:
    logits, lengths = _batch()
    values = [_call(loss, logits, lengths, _TARGETS, pad=pad) for pad in (-1, 0, 2, 99)]
    assert all(torch.equal(values[0], other) for other in values[1:]), "the filling beyond a target's length changes the loss"


def _integers(loss: CtcFunction) -> None:
    logits, lengths = _batch()
    tokens, sizes = torch.tensor([[1, 2, 2], [0, 0, 0], [1, 0, 0]]), torch.tensor([3, 0, 1])
    expected = _call(loss, logits, lengths, _TARGETS)
    for dtype in (torch.int64, torch.int32, torch.int16, torch.uint8):
        value = loss(
            logits=logits, logit_lengths=lengths.to(dtype), tokens=tokens.to(dtype), token_lengths=sizes.to(dtype),
            blank=0, reduction="none", ids=["a", "b", "c"], allow_empty=True,
        )  # fmt: skip
        assert torch.equal(value, expected), f"{dtype} targets and lengths give another loss than int64"


def _half_precision(loss: CtcFunction) -> None:
    for dtype in (torch.bfloat16, torch.float16):
        logits, lengths = _batch(dtype)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = _call(loss, logits, lengths, _TARGETS)
        assert value.dtype == torch.float32, f"{dtype} logits give a {value.dtype} loss, expected float32"
        assert torch.equal(value, _call(loss, logits.float(), lengths, _TARGETS)), f"{dtype} logits are not computed in float32"


def _certain(loss: CtcFunction) -> None:
    sure = torch.full((1, 400, 3), -50.0)
    sure[0, ::2, 1] = 50.0
    sure[0, 1::2, 0] = 50.0
    value = float(_call(loss, sure, torch.tensor([400]), ((1,) * 200,)))
    assert 0.0 <= value < 1e-3, f"a certain output has loss {value}, expected 0 and never less"


def _gradient(loss: CtcFunction) -> None:
    logits, lengths = _batch()
    leaf = logits.requires_grad_()
    agrees = torch.autograd.gradcheck(lambda values: _call(loss, values, lengths, _TARGETS), (leaf,), raise_exception=False)
    assert agrees, "the gradient differs from central differences (float64, with padding, repeats and an empty target)"


def _infeasible(loss: CtcFunction) -> None:
    refusal = ""
    try:
        _call(loss, torch.zeros(2, 3, 3), torch.tensor([3, 3]), ((1,), (1, 1, 2)))
    except UserError as error:
        refusal = str(error)
    assert "utterance-1" in refusal, (
        f"3 frames cannot hold (1, 1, 2); expected a UserError that names utterance-1, got {refusal or 'a value'}"
    )
