"""Conformance suite for separation models, ours and third parties'.

What silently breaks a separator: signals a few samples short, a crash on a short or odd length, states or frame counts kept from one call
to the next, outputs that change with the batch mates, a mixture changed in place, half-precision signals, outputs that are silent from
the start (their loss has no gradient), parameters no gradient reaches, a state dict that does not restore, and a wrapper of `torch.compile`
that changes numbers or keys. One call checks all of it and lists every fault.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from auscult.errors import UserError
from auscult.models.separator import COMPUTE_FORMATS, Separator
from auscult.registry import INJECTED, build, lookup, marker, parameters
from auscult.specification import Specification

TOLERANCE = 1e-4
"""Largest difference where equality is due, relative to the largest sample."""

LENGTHS = (1, 2, 3, 7, 16, 63, 64, 65, 500, 801, 1999)
"""Samples beyond `shortest` that are tried."""

SAMPLES = 1600
"""Of the mixtures of the other checks, at least."""


def check_separator(
    model: str | Separator,
    arguments: dict[str, Any] | None = None,
    *,
    sources: int = 2,
    sample_rate: int = 8000,
    seed: int = 0,
    tolerance: float = TOLERANCE,
) -> None:
    """Check that a separation model keeps its contract.

    Checked: shape, dtype and equal length for many lengths from `shortest` on, and that fewer samples are refused; nothing is kept between
    calls; items of a batch are independent; the mixture is not changed; no output is silent, constant or not finite; gradients reach
    every parameter that wants one, also from a batch with digital silence in it; float32 signals that stay near under autocast in each of
    its `number_formats`; the state dict restores; `torch.compile` (eager) changes neither signals nor keys.

    Args:
        model: registry name, or a built model (it is not changed).
        arguments: recipe keys for a model given by name; choose small ones.
        sources: for a model given by name.
        sample_rate: for a model given by name, in hertz.
        seed: of the random mixtures and weights.
        tolerance: largest relative difference of signals that should be equal.

    Raises:
        AssertionError: with one line per fault.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(model, str):
            specification = Specification("separation", sample_rate, sources=sources)
            model = cast(Separator, build("model", {"name": model, **(arguments or {})}, specification=specification))
    reasons: list[str] = []
    for check in _CHECKS:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                reasons += check(copy.deepcopy(model).eval(), tolerance)
            except (RuntimeError, UserError, ValueError, IndexError, TypeError, AttributeError, AssertionError) as error:
                reasons.append(f"{check.__name__[1:].removesuffix('_reasons')}: failed with {type(error).__name__}: {error}")
    assert not reasons, f"{type(model).__name__}:\n" + "\n".join(f"- {reason}" for reason in reasons)


def check_options(name: str, arguments: dict[str, Any], changes: dict[str, Any], *, sources: int = 2, seed: int = 0) -> None:
    """Check that no option of a separation model is dead: each, changed alone, changes parameters or signals.

    A published study tuned a width that its model never read. Options that act in training only (dropout) are seen in training mode.

    Args:
        name: registry name.
        arguments: recipe keys of a small model.
        changes: another value for *every* option of the constructor.
        sources: put out.
        seed: of weights and mixtures.

    Raises:
        AssertionError: an option has no change listed, or makes no difference.
    """
    declared = {key for key, parameter in parameters(lookup("model", name)).items() if marker(parameter) is not INJECTED}
    assert declared == set(changes), f"changes must name every option of {name}, and no other: {sorted(declared ^ set(changes))}"
    specification = Specification("separation", 8000, sources=sources)

    def probe(given: dict[str, Any]) -> tuple[list[tuple[str, torch.Size]], Tensor]:
        torch.manual_seed(seed)
        model = cast(Separator, build("model", {"name": name, **given}, specification=specification)).train()
        with torch.no_grad():
            signals = model(_mixtures(model))
        return [(key, value.shape) for key, value in model.state_dict().items()], signals

    with torch.random.fork_rng(devices=[]):
        shapes, signals = probe(arguments)
        for option, value in changes.items():
            other_shapes, other = probe({**arguments, option: value})
            assert other_shapes != shapes or _difference(other, signals) > TOLERANCE, (
                f"{name}: {option} = {value!r} changes neither parameters nor signals; the option is dead"
            )


def _mixtures(model: Separator, batch: int = 3, samples: int = SAMPLES) -> Tensor:
    """Noise with a falling spectrum, of a different level in each item."""
    noise = torch.randn(batch, max(samples, model.shortest)).cumsum(1)
    noise = noise - noise.mean(1, keepdim=True)
    levels = torch.logspace(0, -2, batch)[:, None] / noise.abs().amax(1, keepdim=True).clamp_min(1e-9)
    return noise * levels + 1e-3 * torch.randn_like(noise)


def _difference(one: Tensor, other: Tensor) -> float:
    """Largest difference relative to the largest sample."""
    return float((one - other).abs().max() / other.abs().max().clamp_min(1e-12))


@torch.no_grad()
def _length_reasons(model: Separator, tolerance: float) -> Iterable[str]:
    for samples in (model.shortest, *(model.shortest + more for more in LENGTHS)):
        for batch in (1, 2):
            signals = model(0.1 * torch.randn(batch, samples))
            expected = (batch, model.sources, samples)
            found = f"{batch} mixtures of {samples} samples give {tuple(signals.shape)} {signals.dtype}"
            if tuple(signals.shape) != expected or signals.dtype != torch.float32:
                yield f"{found}, expected {expected} torch.float32"
            elif not signals.isfinite().all():
                yield f"signals of {samples} samples are not finite"
    for wrong in (torch.zeros(2, model.shortest - 1), torch.zeros(model.shortest), torch.zeros(2, 1, model.shortest)):
        try:
            model(wrong)
        except UserError as error:
            if str(model.shortest) not in str(error):
                yield f"the error for {tuple(wrong.shape)} does not name the {model.shortest} samples that are needed: {error}"
        else:
            yield f"samples {tuple(wrong.shape)} are not refused with a UserError; call check_samples"


@torch.no_grad()
def _memory_reasons(model: Separator, tolerance: float) -> Iterable[str]:
    mixture = _mixtures(model)
    kept, buffers = mixture.clone(), {name: value.clone() for name, value in model.named_buffers()}
    attributes = _plain_attributes(model)
    first = model(mixture)
    if not torch.equal(mixture, kept):
        yield "the mixture is changed in place"
    model(torch.randn(1, mixture.shape[1] // 3 + model.shortest))
    if not torch.equal(model(kept.clone()), first):
        yield "the same mixture gives other signals after another call in evaluation mode"
    if any(not torch.equal(buffers[name], value) for name, value in model.named_buffers()):
        yield "buffers change in evaluation mode"
    for name in sorted(key for key, value in _plain_attributes(model).items() if attributes.get(key) != value):
        yield f"a call leaves something behind in {name}"


def _plain_attributes(model: nn.Module) -> dict[str, str]:
    """Return what modules carry besides parameters, buffers and submodules, as text; tensors as shape and sum."""
    found = {}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if not name.startswith("_") and name != "training":
                shown = f"{tuple(value.shape)} {float(value.sum())}" if isinstance(value, Tensor) else repr(value)
                found[f"{path}.{name}".lstrip(".")] = shown
    return found


@torch.no_grad()
def _batch_reasons(model: Separator, tolerance: float) -> Iterable[str]:
    mixture = _mixtures(model)
    together = model(mixture)
    for row in range(len(mixture)):
        leak = _difference(together[row], model(mixture[row : row + 1])[0])
        if not leak <= tolerance:
            yield f"signals of an item change by {leak:.1e} with its batch mates, allowed {tolerance:.0e}"
            return


@torch.no_grad()
def _start_reasons(model: Separator, tolerance: float) -> Iterable[str]:
    mixture = _mixtures(model)
    level = model(mixture).std(dim=2) / mixture.std(dim=1)[:, None]
    if not bool((level > 1e-3).all()):
        yield f"a separated signal is silent or constant ({float(level.min()):.1e} of its mixture); its loss has no gradient to start with"


def _gradient_reasons(model: Separator, tolerance: float) -> Iterable[str]:
    model.train()
    mixture = _mixtures(model)
    signals = model(mixture)
    weights = torch.randn_like(signals)
    (signals * weights).sum().backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any()):
            yield f"no gradient reaches {name}"
    model.zero_grad()
    silent = torch.cat([mixture[:1], torch.zeros_like(mixture[:1])])
    (model(silent) * weights[:2]).sum().backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            yield f"the gradient of {name} is not finite where a mixture is digital silence"


@torch.no_grad()
def _format_reasons(model: Separator, tolerance: float) -> Iterable[str]:
    unknown = [name for name in type(model).number_formats if name not in COMPUTE_FORMATS]
    if unknown:
        yield f"number_formats names {unknown}; known: {', '.join(COMPUTE_FORMATS)}"
    mixture = _mixtures(model)
    expected = model(mixture)
    for name in type(model).number_formats:
        if name == "float32" or name in unknown:
            continue
        with torch.autocast("cpu", dtype=getattr(torch, name)):
            signals = model(mixture)
        if signals.dtype != torch.float32:
            yield f"signals are {signals.dtype} under {name} autocast, expected torch.float32"
        elif not signals.isfinite().all():
            yield f"signals are not finite under {name} autocast, which number_formats allows"
        elif _difference(signals, expected) > 0.1:
            yield f"signals differ by {_difference(signals, expected):.1e} under {name} autocast, which number_formats allows"


@torch.no_grad()
def _state_dict_reasons(model: Separator, tolerance: float) -> Iterable[str]:
    mixture = _mixtures(model)
    expected = model(mixture)
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    for parameter in model.parameters():
        parameter.add_(1.0)
    model.load_state_dict(torch.load(buffer, weights_only=True))
    if not torch.equal(model(mixture), expected):
        yield "signals change when the state dict is saved and loaded"


def _compile_reasons(model: Separator, tolerance: float) -> Iterable[str]:
    mixture = _mixtures(model)
    torch.compiler.reset()
    wrapped = cast(nn.Module, torch.compile(model, backend="eager"))
    try:
        with torch.no_grad():
            leak = _difference(wrapped(mixture), model(mixture))
    finally:
        torch.compiler.reset()
    if not leak <= tolerance:
        yield f"signals change by {leak:.1e} under torch.compile, allowed {tolerance:.0e}"
    keys = [name.replace("_orig_mod.", "", 1) for name in wrapped.state_dict()]
    if keys != list(model.state_dict()):
        yield "torch.compile leaves other keys in the state dict than its prefix explains"


_CHECKS: tuple[Callable[[Separator, float], Iterable[str]], ...] = (
    _length_reasons,
    _memory_reasons,
    _batch_reasons,
    _start_reasons,
    _gradient_reasons,
    _format_reasons,
    _state_dict_reasons,
    _compile_reasons,
)
