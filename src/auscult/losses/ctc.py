"""Connectionist temporal classification: one loss function, one explicit reduction, lengths that cannot be ignored.

Problem: the usual ways to get CTC wrong are silent. Logits fed where log-probabilities are expected give plausible losses;
ignored output lengths train on padding; `zero_infinity` turns an impossible utterance into a loss of zero; a blank inside a
target is accepted; reductions differ by a factor of the target length. Choice: logits in, `log_softmax` inside, float32 outside
autocast, everything about an utterance checked before the native kernel runs, and every complaint names the utterance.
The native kernel is differentiable once; `order=2` takes `auscult.ops.ctc`, with the same values. Rejected: `zero_infinity` (it
hides the problem), and the second-order kernel for everybody (training wants what everybody else trains with). On CUDA the native
backward pass is not bit-reproducible (pytorch #17798).

Notation: T output frames, L symbols, r adjacent equal pairs of symbols, C classes. A path exists if and only if T >= L + r.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from auscult.errors import UserError
from auscult.ops.ctc import ctc_loss as twice_differentiable
from auscult.registry import register

Reduction = Literal["none", "sum", "batch_mean", "target_mean", "frame_mean"]
"""none: (batch,) nats; sum; batch_mean: sum / batch; target_mean: mean of loss / max(L, 1); frame_mean: mean of loss / T."""

Order = Literal[1, 2]

_NAMED = 3  # offenders listed in a message


class FrameOutput(Protocol):
    """What a recognition model returns: logits that travel with their lengths."""

    @property
    def logits(self) -> Tensor:
        """Tensor (batch, frames, classes)."""

    @property
    def lengths(self) -> Tensor:
        """Valid frames of each utterance, (batch,) int64."""


def ctc_loss(
    logits: Tensor,
    logit_lengths: Tensor,
    tokens: Tensor,
    token_lengths: Tensor,
    *,
    blank: int,
    reduction: Reduction = "target_mean",
    ids: Sequence[str] | None = None,
    allow_empty: bool = False,
    order: Order = 1,
) -> Tensor:
    """Return the negative log-probability of the targets, in nats, never negative.

    Args:
        logits: (batch, frames, classes), any float type; float64 stays, everything else is computed in float32.
        logit_lengths: (batch,) valid *output* frames, any integer type; frames beyond them have no influence.
        tokens: (batch, symbols) any integer type, padding beyond `token_lengths` may hold anything;
            or all targets end to end, (sum of token lengths,).
        token_lengths: (batch,) symbols of each target.
        blank: index of the blank class.
        reduction: see `Reduction`.
        ids: utterance ids for messages; positions in the batch if left out.
        allow_empty: accept targets without symbols (their loss is that of an all-blank output).
        order: how often the loss can be differentiated. 1: the native kernel; 2: exact second derivatives (`auscult.ops.ctc`).

    Returns:
        () or, for "none", (batch,); float32, or float64 for float64 logits.

    Raises:
        UserError: shapes disagree, a length or token is out of range, a target holds the blank or nothing, or no path exists.

    >>> logits = torch.zeros(1, 2, 3)
    >>> round(float(ctc_loss(logits, torch.tensor([2]), torch.tensor([[0]]), torch.tensor([1]), blank=2, reduction="sum")), 4)
    1.0986
    """
    if reduction not in get_args(Reduction):
        raise UserError(f'CTC reduction "{reduction}": expected one of {", ".join(get_args(Reduction))}')
    if order not in get_args(Order):
        raise UserError(f"CTC order {order}: expected 1, or 2 for second derivatives")
    rows, frames, symbols = _checked(logits, logit_lengths, tokens, token_lengths, blank, ids, allow_empty)
    return _reduced(_losses(logits, frames, rows, symbols, blank, order), frames, symbols, reduction)


def required_frames(tokens: Tensor, token_lengths: Tensor) -> Tensor:
    """Return the fewest output frames that can hold each target: L + adjacent repeats, (batch,) int64.

    >>> required_frames(torch.tensor([[1, 1, 2], [1, 2, -1]]), torch.tensor([3, 2])).tolist()
    [4, 2]
    """
    lengths = token_lengths.to(torch.int64)
    rows = _rows(tokens, lengths)
    pairs = torch.arange(1, max(rows.shape[1], 1), device=rows.device)[None, :] < lengths.to(rows.device)[:, None]
    repeats = ((rows[:, 1:] == rows[:, :-1]) & pairs).sum(dim=1)
    return lengths + repeats.to(lengths.device)


def uniform_loss(frames: int, symbols: int, repeats: int, classes: int) -> float:
    """Return the loss, in nats, of a target under uniform outputs: T ln C - ln binomial(T + L - r, 2L); infinite where no path exists.

    It is the oracle of the tests and the baseline an untrained model should show.

    >>> round(uniform_loss(10, 3, 1, 5), 7)
    9.2656671
    """
    if frames < symbols + repeats:
        return math.inf
    top, chosen = frames + symbols - repeats, 2 * symbols
    paths = math.lgamma(top + 1) - math.lgamma(chosen + 1) - math.lgamma(top - chosen + 1)
    return frames * math.log(classes) - paths


def occupancy(
    logits: Tensor,
    logit_lengths: Tensor,
    tokens: Tensor,
    token_lengths: Tensor,
    *,
    blank: int,
    ids: Sequence[str] | None = None,
) -> Tensor:
    """Return gamma: the posterior probability of each class at each frame over all alignments of the target; no gradient.

    Every valid frame sums to 1, frames beyond the length are 0. Computed as p - d loss / d logits from one native backward pass
    through `log_softmax`, in float64: composed that way it holds whether the kernel's own convention is -gamma or p - gamma
    (pytorch #82545). The mean of |p - gamma| is the share of the output that training still wants to move.

    Args, errors: as `ctc_loss`; empty targets are allowed.

    Returns:
        (batch, frames, classes), float32, or float64 for float64 logits.
    """
    rows, frames, symbols = _checked(logits, logit_lengths, tokens, token_lengths, blank, ids, allow_empty=True)
    with torch.enable_grad():
        leaf = logits.detach().double().requires_grad_()
        (gradient,) = torch.autograd.grad(_losses(leaf, frames, rows, symbols, blank, 1).sum(), leaf)
    valid = torch.arange(logits.shape[1], device=logits.device)[None, :] < frames.to(logits.device)[:, None]
    gamma = (torch.softmax(leaf.detach(), dim=-1) - gradient).clamp(min=0.0, max=1.0) * valid[..., None]
    return gamma if logits.dtype == torch.float64 else gamma.float()


@register("loss", "ctc")
class CtcLoss(nn.Module):
    """CTC over a model's frame logits.

    Args:
        reduction: see `Reduction`; part of the identity of a run, because gradients of different
            reductions differ by L, T or the batch size.
        allow_empty: the data declare utterances without text, so targets without symbols are accepted.
        order: how often the loss can be differentiated; 2 is for audits that differentiate a gradient.
    """

    def __init__(self, reduction: Reduction = "target_mean", allow_empty: bool = False, order: Order = 1) -> None:
        super().__init__()
        if reduction not in get_args(Reduction):
            raise UserError(f'loss.reduction "{reduction}": expected one of {", ".join(get_args(Reduction))}')
        self.reduction: Reduction = reduction
        self.allow_empty = allow_empty
        if order not in get_args(Order):
            raise UserError(f"loss.order {order}: expected 1, or 2 for second derivatives")
        self.order: Order = order

    def forward(self, output: FrameOutput, tokens: Tensor, token_lengths: Tensor, blank: int, ids: Sequence[str] | None = None) -> Tensor:
        """Return the loss of a batch; arguments and errors as `ctc_loss`."""
        return ctc_loss(
            output.logits,
            output.lengths,
            tokens,
            token_lengths,
            blank=blank,
            reduction=self.reduction,
            ids=ids,
            allow_empty=self.allow_empty,
            order=self.order,
        )

    def extra_repr(self) -> str:
        """Show the keys that determine the value."""
        return f"reduction={self.reduction}, allow_empty={self.allow_empty}, order={self.order}"


def _losses(logits: Tensor, frames: Tensor, rows: Tensor, symbols: Tensor, blank: int, order: Order) -> Tensor:
    with torch.autocast(device_type=logits.device.type, enabled=False):
        wide = logits if logits.dtype == torch.float64 else logits.float()
        log_probabilities = torch.log_softmax(wide, dim=-1).transpose(0, 1)
        if order == 2:
            losses = twice_differentiable(log_probabilities, rows, frames, symbols, blank, "none")
        else:
            losses = functional.ctc_loss(log_probabilities, rows.to(logits.device), frames, symbols, blank=blank, reduction="none")
    # rounding can leave a certain utterance at -1e-7: the value becomes 0, the gradient stays
    return torch.where(losses < 0, losses - losses.detach(), losses)


def _reduced(losses: Tensor, frames: Tensor, symbols: Tensor, reduction: Reduction) -> Tensor:
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    if reduction == "target_mean":
        losses = losses / symbols.to(losses.device).clamp(min=1)
    elif reduction == "frame_mean":
        losses = losses / frames.to(losses.device)
    return losses.mean()


def _checked(
    logits: Tensor, logit_lengths: Tensor, tokens: Tensor, token_lengths: Tensor, blank: int, ids: Sequence[str] | None, allow_empty: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return targets (batch, symbols), frames and symbols (batch,), all int64, on the CPU, with padding replaced by a class."""
    _check_shapes(logits, logit_lengths, tokens, token_lengths, blank, ids)
    frames, symbols = logit_lengths.detach().to("cpu", torch.int64), token_lengths.detach().to("cpu", torch.int64)
    _refuse(symbols < 0, ids, lambda i: f"has a token length of {int(symbols[i])}; expected 0 or more")
    rows = _rows(tokens.detach().cpu(), symbols)
    _refuse(
        (frames < 1) | (frames > logits.shape[1]),
        ids,
        lambda i: f"has {int(frames[i])} output frames; expected 1 to {logits.shape[1]}, the frames of its logits",
    )
    if not allow_empty:
        _refuse(symbols == 0, ids, lambda i: "has no symbols; drop it, or set allow_empty if the data declare utterances without text")
    _refuse(symbols > rows.shape[1], ids, lambda i: f"has token length {int(symbols[i])} but only {rows.shape[1]} tokens")
    inside = torch.arange(rows.shape[1])[None, :] < symbols[:, None]
    _refuse(
        ((rows == blank) & inside).any(1), ids, lambda i: f"holds the blank (class {blank}) inside its target; blanks are never written"
    )
    _refuse(
        (((rows < 0) | (rows >= logits.shape[2])) & inside).any(1),
        ids,
        lambda i: f"holds a token outside the model's classes 0 to {logits.shape[2] - 1}",
    )
    needed = required_frames(rows, symbols)
    _refuse(frames < needed, ids, lambda i: _infeasible(int(frames[i]), int(symbols[i]), int(needed[i])))
    return rows.masked_fill(~inside, 0), frames, symbols


def _infeasible(frames: int, symbols: int, needed: int) -> str:
    return (
        f"has {frames} output frames for {symbols} symbols with {needed - symbols} adjacent repeats, which need {needed}; "
        "drop it, or use a model with a smaller time stride"
    )


def _check_shapes(
    logits: Tensor, logit_lengths: Tensor, tokens: Tensor, token_lengths: Tensor, blank: int, ids: Sequence[str] | None
) -> None:
    if logits.dim() != 3 or not logits.is_floating_point():
        raise UserError(f"CTC logits: expected floats (batch, frames, classes), got {logits.dtype} {tuple(logits.shape)}")
    batch = logits.shape[0]
    for name, value, dimensions in (
        ("logit lengths", logit_lengths, (1,)),
        ("token lengths", token_lengths, (1,)),
        ("tokens", tokens, (1, 2)),
    ):
        if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool or value.dim() not in dimensions:
            raise UserError(
                f"CTC {name}: expected integers with {' or '.join(map(str, dimensions))} dimensions, got {value.dtype} {tuple(value.shape)}"
            )
        if value.dim() == dimensions[-1] and value.shape[0] != batch:
            raise UserError(f"CTC {name}: {value.shape[0]} rows for {batch} utterances in the logits")
    if not 0 <= blank < logits.shape[2]:
        raise UserError(f"CTC blank: class {blank} is outside the model's classes 0 to {logits.shape[2] - 1}")
    if ids is not None and len(ids) != batch:
        raise UserError(f"CTC ids: {len(ids)} for {batch} utterances in the logits")


def _rows(tokens: Tensor, lengths: Tensor) -> Tensor:
    """Return targets as int64 rows; targets given end to end are split by their lengths."""
    if tokens.dim() == 2:
        return tokens.to(torch.int64)
    if int(lengths.sum()) != tokens.numel():
        raise UserError(f"CTC tokens: {tokens.numel()} tokens end to end, but the token lengths add up to {int(lengths.sum())}")
    return nn.utils.rnn.pad_sequence(list(torch.split(tokens.to(torch.int64), lengths.tolist())), batch_first=True, padding_value=-1)


class _Reason(Protocol):
    def __call__(self, index: int, /) -> str: ...


def _refuse(offends: Tensor, ids: Sequence[str] | None, reason: _Reason) -> None:
    offenders = [int(index) for index in offends.nonzero()[:, 0]]
    if not offenders:
        return
    names = [f'"{ids[index]}"' if ids is not None else f"{index} of the batch" for index in offenders]
    others = f" (also {', '.join(names[1:_NAMED])}{', ...' if len(names) > _NAMED else ''}: {len(names)} in all)" if len(names) > 1 else ""
    raise UserError(f"utterance {names[0]} {reason(offenders[0])}{others}")
