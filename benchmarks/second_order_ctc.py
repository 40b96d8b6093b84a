"""What the second derivative of CTC costs: `auscult.ops.ctc` against the native first order, autograd loops, and optax.

Run `python benchmarks/second_order_ctc.py [--json] [--repeats N] [--backend NAME]`. One process, one thread, medians of process CPU
time over alternating repeats. Everything starts at logits and ends at a gradient of logits: the native function runs forward and backward
(it has no second order), the others forward, backward with graph, and the derivative of the squared norm of the gradient.
Certificates and recomputed utterances are part of the time, and counted. Exit code 1 if a promise is missed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from auscult.ops.ctc import available_backends, ctc_loss
from auscult.ops.ctc_certified import tally
from shared_parts.naive_ctc import log_domain_loop, probability_loop
from shared_parts.timing import median_seconds

CLASSES = 29
NATIVE, FIRST, OPTAX = "native, 1st order", "1st order", "optax, jitted"
LOGS, PROBABILITIES, BESIDE = "autograd, logarithms", "autograd, probabilities", "the first, beside loops"


class Size(NamedTuple):
    """Frames, batch, symbols, and what is promised there.

    Attributes:
        native: largest cost of the second order relative to the native first order.
        logs: times faster than the autograd loop over logarithms; larger batches spread the loop's overhead over more work.
        probabilities: the same for the loop over probabilities.
    """

    frames: int
    batch: int
    symbols: int
    native: float
    logs: float
    probabilities: float


SIZES = (Size(56, 1, 28, 2.0, 15, 15), Size(100, 1, 30, 1.2, 25, 40), Size(200, 8, 60, 1.0, 25, 40), Size(400, 8, 60, 1.0, 25, 40))


class Given(NamedTuple):
    """Logits (frames, batch, classes) and the targets that go with them."""

    logits: Tensor
    targets: Tensor
    frames: Tensor
    symbols: Tensor


def given(size: Size) -> Given:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(size.frames, size.batch, CLASSES, generator=random).requires_grad_()
    targets = torch.randint(1, CLASSES, (size.batch, size.symbols), generator=random)
    return Given(logits, targets, torch.full((size.batch,), size.frames), torch.full((size.batch,), size.symbols))


def first_order(loss: Callable[..., Tensor], one: Given) -> Tensor:
    return torch.autograd.grad(loss(one.logits.log_softmax(2), *one[1:]), one.logits)[0]


def second_order(loss: Callable[..., Tensor], one: Given) -> Tensor:
    value = loss(one.logits.log_softmax(2), *one[1:])
    (gradient,) = torch.autograd.grad(value, one.logits, create_graph=True)
    return torch.autograd.grad(gradient.square().sum(), one.logits)[0]


def optax_second_order(one: Given) -> Callable[[], Any]:
    """The same in optax, compiled for the size."""
    import jax
    import optax

    labels = jax.numpy.asarray(one.targets.numpy())
    logits = jax.numpy.asarray(one.logits.detach().transpose(0, 1).numpy())  # (batch, frames, classes)
    no_padding = (jax.numpy.zeros(logits.shape[:2]), jax.numpy.zeros(labels.shape))

    def loss(logits: Any) -> Any:
        return (optax.ctc_loss(logits, no_padding[0], labels, no_padding[1]) / labels.shape[1]).mean()

    run = jax.jit(jax.grad(lambda logits: (jax.grad(loss)(logits) ** 2).sum()))
    return lambda: np.asarray(run(logits))


def measure(size: Size, backends: list[str], repeats: int) -> dict[str, float]:
    """CPU milliseconds of every alternative."""
    one = given(size)
    runs: dict[str, Callable[[], Any]] = {NATIVE: lambda: first_order(functional.ctc_loss, one)}
    for name in backends:

        def loss(*arguments: Any, name: str = name) -> Tensor:
            return ctc_loss(*arguments, backend=name)

        runs[name] = lambda loss=loss: second_order(loss, one)  # type: ignore[misc]
        runs[f"{name}, {FIRST}"] = lambda loss=loss: first_order(loss, one)  # type: ignore[misc]
    if importlib.util.find_spec("jax") and importlib.util.find_spec("optax"):
        runs[OPTAX] = optax_second_order(one)
    expected = second_order(probability_loop, one)
    for name in backends:
        assert float((runs[name]() - expected).abs().max() / expected.abs().max()) < 1e-5, f"{name} is wrong"
    # the loops empty every cache, so they take turns with the first backend alone
    loops: dict[str, Callable[[], Any]] = {
        BESIDE: runs[backends[0]],
        LOGS: lambda: second_order(log_domain_loop, one),
        PROBABILITIES: lambda: second_order(probability_loop, one),
    }
    found = dict(zip(runs, median_seconds(*runs.values(), repeats=10 * repeats, warm_up=3), strict=True))
    found |= dict(zip(loops, median_seconds(*loops.values(), repeats=repeats, warm_up=1), strict=True))
    return {name: 1000 * seconds for name, seconds in found.items()}


def report(size: Size, found: dict[str, float], backend: str) -> list[str]:
    """Print a table; return the promises that were missed."""
    title = f"frames {size.frames}, batch {size.batch}, symbols {size.symbols}"
    print(title)
    missed, loops = [], {LOGS: size.logs, PROBABILITIES: size.probabilities}
    for name, milliseconds in found.items():
        ratio = f"{milliseconds / found[NATIVE]:7.2f} x native"
        if name in loops:
            ratio = f"{milliseconds / found[BESIDE]:7.1f} x {backend}"
        print(f"  {name:28} {milliseconds:9.3f} ms {ratio}")
        if name in loops and milliseconds < loops[name] * found[BESIDE]:
            missed.append(f"{title}: {backend} is not {loops[name]:.0f} times as fast as {name}")
    if found[backend] > size.native * found[NATIVE]:
        missed.append(f"{title}: {backend} costs more than {size.native} times the native first order")
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--backend", help="hold this one to the promises; the best that is there if left out")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for package, line in (("numba", "pip install 'auscult[speed]'"), ("optax", "pip install optax jax")):
        if not importlib.util.find_spec(package):
            print(f"{package} is not installed, so it is left out: {line}", file=sys.stderr)
    backends = [name for name in available_backends("cpu") if name != "reference"]
    first = options.backend or backends[0]
    backends.sort(key=lambda name: name != first)
    results, missed = {}, []
    for size in SIZES:
        found = measure(size, backends, options.repeats)
        results[str(tuple(size[:3]))] = found
        missed += report(size, found, backends[0])
    print(f"{tally.refused} of {tally.utterances} alignments were not trusted and computed again in the log domain")
    if options.json:
        print(json.dumps({"results": results, "missed": missed}, indent=1))
    for line in missed:
        print("MISSED", line)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
