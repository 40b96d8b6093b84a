from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from auscult.errors import UserError
from auscult.models.deepspeech2 import DeepSpeech2
from auscult.models.masked_group_norm import MaskedGroupNorm
from auscult.ops.item_gradients import ItemGradients
from auscult.testing.models import FramedSamples, check_model, english_specification

LENGTHS = torch.tensor([7, 4, 5])


def layer() -> MaskedGroupNorm:
    torch.manual_seed(0)
    made = MaskedGroupNorm(8, 4).double()
    for parameter in made.parameters():
        nn.init.normal_(parameter)
    return made


def values(*inner: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(3, 8, *inner, 7).double(), torch.arange(7) < LENGTHS[:, None]


@pytest.mark.parametrize("inner", [(), (5,)])
def test_each_utterance_is_normalised_as_if_alone_and_unpadded(inner: tuple[int, ...]) -> None:
    norm, (given, mask) = layer(), values(*inner)
    found = norm(given, mask)
    for item, length in enumerate(LENGTHS.tolist()):
        alone = nn.functional.group_norm(given[item : item + 1, ..., :length], 4, norm.weight, norm.bias)
        assert torch.allclose(found[item, ..., :length], alone[0], rtol=0, atol=1e-12)


def test_what_padding_holds_does_not_matter() -> None:
    norm, (given, mask) = layer(), values()
    other = given.clone()
    other[1, :, 4:] = 1e6
    assert torch.equal(norm(given, mask)[1, :, :4], norm(other, mask)[1, :, :4])
    leaky = nn.functional.group_norm(other, 4, norm.weight, norm.bias)
    assert not torch.allclose(norm(given, mask)[1, :, :4], leaky[1, :, :4], atol=0.1), "torch's own would leak it"


@pytest.mark.parametrize("padded", [False, True])
def test_gradients_of_gain_and_offset_are_kept_by_utterance(padded: bool) -> None:
    norm, (given, mask) = layer(), values()
    weights = torch.randn_like(given) * (mask[:, None] if padded else 1)
    expected = []
    for item in range(3):
        chosen = torch.zeros(3, 1, 1).double()
        chosen[item] = 1.0
        expected.append(torch.autograd.grad((norm(given, mask if padded else None) * weights * chosen).sum(), [norm.weight, norm.bias]))
    norm.item_gradients = gradients = ItemGradients()
    (norm(given, mask if padded else None) * weights).sum().backward()
    for parameter, wanted in zip((norm.weight, norm.bias), zip(*expected, strict=True), strict=True):
        assert torch.allclose(gradients.of(parameter), torch.stack(wanted), rtol=0, atol=1e-9)  # type: ignore[arg-type]


def test_groups_must_divide_the_channels() -> None:
    with pytest.raises(UserError, match="3 groups do not divide 8"):
        MaskedGroupNorm(8, 3)


def test_deepspeech2_with_group_norm_keeps_the_contract_and_the_shapes() -> None:
    small = {"channels": 4, "hidden": 16, "layers": 2}
    check_model("deepspeech2", {**small, "norm": "group", "norm_groups": 2})
    batch = DeepSpeech2(english_specification(), FramedSamples(129), [], **small)  # type: ignore[arg-type]
    group = DeepSpeech2(english_specification(), FramedSamples(129), [], **small, norm="group", norm_groups=4)  # type: ignore[arg-type]
    shapes = [{name: value.shape for name, value in model.named_parameters()} for model in (batch, group)]
    assert shapes[0] == shapes[1]
    assert not [name for name, _ in group.named_buffers() if "bn" in name], "nothing is remembered between batches"
