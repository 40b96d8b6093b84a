"""CTC that can be differentiated twice, at the price of differentiating it once: a drop-in for `torch.nn.functional.ctc_loss`.

Problem: the native function has no second derivative (pytorch #70108), so gradient matching, meta-learning and curvature ran on
Python loops that cost ten to a hundred times as much, ignored input lengths, or gave NaN. Choice: the exact first two orders in
closed form (below), the same work per frame and state at every order, float64 inside, fast kernels whose every result is
certified (`auscult.ops.ctc_certified`) with the log domain behind them. Rejected: central differences of the native gradient (seven
digits, twice the work), the full Hessian (quadratic memory), a compiled extension (a compiler at installation).

The log-likelihood is the log of a sum over paths of exp(sum of scores along the path), so its derivatives are moments of paths: with
gamma[t, c] the posterior probability of class c at frame t and v a cotangent,

    d loss / d x[t, c] = -gamma[t, c]            ((Hessian of the loss) v)[t, c] = -cov(path is in c at t, sum of v along the path)

Notation: T frames of an utterance, L symbols of its target, r adjacent equal pairs. A path exists if and only if T >= L + r.
Source: Graves et al. 2006, "Connectionist temporal classification"; the second order is the covariance of an exponential family.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auscult.errors import MissingExtra, UserError, did_you_mean
from auscult.ops.ctc_certified import Alignment, Fast, certified
from auscult.ops.ctc_problem import CtcProblem, Lengths, read_problem
from auscult.ops.ctc_reference import reference_losses

BACKENDS = {"numba": "cpu", "triton": "cuda", "frames": None, "reference": None}
"""Best first, with the kind of device each needs. "reference" is plain autograd: slow, and differentiable any number of times."""


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Lengths,
    target_lengths: Lengths,
    blank: int = 0,
    reduction: Literal["none", "mean", "sum"] = "mean",
    zero_infinity: bool = False,
    *,
    backend: str | None = None,
) -> Tensor:
    """Return the CTC loss, with exact derivatives of the first and the second order.

    The gradient is -gamma: that of the function of any scores, which passes `gradcheck`. The native function returns exp(x) - gamma, which
    is right only below `log_softmax`; through `log_softmax` both give the same gradient of the logits.

    Args:
        log_probs: (frames, batch, classes) or (frames, classes), usually from `log_softmax`. float32 or float64, computed in float64; half
            precision is taken to float32. Frames beyond an utterance are never read, and their derivatives are 0.
        targets: (batch, symbols), or all targets end to end, any integer type; nothing beyond a target is read.
        input_lengths: (batch,), a tensor or integers.
        target_lengths: (batch,), a tensor or integers; a target may be empty.
        blank: index of the blank.
        reduction: "none"; "sum"; "mean": each loss divided by max(L, 1), then the mean over the batch.
        zero_infinity: what an utterance without a path contributes. True: loss 0 and derivatives 0, of both orders, and it still counts in
            the mean. False: loss infinite and derivatives NaN at its frames. Other utterances are not touched either way.
        backend: one of `BACKENDS`; None takes the first of `available_backends`.

    Returns:
        (), or (batch,) for "none" with a batch, in the dtype of `log_probs`.

    Raises:
        UserError: a shape, length, target or backend is not what it has to be. A target may not contain the blank.
        RuntimeError: on a request for third-order derivatives, which only backend="reference" has.

    >>> x = torch.zeros(2, 1, 3, dtype=torch.float64, requires_grad=True)
    >>> loss = ctc_loss(x, torch.tensor([[1]]), [2], [1])
    >>> (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
    >>> (second,) = torch.autograd.grad(gradient[0, 0, 1], x)
    >>> loss.item(), gradient[0, 0].tolist(), second[0, 0].tolist()  # doctest: +ELLIPSIS
    (-1.0986..., [-0.333..., -0.666..., 0.0], [0.222..., -0.222..., 0.0])
    """
    if reduction not in ("none", "mean", "sum"):
        raise UserError(f'reduction of the CTC loss is "{reduction}"; expected none, mean or sum')
    x = _scores(log_probs)
    name = backend or ("reference" if _wants_plain_operations() else available_backends(x.device.type)[0])
    problem = _problem(name, x, targets, input_lengths, target_lengths, blank)
    weights = _weights(problem, reduction)
    if name == "reference":
        losses = reference_losses(x, problem)
        losses = torch.where(losses == torch.inf, 0.0, losses) if zero_infinity else losses
        result = losses if reduction == "none" else (losses * torch.from_numpy(weights).to(x.device)).sum().to(x.dtype)
    else:
        plan = _Plan(problem, _fast(name, x.device.type), weights, reduction != "none", zero_infinity)
        result = _Loss.apply(x, plan)  # type: ignore[no-untyped-call]
    return result[0] if reduction == "none" and log_probs.dim() == 2 else result


@cache
def available_backends(device: str) -> tuple[str, ...]:
    """Return the backends that run here on a kind of device ("cpu", "cuda", ...), best first; "frames" and "reference" always do.

    >>> available_backends("cpu")[-2:]
    ('frames', 'reference')
    """
    return tuple(name for name, needs in BACKENDS.items() if needs in (None, device) and (needs is None or _importable(name)))


def _importable(package: str) -> bool:
    """Return whether a package is there and works."""
    try:
        importlib.import_module(package)
    except ImportError:
        return False
    return True


@cache
def _fast(name: str, device: str) -> Fast:
    if name not in BACKENDS:
        raise UserError(f'backend of the CTC loss is "{name}"; use one of {", ".join(BACKENDS)}{did_you_mean(name, BACKENDS)}')
    if BACKENDS[name] not in (None, device):
        raise UserError(f'backend "{name}" of the CTC loss does not run on "{device}"; use one of {", ".join(available_backends(device))}')
    if name == "numba" and not _importable(name):
        raise MissingExtra("speed", 'backend "numba" of the CTC loss')
    if name == "triton" and not _importable(name):
        raise UserError('backend "triton" of the CTC loss needs the package triton: pip install triton')
    found: Fast = _module(name).align
    return found


@cache
def _module(name: str) -> Any:
    return importlib.import_module(f"auscult.ops.ctc_{name}")


def _wants_plain_operations() -> bool:
    """Whether somebody exports or transforms the function, and so needs operations it knows."""
    return torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export() or torch._C._are_functorch_transforms_active()


def _scores(log_probs: Tensor) -> Tensor:
    """Return (frames, batch, classes), float32 or float64."""
    if log_probs.dim() not in (2, 3) or not log_probs.is_floating_point() or not log_probs.numel():
        raise UserError(
            f"log_probs of the CTC loss are {log_probs.dtype} {tuple(log_probs.shape)}; expected floats (frames, batch, classes), not empty"
        )
    x = log_probs if log_probs.dim() == 3 else log_probs.unsqueeze(1)
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def _problem(name: str, x: Tensor, targets: Tensor, input_lengths: Lengths, target_lengths: Lengths, blank: int) -> CtcProblem:
    if name == "numba" and targets.device == x.device:
        _fast(name, x.device.type)
        common: CtcProblem | None = _module(name).read_common(x.shape, targets, input_lengths, target_lengths, blank)
        if common is not None:
            return common
    return read_problem(x.shape, targets, input_lengths, target_lengths, blank)


def _weights(problem: CtcProblem, reduction: str) -> NDArray[np.float64]:
    """Return the factor of each utterance, (batch,)."""
    batch = len(problem.symbols)
    if reduction != "mean":
        return np.ones(batch)
    return np.array([1.0 / (batch * max(symbols, 1)) for symbols in problem.symbols.tolist()])


class _Plan(NamedTuple):
    """What the losses of a batch become; `total`: their weighted sum."""

    problem: CtcProblem
    fast: Fast
    weights: NDArray[np.float64]
    total: bool
    zero_infinity: bool


class _Aligned(NamedTuple):
    """What both orders need."""

    alignment: Alignment
    plan: _Plan

    def reduced(self, values: Tensor, factors: NDArray[np.float64], dtype: torch.dtype) -> Tensor:
        """(batch,) float64 -> the caller's reduction."""
        if not self.plan.total:
            return values.to(dtype)
        if values.device.type == "cpu":  # a call of torch costs as much as a hundred utterances here
            return torch.tensor(np.dot(values.numpy(), factors), dtype=dtype)
        return torch.dot(values, torch.from_numpy(factors).to(values.device)).to(dtype)

    def scaled(self, found: Tensor, gradient: Tensor) -> Tensor:
        """Return derivatives (frames, batch, classes) times the gradient of the result.

        Utterances without a path get the value the caller asked for, by selection: 0 * NaN is no zero.
        """
        found = found * (gradient if self.plan.total else gradient[:, None])
        infinite = self.alignment.infinite
        if infinite is None:
            return found
        found = found.masked_fill(infinite[:, None], 0.0)
        if self.plan.zero_infinity:
            return found
        inside = torch.arange(len(found))[:, None] < torch.from_numpy(self.plan.problem.frames)
        return found.masked_fill((inside.to(found.device) & infinite)[..., None], torch.nan)


class _Loss(torch.autograd.Function):
    """Scores -> losses or their weighted sum. Both sweeps run here: the second certifies the first, and the derivatives need it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, plan: _Plan) -> Tensor:
        """Return (batch,) or ()."""
        alignment = certified(x.detach(), plan.problem, plan.weights, ctx.needs_input_grad[0], plan.fast)
        losses = alignment.losses
        if alignment.infinite is not None and plan.zero_infinity:
            losses = losses.masked_fill(alignment.infinite, 0.0)
        ctx.save_for_backward(x)
        ctx.aligned = aligned = _Aligned(alignment, plan)
        return aligned.reduced(losses, plan.weights, x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the scores."""
        (x,) = ctx.saved_tensors
        return _Gradient.apply(gradients[0], x, ctx.aligned), None  # type: ignore[no-untyped-call]


class _Gradient(torch.autograd.Function):
    """Gradient of the result, and scores -> gradient of the scores."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, x: Tensor, aligned: _Aligned) -> Tensor:
        """Return (frames, batch, classes)."""
        ctx.save_for_backward(gradient, x)
        ctx.aligned = aligned
        return aligned.scaled(aligned.alignment.gradient, gradient)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, Tensor, None]:
        """Return the derivative by the gradient of the result, and (Hessian of the result) cotangent."""
        gradient, x = ctx.saved_tensors
        aligned: _Aligned = ctx.aligned
        alignment, plan = aligned.alignment, aligned.plan
        means, product = alignment.curvature(cotangents[0].detach())
        product, by_gradient = aligned.scaled(product, gradient.detach()), None
        if ctx.needs_input_grad[0]:
            if alignment.infinite is not None:
                means = means.masked_fill(alignment.infinite, 0.0 if plan.zero_infinity else torch.nan)
            by_gradient = aligned.reduced(means, np.ones(len(plan.weights)), gradient.dtype)
        if torch.is_grad_enabled():
            product = _ThirdOrder.apply(product, gradient, x, *cotangents)  # type: ignore[no-untyped-call]
            by_gradient = None if by_gradient is None else _ThirdOrder.apply(by_gradient, gradient, x, *cotangents)  # type: ignore[no-untyped-call]
        return by_gradient, product, None


class _ThirdOrder(torch.autograd.Function):
    """Passes second-order derivatives on, and says so when somebody differentiates them."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, *parents: Tensor) -> Tensor:
        """Return the values."""
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        """Refuse."""
        raise RuntimeError('this CTC loss has derivatives of the first and second order; for a third call it with backend="reference"')
