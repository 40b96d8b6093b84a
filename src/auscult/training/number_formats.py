"""In which number format each part of a model really works, which formats a model survives, and where the first bad number came from.

Problem: a published separator trained for weeks in float16, in which its recurrence overflows, while its log said bfloat16: the class
name that was to choose the format no longer matched once `torch.compile` had wrapped the model, and nothing said which format was used.
Choice: the formats a model survives are an attribute of its *registered class*, asked before anything is built, and a recipe with another
one is refused; what the parts of the model put out in the first update is recorded as an event; and where a loss is not finite, the first
module whose output is not is named with its format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from auscult.errors import UserError
from auscult.recipe import Recipe
from auscult.registry import lookup

DEPTH = 2
"""Levels of the module tree whose formats are recorded."""


def check_number_format(recipe: Recipe) -> None:
    """Refuse a number format that the recipe's model was shown not to survive.

    Raises:
        UserError: says which formats are possible, and why not this one.
    """
    survives: tuple[str, ...] | None = getattr(lookup("model", recipe.model.name), "number_formats", None)
    if survives is None or recipe.precision.compute in survives:
        return
    note = getattr(lookup("model", recipe.model.name), "number_format_note", "")
    raise UserError(
        f"precision.compute: {recipe.model.name} does not work in {recipe.precision.compute}{f' ({note})' if note else ''}; "
        f"use {' or '.join(survives)}"
    )


@contextmanager
def watching(model: nn.Module) -> Iterator[dict[str, str]]:
    """Yield a dictionary that fills with the format of the output of each part that runs inside the block, by name."""
    found: dict[str, str] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            for tensor in _tensors(output)[:1]:
                found.setdefault(name, str(tensor.dtype).removeprefix("torch."))

        return hook

    parts = [(plain_name(name), module) for name, module in model.named_modules()]
    hooks = [module.register_forward_hook(note(name)) for name, module in parts if name and name.count(".") < DEPTH]
    try:
        yield found
    finally:
        for one in hooks:
            one.remove()


def first_not_finite(model: nn.Module, forward: Callable[[], object]) -> str:
    """Return the name and format of the first module, in order of completion, whose output is not finite; "" where none is.

    Args:
        model: its submodules are looked at.
        forward: runs the model on what made it fail.
    """
    found: list[str] = []

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not found and any(tensor.is_floating_point() and not bool(tensor.isfinite().all()) for tensor in _tensors(output)):
                dtype = next(str(tensor.dtype).removeprefix("torch.") for tensor in _tensors(output))
                found.append(f"{name} ({type(module).__name__}, {dtype})")

        return hook

    hooks = [module.register_forward_hook(note(plain_name(name))) for name, module in model.named_modules() if name]
    try:
        with torch.no_grad():
            forward()
    finally:
        for one in hooks:
            one.remove()
    return found[0] if found else ""


def plain_name(name: str) -> str:
    """Return the name of a module or tensor without what `torch.compile` puts before it.

    >>> plain_name("_orig_mod.blocks.0.weight")
    'blocks.0.weight'
    """
    return name.replace("_orig_mod.", "").removeprefix("_orig_mod")


def _tensors(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, tuple | list):
        return [tensor for one in output for tensor in _tensors(one)]
    return [value for value in getattr(output, "__dict__", {}).values() if isinstance(value, Tensor)]
