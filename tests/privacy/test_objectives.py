"""Distances of gradients: their unit, their gradient, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from auscult.errors import UserError
from auscult.privacy.objectives import GradientDistance


def pair() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)

    def draw() -> dict[str, torch.Tensor]:
        return {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in (("a", (3, 4)), ("b", (5,)))}

    return draw(), draw()


def flat(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([value.reshape(-1) for value in tensors.values()])


def test_distances_are_those_of_one_long_vector() -> None:
    found, target = pair()
    cosine = 1 - functional.cosine_similarity(flat(found), flat(target), dim=0)
    squared = (flat(found) - flat(target)).square().sum() / flat(target).square().sum()
    for kind, expected in (("cosine", cosine), ("l2", squared), ("both", cosine + squared)):
        torch.testing.assert_close(GradientDistance(kind)(found, target), expected)  # type: ignore[arg-type]


def test_per_layer_is_blind_to_the_size_of_layers_and_leaves_out_what_is_zero() -> None:
    found, target = pair()
    plain, even = GradientDistance("l2"), GradientDistance("l2", per_layer=True)
    scaled = [{"a": 1000 * one["a"], "b": one["b"]} for one in (found, target)]
    torch.testing.assert_close(even(*scaled), even(found, target))
    assert not torch.allclose(plain(*scaled), plain(found, target))
    without = {**target, "b": torch.zeros(5, dtype=torch.float64)}
    torch.testing.assert_close(even(found, without), plain({"a": found["a"]}, {"a": target["a"]}))


@pytest.mark.parametrize("kind", ["cosine", "l2", "both"])
@pytest.mark.parametrize("per_layer", [False, True])
def test_gradient_is_right(kind: str, per_layer: bool) -> None:
    found, target = pair()
    distance = GradientDistance(kind, per_layer)  # type: ignore[arg-type]
    leaves = [value.requires_grad_() for value in found.values()]
    assert torch.autograd.gradcheck(lambda *values: distance(dict(zip(found, values, strict=True)), target), leaves)


def test_a_guess_without_gradient_is_orthogonal_and_has_finite_slopes() -> None:
    _, target = pair()
    nothing = {name: torch.zeros_like(value).requires_grad_() for name, value in target.items()}
    value = GradientDistance("both")(nothing, target)
    assert value.item() == pytest.approx(2.0)
    assert all(bool(torch.isfinite(slope).all()) for slope in torch.autograd.grad(value, list(nothing.values())))


def test_what_makes_no_sense_is_refused() -> None:
    found, target = pair()
    with pytest.raises(UserError, match="zero in every layer"):
        GradientDistance()(found, {name: torch.zeros_like(value) for name, value in target.items()})
    with pytest.raises(UserError, match="objective: expected one of cosine"):
        GradientDistance("cos")  # type: ignore[arg-type]
