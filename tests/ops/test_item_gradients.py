from __future__ import annotations

import pytest
import torch
from torch import Tensor

from auscult.models.recurrent import run_recurrent
from auscult.ops.gru import BidirectionalGru
from auscult.ops.item_gradients import ItemGradients, item_copies, item_product

LENGTHS = [7, 3, 5]


def gru(bias: bool) -> BidirectionalGru:
    torch.manual_seed(0)
    return BidirectionalGru(4, 6, bias).double()


def one_by_one(layer: BidirectionalGru, values: Tensor, lengths: list[int], weights: Tensor) -> dict[str, Tensor]:
    """The gradients of a loop over items, each alone and without padding, by `nn.GRU`'s own autograd."""
    layer.kernel = "torch"
    found: dict[str, list[Tensor]] = {name: [] for name, _ in layer.named_parameters()}
    for item, length in enumerate(lengths):
        layer.zero_grad()
        (layer(values[:length, item : item + 1])[0] * weights[:length, item : item + 1]).square().sum().backward()
        for name, parameter in layer.named_parameters():
            found[name].append(parameter.grad.clone())  # type: ignore[union-attr]
    layer.kernel = "auto"
    layer.zero_grad()
    return {name: torch.stack(gradients) for name, gradients in found.items()}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("lengths", [LENGTHS, [7, 7, 7]])
def test_gradients_of_a_gru_are_those_of_a_loop_over_items(bias: bool, lengths: list[int]) -> None:
    layer, values, weights = gru(bias), torch.randn(7, 3, 4).double(), torch.randn(7, 3, 12).double()
    values.requires_grad_()
    expected = one_by_one(layer, values.detach(), lengths, weights)
    of_values = torch.autograd.grad((run_recurrent(layer, values, torch.tensor(lengths)) * weights).square().sum(), values)[0]
    layer.item_gradients = gradients = ItemGradients()
    (run_recurrent(layer, values, torch.tensor(lengths)) * weights).square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert torch.allclose(gradients.of(parameter), expected[name], rtol=0, atol=1e-9), name  # type: ignore[arg-type]
        assert parameter.grad is None, "written down by the ledger alone"
    assert torch.allclose(values.grad, of_values, rtol=0, atol=1e-12)  # type: ignore[arg-type]
    norms = torch.stack([one.flatten(1).square().sum(1) for one in expected.values()]).sum(0).sqrt()
    assert torch.allclose(gradients.norms(), norms, rtol=1e-9)
    factors = torch.tensor([0.5, 0.0, 2.0]).double()
    for name, parameter in layer.named_parameters():
        wanted = torch.tensordot(factors, expected[name], 1)
        assert torch.allclose(gradients.weighted_sum(parameter, factors), wanted, rtol=0, atol=1e-9)


def test_both_ways_to_a_norm_agree() -> None:
    torch.manual_seed(0)
    left, right = torch.randn(3, 6, 4).double(), torch.randn(3, 6, 40).double()  # frames (rows + columns) > rows x columns
    for frames in (6, 2):
        gradients, weight = ItemGradients(), torch.zeros(4, 40).double()
        gradients.outer(weight, left[:, :frames], right[:, :frames])
        whole = torch.bmm(left[:, :frames].mT, right[:, :frames])
        assert torch.allclose(gradients.norms(), whole.flatten(1).norm(dim=1), rtol=1e-12)


def test_a_norm_survives_frames_that_cancel() -> None:
    left, right = torch.full((1, 2, 50), 1000.0), torch.randn(1, 1, 50).repeat(1, 2, 1)
    left[0, 1] *= -1 + 1e-6  # what is left is a millionth of each frame
    gradients, weight = ItemGradients(), torch.zeros(50, 50)
    gradients.outer(weight, left, right)
    true = torch.bmm(left.double().mT, right.double()).norm()
    assert float(gradients.norms()) == pytest.approx(float(true), rel=1e-3)


def test_an_item_of_factor_zero_may_hold_nan() -> None:
    gradients, weight, bias = ItemGradients(), torch.zeros(2, 2), torch.zeros(2)
    values = torch.ones(2, 1, 2)
    values[1] = torch.nan
    gradients.outer(weight, values, values)
    gradients.whole(bias, values[:, 0])
    assert gradients.norms().isnan().tolist() == [False, True]
    factors = torch.tensor([0.5, 0.0])
    assert gradients.weighted_sum(weight, factors).tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert gradients.weighted_sum(bias, factors).tolist() == [0.5, 0.5]


def test_a_matrix_used_twice_has_one_gradient() -> None:
    weight, gradients = torch.randn(3, 3, requires_grad=True), ItemGradients()
    values = torch.randn(5, 2, 3)
    item_product(item_product(values, weight, gradients).tanh(), weight, gradients).square().sum().backward()
    ((values @ weight.t()).tanh() @ weight.t()).square().sum().backward()
    assert torch.allclose(gradients.of(weight).sum(0), weight.grad, atol=1e-4)  # type: ignore[union-attr, arg-type]
    assert torch.allclose(gradients.norms(), gradients.of(weight).flatten(1).norm(dim=1).double(), rtol=1e-5)  # type: ignore[union-attr]


def test_copies_pass_on_what_each_item_does_to_a_parameter() -> None:
    gain, gradients = torch.tensor([2.0, 3.0], requires_grad=True), ItemGradients()
    values = torch.tensor([[1.0, 10.0], [2.0, 20.0]])
    (item_copies(gain, 2, gradients) * values).sum().backward()
    assert gradients.of(gain).tolist() == values.tolist()  # type: ignore[union-attr]
    assert gain.grad is None


def test_one_parameter_has_one_form() -> None:
    one = torch.ones(1, 1, 1)
    gradients, first, second = ItemGradients(), torch.zeros(1, 1), torch.zeros(1, 1)
    gradients.outer(first, one, one)
    gradients.whole(second, one)
    with pytest.raises(ValueError, match="one form"):
        gradients.whole(first, one)
    with pytest.raises(ValueError, match="one form"):
        gradients.outer(second, one, one)
