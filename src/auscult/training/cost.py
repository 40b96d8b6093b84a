"""What a model costs before it is trained: parameters, multiply-accumulates, memory, real-time factor.

Multiply-accumulates are counted by running the model once on random audio under PyTorch's operator-level counter, so they
belong to the code that runs and not to a formula kept beside it (a reference experiment hid a 160-fold difference in cost
behind "only the input channels change").
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from auscult.models.separator import Separator
from auscult.recipe import Recipe
from auscult.specification import Specification
from auscult.tasks.base import Task

PROBE_SECONDS = 4.0
"""Length of the random audio a model is probed with."""


def inspect_recipe(recipe: Recipe, seconds: float = PROBE_SECONDS, repeats: int = 3) -> dict[str, Any]:
    """Measure the model of a recipe on this machine.

    Args:
        recipe: what to build.
        seconds: length of the random audio.
        repeats: timed forward passes; the median counts.

    Returns:
        parameters (total and by part), macs_per_second of audio, output_frames of the probe, frame_step in seconds, memory in
        bytes (weights; training adds gradients and optimiser state) and real_time_factor (seconds of work per second of audio).
    """
    task: Task = recipe.task.build(recipe=recipe)
    torch.set_num_threads(recipe.data.threads)
    model = task.build_model().eval()
    samples, lengths = _probe(task.specification, seconds)
    times = []
    with torch.inference_mode():
        _run(model, samples, lengths)
        for _ in range(repeats):
            began = time.perf_counter()
            _run(model, samples, lengths)
            times.append(time.perf_counter() - began)
    described = describe_model(model, task.specification, seconds)
    weights = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    return {
        "model": recipe.model.name,
        **described,
        "probe_seconds": seconds,
        "memory": {"weights": weights, "training_adam": 4 * weights},
        "real_time_factor": statistics.median(times) / seconds,
        "threads": recipe.data.threads,
    }


def describe_model(model: nn.Module, specification: Specification, seconds: float = PROBE_SECONDS) -> dict[str, Any]:
    """Return parameters, cost and the module tree with output shapes, from one forward pass on random audio."""
    samples, lengths = _probe(specification, seconds)
    device = next(model.parameters()).device
    shapes: dict[str, list[int]] = {}
    hooks = [module.register_forward_hook(_note_shape(shapes, name)) for name, module in model.named_modules() if name]
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            output = _run(model, samples.to(device), lengths.to(device))
    finally:
        for hook in hooks:
            hook.remove()
        model.train(was_training)
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "parameters_by_part": {name: _parameters(part) for name, part in model.named_children() if _parameters(part)},
        "macs_per_second": counter.get_total_flops() / 2 / seconds,
        "frame_step": getattr(model, "frame_step", None),
        "output_frames": int(output.lengths[0]) if hasattr(output, "lengths") else None,
        "front_end": _front_end(model),
        "parts": _parts(model, shapes),
    }


def _run(model: nn.Module, samples: Tensor, lengths: Tensor) -> Any:
    """Run a model on samples of one length; separators are told no lengths."""
    return model(samples) if isinstance(model, Separator) else model(samples, lengths)


def _probe(specification: Specification, seconds: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    samples = 0.1 * torch.randn(1, round(seconds * specification.sample_rate), generator=generator)  # (1, time)
    return samples, torch.tensor([samples.shape[1]])


def _note_shape(shapes: dict[str, list[int]], name: str) -> Any:
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        while isinstance(output, tuple | list) and output:
            output = output[0]
        data = getattr(output, "data", output)
        if isinstance(data, Tensor) and name not in shapes:
            shapes[name] = list(data.shape)

    return hook


def _parts(model: nn.Module, shapes: dict[str, list[int]]) -> list[dict[str, Any]]:
    order = {name: place for place, name in enumerate(shapes)}  # in which modules finished
    return [
        {
            "name": name,
            "order": order.get(name),
            "type": type(module).__name__,
            "parameters": _parameters(module),
            "output_shape": shapes.get(name),
            "depth": name.count(".") + 1,
        }
        for name, module in model.named_modules()
        if name
    ]


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _front_end(model: nn.Module) -> dict[str, Any]:
    front_end = getattr(model, "front_end", None)
    if front_end is None:
        return {}
    return {
        "name": type(front_end).__name__,
        "bins": front_end.bins,
        "frame_step": front_end.frame_step,
        "sample_rate": front_end.sample_rate,
    }
