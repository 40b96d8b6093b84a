from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils._python_dispatch import TorchDispatchMode

from auscult.ops import gru, gru_sweeps
from auscult.ops.gru import BidirectionalGru, GruWeights, bidirectional_gru

LENGTHS = torch.tensor([2, 4])
INPUTS, HIDDEN = 3, 2


@pytest.fixture(params=["directions together", "directions in turn"])
def schedule(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(gru_sweeps, "CACHE_BYTES", 1 << 20 if request.param == "directions together" else 0)
    return str(request.param)


def pair(inputs: int = INPUTS, hidden: int = HIDDEN, bias: bool = True) -> tuple[BidirectionalGru, nn.GRU]:
    torch.manual_seed(0)
    fast, reference = BidirectionalGru(inputs, hidden, bias), nn.GRU(inputs, hidden, bias=bias, bidirectional=True)
    reference.load_state_dict(fast.state_dict())
    return fast.double(), reference.double()


def as_function(bias: bool, initial: bool, lengths: Tensor | None, batch: int) -> tuple[Callable[..., Tensor], list[Tensor]]:
    """Return the kernel as a function of plain tensors, and tensors to call it with."""
    layer, _ = pair(bias=bias)
    weights = [parameter.detach().clone().requires_grad_() for parameter in layer.parameters()]
    values = torch.randn(int(LENGTHS.max()), batch, INPUTS, dtype=torch.float64, requires_grad=True)
    states = [torch.randn(2, batch, HIDDEN, dtype=torch.float64, requires_grad=True)] if initial else []

    def run(values: Tensor, *rest: Tensor) -> Tensor:
        given = rest[len(states) :]
        sides = zip(given[: len(given) // 2], given[len(given) // 2 :], strict=True)
        return bidirectional_gru(values, lengths, GruWeights(*sides), rest[0] if states else None)

    return run, [values, *states, *weights]


@pytest.mark.parametrize(("batch", "bias", "initial"), [(1, False, False), (1, True, True), (2, True, False), (2, False, True)])
def test_both_orders_agree_with_finite_differences(schedule: str, batch: int, bias: bool, initial: bool) -> None:
    run, tensors = as_function(bias, initial, LENGTHS[:batch] if batch > 1 else None, batch)
    assert torch.autograd.gradcheck(run, tensors)
    assert torch.autograd.gradgradcheck(run, tensors)


def test_a_batch_large_enough_for_copies_of_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gru_sweeps, "CACHE_BYTES", 0)
    lengths = torch.tensor([4, 3, 1, 2, 4])
    assert len(lengths) > gru_sweeps.ROWS_FOR_COPY
    run, tensors = as_function(True, True, lengths, len(lengths))
    assert torch.autograd.gradgradcheck(run, tensors, fast_mode=True)


def matching(layer: nn.GRU, names: Sequence[str], packed: bool) -> list[Tensor]:
    """Return a distance between gradients of a loss, and its gradients by everything."""
    torch.manual_seed(1)
    values = torch.randn(9, 3, 7, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([4, 9, 1])
    outputs, last = layer(pack_padded_sequence(values, lengths, enforce_sorted=False) if packed else values)
    outputs = pad_packed_sequence(outputs)[0] if packed else outputs
    loss = (outputs.square() * torch.linspace(-1, 2, outputs.numel(), dtype=torch.float64).view_as(outputs)).sum() + last.exp().sum()
    sources = {"values": values, **dict(layer.named_parameters())}
    gradients = torch.autograd.grad(loss, [sources[name] for name in names], create_graph=True)
    distance = sum((one.sin().square() * one.square()).sum() for one in gradients)
    assert isinstance(distance, Tensor)
    return [distance, *torch.autograd.grad(distance, list(sources.values()))]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "names",
    [["values"], ["weight_hh_l0"], ["weight_hh_l0", "weight_hh_l0_reverse"], ["bias_hh_l0"], ["weight_ih_l0_reverse", "values"], "all"],
    ids=str,
)
def test_matching_any_subset_of_gradients_agrees_with_torch(names: Sequence[str] | str, packed: bool) -> None:
    fast, reference = pair(7, 5)
    chosen = ["values", *dict(fast.named_parameters())] if names == "all" else list(names)
    for one, other in zip(matching(fast, chosen, packed), matching(reference, chosen, packed), strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-12 * other.abs().max().item())


def test_agrees_with_torch_at_deepspeech2_width_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gru_sweeps, "CACHE_BYTES", 0)
    results = []
    for layer in pair(64, 200, False):
        values = torch.randn(20, 1, 64, generator=torch.Generator().manual_seed(3)).requires_grad_()
        layer.float()
        gradients = torch.autograd.grad(layer(values)[0].square().sum(), list(layer.parameters()), create_graph=True)
        distance = sum(one.square().sum() for one in gradients)
        assert isinstance(distance, Tensor)
        results.append([*gradients, *torch.autograd.grad(distance, values)])
    for one, other in zip(*results, strict=True):
        assert (one - other).norm() < 1e-6 * other.norm()


def test_third_order_is_refused_in_words_and_torch_gives_it() -> None:
    values = torch.randn(4, 1, INPUTS, dtype=torch.float64, requires_grad=True)
    layer = pair()[0]
    (first,) = torch.autograd.grad(layer(values)[0].square().sum(), values, create_graph=True)
    with pytest.raises(RuntimeError, match=r"no third-order gradient.*kernel: torch"):
        torch.autograd.grad(first.square().sum(), values, create_graph=True)
    layer.kernel = "torch"
    (first,) = torch.autograd.grad(layer(values)[0].square().sum(), values, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), values, create_graph=True)
    assert torch.autograd.grad(second.square().sum(), values)[0].abs().sum() > 0


def test_ordinary_training_never_enters_the_second_order(monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[int] = []
    original = gru.GruGradient.apply
    monkeypatch.setattr(gru.GruGradient, "apply", lambda *arguments: entered.append(1) or original(*arguments))
    layer = pair()[0]
    values = torch.randn(4, 1, INPUTS, dtype=torch.float64, requires_grad=True)
    layer(values)[0].sum().backward()
    assert not entered
    torch.autograd.grad(layer(values)[0].sum(), values, create_graph=True)
    assert entered


def test_training_keeps_five_rows_of_states_per_frame() -> None:
    frames, batch, hidden = 50, 4, 16
    layer = BidirectionalGru(8, hidden)
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        outputs = layer(torch.randn(frames, batch, 8))[0]
    assert outputs.requires_grad
    weights = sum(parameter.nbytes for parameter in layer.parameters())
    row = 2 * batch * hidden * 4
    values = frames * batch * 8 * 4
    # r, z, n, the candidate's product and the state; one initial state beside them, twice: as given and before the states
    assert sum(kept.values()) <= 5 * frames * row + 2 * row + weights + values


class Products(TorchDispatchMode):
    """Counts matrix products by the shape of their results."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: Counter[tuple[int, ...]] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.addmm_):
            self.shapes[tuple(sorted(result.shape))] += 1
        return result


def products_of_weights(result: Tensor, asked: Sequence[Tensor]) -> tuple[int, int]:
    """Return how many products with the shape of hidden and of input weights the gradients of `asked` take, both directions together."""
    with Products() as products:
        torch.autograd.grad(result, asked, retain_graph=True)
    return products.shapes[5, 15], products.shapes[7, 15]


def test_products_that_nobody_asked_for_are_skipped_at_both_orders() -> None:
    layer = pair(7, 5, False)[0]
    values = torch.randn(6, 1, 7, dtype=torch.float64, requires_grad=True)
    weights = list(layer.parameters())
    loss = layer(values)[0].square().sum()
    assert products_of_weights(loss, [values]) == (0, 0)
    assert products_of_weights(loss, [layer.weight_hh_l0]) == (1, 0)
    assert products_of_weights(loss, [values, *weights]) == (2, 2)
    gradients = torch.autograd.grad(loss, weights, create_graph=True)
    distance = sum(one.square().sum() for one in gradients)
    assert isinstance(distance, Tensor)
    assert products_of_weights(distance, [values]) == (0, 0)
    assert products_of_weights(distance, [layer.weight_hh_l0]) == (3, 0)  # the tangents of both factors, and what came through the states
    assert products_of_weights(distance, [values, *weights]) == (6, 2)  # the values have no tangent


def test_rows_that_were_never_written_are_not_read(schedule: str) -> None:
    """Uninitialised memory may hold NaN, which a product that merely scales it by zero would hand on."""
    found = []
    for deterministic in (False, True):  # torch fills empty tensors with NaN in its deterministic mode
        torch.use_deterministic_algorithms(deterministic)
        try:
            found.append(matching(pair(7, 5)[0], ["values", "weight_hh_l0"], False))
        finally:
            torch.use_deterministic_algorithms(False)
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
