from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from auscult.errors import UserError
from auscult.ops.gru import BidirectionalGru, GruWeights, bidirectional_gru

LENGTHS = torch.tensor([4, 9, 1])


def pair(inputs: int, hidden: int, bias: bool, dtype: torch.dtype = torch.float32) -> tuple[BidirectionalGru, nn.GRU]:
    torch.manual_seed(0)
    fast, reference = BidirectionalGru(inputs, hidden, bias), nn.GRU(inputs, hidden, bias=bias, bidirectional=True)
    reference.load_state_dict(fast.state_dict())
    return fast.to(dtype), reference.to(dtype)


def packed_run(layer: nn.GRU, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    outputs, last = layer(pack_padded_sequence(values, lengths, enforce_sorted=False))
    return pad_packed_sequence(outputs, total_length=len(values))[0], last


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("packed", [False, True])
def test_agrees_with_torch_forward_and_backward(bias: bool, batch: int, packed: bool) -> None:
    fast, reference = pair(7, 5, bias)
    lengths = LENGTHS[:batch]
    values = torch.randn(int(lengths.max()), batch, 7)
    results = []
    for layer in (fast, reference):
        inputs = values.clone().requires_grad_()
        outputs, last = packed_run(layer, inputs, lengths) if packed else layer(inputs)
        weights = torch.linspace(-1, 1, outputs.numel()).view_as(outputs)
        ((outputs * weights).sum() + last.square().sum()).backward()
        results.append([outputs, last, inputs.grad, *(parameter.grad for parameter in layer.parameters())])
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, atol=1e-6, rtol=1e-5)


def test_agrees_at_deepspeech2_width() -> None:
    fast, reference = pair(64, 200, False)
    values = torch.randn(40, 2, 64)
    lengths = torch.tensor([40, 23])
    one, other = (packed_run(layer, values, lengths)[0] for layer in (fast, reference))
    assert (one - other).abs().max() < 1e-6
    one.square().sum().backward()
    other.square().sum().backward()
    for ours, theirs in zip(fast.parameters(), reference.parameters(), strict=True):
        assert (ours.grad - theirs.grad).abs().max() < 1e-6 * theirs.grad.abs().max() + 1e-6  # type: ignore[operator, union-attr]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("bias", [False, True])
def test_gradcheck(batch: int, bias: bool) -> None:
    fast, _ = pair(3, 2, bias, torch.float64)
    lengths = torch.tensor([5, 3, 1])[:batch]
    tensors = [parameter.detach().clone().requires_grad_() for parameter in fast.parameters()]

    def run(values: Tensor, *weights: Tensor) -> Tensor:
        forward, backward = weights[: len(weights) // 2], weights[len(weights) // 2 :]
        sides = list(zip(forward, backward, strict=True))
        return bidirectional_gru(values, lengths, GruWeights(*sides))

    assert torch.autograd.gradcheck(run, (torch.randn(5, batch, 3, dtype=torch.float64, requires_grad=True), *tensors))


def test_padding_is_not_looked_at_even_if_it_is_nan() -> None:
    fast, _ = pair(3, 4, True)
    values = torch.randn(9, 3, 3)
    padding = torch.arange(9).unsqueeze(1) >= LENGTHS
    values[padding] = float("nan")
    outputs = bidirectional_gru(values, LENGTHS, fast._kernel_weights())
    outputs.sum().backward()
    assert outputs[padding].abs().sum() == 0
    assert all(parameter.grad.isfinite().all() for parameter in fast.parameters())  # type: ignore[union-attr]


def test_state_dict_is_that_of_torch() -> None:
    fast, reference = pair(3, 4, True)
    assert list(fast.state_dict()) == list(reference.state_dict())


@pytest.mark.parametrize("packed", [False, True])
def test_initial_state_is_that_of_torch(packed: bool) -> None:
    fast, reference = pair(7, 5, True, torch.float64)
    values = torch.randn(9, 3, 7, dtype=torch.float64)
    results = []
    for layer in (fast, reference):
        initial = torch.linspace(-1, 1, 30, dtype=torch.float64).view(2, 3, 5).requires_grad_()
        given = pack_padded_sequence(values, LENGTHS, enforce_sorted=False) if packed else values
        outputs, last = layer(given, initial)
        values_of_states = outputs.data if packed else outputs
        (values_of_states.square().sum() + last.sum()).backward()
        results.append([values_of_states, last, initial.grad, *(parameter.grad for parameter in layer.parameters())])
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, atol=1e-12, rtol=1e-12)
    with pytest.raises(RuntimeError, match="hidden size"):
        fast(values, torch.zeros(2, 2, 5, dtype=torch.float64))


def test_what_an_utterance_without_batch_gives_is_left_to_torch() -> None:
    fast, reference = pair(3, 4, True)
    values = torch.randn(6, 3)
    assert torch.equal(fast(values)[0], reference(values)[0])


def test_kernel_runs_only_where_it_applies(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    original = bidirectional_gru
    monkeypatch.setattr("auscult.ops.gru.bidirectional_gru", lambda *arguments: calls.append(1) or original(*arguments))
    fast, _ = pair(3, 4, False)
    values = torch.randn(4, 1, 3)
    fast(values)
    fast(values, torch.zeros(2, 1, 4))
    assert len(calls) == 2
    with torch.no_grad():
        fast(values)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fast(values)
    BidirectionalGru(3, 4, False, kernel="torch")(values)
    assert len(calls) == 2


def test_unknown_kernel_is_refused() -> None:
    with pytest.raises(UserError, match='use "auto" or "torch"'):
        BidirectionalGru(3, 4, kernel="fast")  # type: ignore[arg-type]
