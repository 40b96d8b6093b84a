"""The gradient of every item of a batch from one backward pass, for models made of layers that are known to have one.

Problem: Opacus wraps a model, refuses recurrent layers and writes every gradient down. Choice: hooks for the time of one forward pass,
which leave a model as it was; matrices keep factors (`ops/item_gradients.py`), the recurrent layer and the group norm of this package keep
theirs themselves (they are told through an attribute `item_gradients`), convolutions run their own backward pass item by item, and every
other layer goes through Opacus' table of samplers. A layer in none of these is refused by name, because a parameter that is left out would
be trained without noise. Weights take no part in autograd meanwhile, so nothing is computed twice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from auscult.errors import UserError
from auscult.ops.item_gradients import ItemGradients

Sampler = Callable[[nn.Module, Tensor, Tensor, ItemGradients], None]
"""Layer, values that entered it, gradients that arrive at its output (both items first) -> entries in an `ItemGradients`."""

_NORMS = "it normalises over the batch, so no utterance has a gradient of its own"
_ADVICE = {
    "MaskedBatchNorm": f"{_NORMS}; set model.norm: group",
    "BatchNorm1d": _NORMS, "BatchNorm2d": _NORMS,
    "LSTM": "gradients per utterance exist for model.cell: gru alone", "RNN": "gradients per utterance exist for model.cell: gru alone",
    "GRU": "gradients per utterance exist for auscult.ops.gru.BidirectionalGru alone",
}  # fmt: skip
INSTALL = 'differential_privacy needs Opacus; run pip install "auscult[privacy]"'


@contextlib.contextmanager
def recording(model: nn.Module) -> Iterator[ItemGradients]:
    """Record a forward pass inside the block, so that a backward pass after it (of a sum of losses of items) fills what is returned.

    Args:
        model: every layer of it must be known; see `unsupported`.
    """
    gradients = ItemGradients()
    frames_first = getattr(model, "FRAMES_FIRST", ())
    own, hooked, handles = [], [], []
    for name, module in _layers(model):
        if hasattr(module, "item_gradients"):
            own.append(module)
        else:
            hooked += _trainable(module)
            handles.append(module.register_forward_hook(_hook(sampler_of(module), gradients, name in frames_first)))
    try:
        for module in own:
            module.item_gradients = gradients  # type: ignore[assignment]
        for parameter in hooked:
            parameter.requires_grad_(False)
        yield gradients
    finally:
        for handle in handles:
            handle.remove()
        for parameter in hooked:
            parameter.requires_grad_(True)
        for module in own:
            module.item_gradients = None  # type: ignore[assignment]


def unsupported(model: nn.Module) -> str | None:
    """Return a sentence about the first layer whose gradients cannot be told apart by item; None if there is none."""
    for name, module in _layers(model):
        if getattr(module, "running_mean", None) is not None or (sampler_of(module) is None and not hasattr(module, "item_gradients")):
            kind = type(module).__name__
            return f"model: layer {name} ({kind}) cannot be trained with differential_privacy: {_ADVICE.get(kind, 'it is not known how')}"
    return None


def sampler_of(module: nn.Module) -> Sampler | None:
    """Return what computes the gradients of a layer's items, or None."""
    kind = type(module)
    if kind is nn.Linear:
        return _linear
    if kind in (nn.Conv1d, nn.Conv2d):
        return _convolution
    listed = _opacus_samplers().get(kind)
    return None if listed is None else _listed(listed)


def _layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the modules that hold trainable parameters themselves, by name."""
    return [(name, module) for name, module in model.named_modules() if _trainable(module)]


def _trainable(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters(recurse=False) if parameter.requires_grad]


def _hook(sampler: Sampler | None, gradients: ItemGradients, frames_first: bool) -> Callable[..., None]:
    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        assert sampler is not None  # `unsupported` was asked before
        values: Tensor = inputs[0].detach()
        if not output.requires_grad:  # nothing before it has weights in autograd
            output.requires_grad_()

        def arrived(gradient: Tensor) -> None:
            entered, came = (one.transpose(0, 1) if frames_first else one for one in (values, gradient))
            sampler(module, entered, came, gradients)

        output.register_hook(arrived)  # type: ignore[no-untyped-call]

    return hook


def _linear(module: Any, values: Tensor, arriving: Tensor, gradients: ItemGradients) -> None:
    left, right = arriving.flatten(1, -2) if arriving.dim() > 2 else arriving.unsqueeze(1), values
    gradients.outer(module.weight, left, right.reshape(*left.shape[:2], -1))
    if module.bias is not None:
        gradients.whole(module.bias, left.sum(1))


def _convolution(module: Any, values: Tensor, arriving: Tensor, gradients: ItemGradients) -> None:
    """Run torch's own backward pass for each item: as fast as for all at once, and without the unfolded copy of the input."""
    if isinstance(module.padding, str) or module.padding_mode != "zeros":
        raise UserError(f"{module}: differential_privacy knows convolutions with zeros and a number of them as padding alone")
    dimensions, bias = len(module.kernel_size), module.bias
    wanted = [False, True, bias is not None]
    each = [
        torch.ops.aten.convolution_backward(
            gradient[None], one[None], module.weight.detach(), [len(gradient)] if bias is not None else None, module.stride, module.padding,
            module.dilation, False, [0] * dimensions, module.groups, wanted,
        )
        for one, gradient in zip(values, arriving, strict=True)
    ]  # fmt: skip
    gradients.whole(module.weight, torch.stack([one[1] for one in each]))
    if bias is not None:
        gradients.whole(bias, torch.stack([one[2] for one in each]))


def _listed(sampler: Callable[..., dict[nn.Parameter, Tensor]]) -> Sampler:
    def sample(module: nn.Module, values: Tensor, arriving: Tensor, gradients: ItemGradients) -> None:
        for parameter, found in sampler(module, [values], arriving).items():
            gradients.whole(parameter, found)

    return sample


@cache
def _opacus_samplers() -> dict[type, Any]:
    try:
        from opacus.grad_sample import GradSampleModule
    except ImportError as error:
        raise UserError(INSTALL) from error
    samplers: dict[type, Any] = GradSampleModule.GRAD_SAMPLERS
    return samplers
