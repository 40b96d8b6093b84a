"""What each defence promises of a message, that it changes no other and draws from its generator alone, and their order in a capture."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from auscult.errors import UserError
from auscult.privacy.capture import LeakSettings, capture
from auscult.privacy.defence import Defence
from auscult.privacy.message import Leak
from auscult.privacy.message_vector import flatten, total_norm
from auscult.registry import build, registered
from auscult.streams import Streams
from auscult.testing.victims import random_batch, small_victim

SECTIONS: list[dict[str, object]] = [
    {"name": "clipping", "norm": 0.5},
    {"name": "gaussian_noise", "sigma": 0.1},
    {"name": "gaussian_noise", "sigma": 0.1, "norm": 2.0},
    {"name": "top_k", "kept": 0.05},
    {"name": "random_pruning", "kept": 0.3},
    {"name": "sign"},
    {"name": "sign", "magnitude": 0.01},
    {"name": "int8"},
    {"name": "int8", "stochastic": True},
]
DRAWING = ("gaussian_noise", "random_pruning", "stochastic")


def made(name: str, **arguments: object) -> Defence:
    defence = build("defence", {"name": name, **arguments})
    assert isinstance(defence, Defence)
    return defence


def message(seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    random = np.random.default_rng(seed)
    shapes = {"conv.weight": (4, 1, 3, 5), "fc.weight": (40, 29), "fc.bias": (29,)}
    return {name: torch.from_numpy(random.standard_t(3, size=shape)).to(dtype) for name, shape in shapes.items()}


def sent(defence: Defence, tensors: dict[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    return defence.transform(tensors, np.random.default_rng(seed))


def test_every_registered_defence_is_examined_here() -> None:
    assert set(registered("defence")) == {section["name"] for section in SECTIONS}


@pytest.mark.parametrize("section", SECTIONS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_contract(section: dict[str, object], dtype: torch.dtype) -> None:
    defence, tensors = made(**section), message(dtype=dtype)  # type: ignore[arg-type]
    before = {name: value.clone() for name, value in tensors.items()}
    first, again, other = sent(defence, tensors), sent(defence, tensors), sent(defence, tensors, seed=1)
    assert [(name, value.shape, value.dtype) for name, value in first.items()] == [(n, v.shape, v.dtype) for n, v in before.items()]
    assert all(torch.equal(tensors[name], value) for name, value in before.items())
    assert not any(first[name].data_ptr() == tensors[name].data_ptr() for name in first)
    assert all(torch.equal(again[name], value) for name, value in first.items())
    draws = any(word in str(section) for word in DRAWING)
    assert all(torch.equal(other[name], value) for name, value in first.items()) is not draws
    assert defence.describe().startswith(f"{section['name']} (")


@pytest.mark.parametrize("section", SECTIONS, ids=str)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_failed_step_is_not_made_to_look_healthy(section: dict[str, object], value: float) -> None:
    """The sign of infinity is 1, and pruning drops most not-a-numbers: `Leak` would then accept the message."""
    tensors = message()
    tensors["fc.bias"][3] = value
    with pytest.raises(UserError, match="bias holds values that are not finite"):
        sent(made(**section), tensors)  # type: ignore[arg-type]


@pytest.mark.parametrize("section", [section for section in SECTIONS if section["name"] != "gaussian_noise"], ids=str)
def test_nothing_stays_nothing(section: dict[str, object]) -> None:
    zeros = {name: torch.zeros_like(value) for name, value in message().items()}
    assert all(not bool(value.any()) for value in sent(made(**section), zeros).values())  # type: ignore[arg-type]


@given(st.floats(1e-3, 1e3))
def test_clipping_bounds_the_norm_of_all_tensors_together(norm: float) -> None:
    tensors = message()
    clipped = sent(made("clipping", norm=norm), tensors)
    assert total_norm(clipped) == pytest.approx(min(norm, total_norm(tensors)), rel=1e-5)
    assert float(torch.cosine_similarity(flatten(clipped), flatten(tensors), dim=0)) == pytest.approx(1, abs=1e-5)
    if total_norm(tensors) <= norm:
        assert torch.equal(flatten(clipped), flatten(tensors))


def test_noise_has_the_stated_sigma_on_every_tensor() -> None:
    tensors = {"weight": torch.ones(100, 200), "bias": torch.full((5000,), -3.0)}
    noisy = sent(made("gaussian_noise", sigma=0.2), tensors)
    for name, value in noisy.items():
        assert float((value - tensors[name]).std()) == pytest.approx(0.2, rel=0.05)
        assert abs(float((value - tensors[name]).mean())) < 0.015
    correlation = np.corrcoef((noisy["weight"] - 1).flatten()[:5000], noisy["bias"] + 3)[0, 1]
    assert abs(correlation) < 0.06


def test_noise_relative_to_a_norm_is_added_to_a_message_that_was_clipped_to_it() -> None:
    tensors = {"weight": torch.full((100, 100), 7.0)}
    noisy = sent(made("gaussian_noise", sigma=0.5, norm=4.0), tensors)["weight"]
    assert float(noisy.std()) == pytest.approx(0.5 * 4.0, rel=0.05)
    assert float(noisy.mean()) == pytest.approx(4.0 / 100, abs=0.07)  # the norm, 4, over 10,000 equal values


def test_noise_says_what_it_proves() -> None:
    assert made("gaussian_noise", sigma=0.1).describe() == "gaussian_noise (sigma 0.1, no epsilon)"
    assert made("gaussian_noise", sigma=0.5, norm=2.0).describe() == "gaussian_noise (norm 2, sigma 0.5 of it, mu 4 a message)"


@given(st.floats(1e-4, 1.0))
def test_top_k_keeps_exactly_the_largest(kept: float) -> None:
    values, sparse = flatten(message()), flatten(sent(made("top_k", kept=kept), message()))
    count = max(1, round(kept * len(values)))
    assert int(torch.count_nonzero(sparse)) == count
    assert torch.equal(sparse[sparse != 0], values[sparse != 0])
    dropped = values[sparse == 0].abs()
    assert len(dropped) == 0 or float(dropped.max()) <= float(sparse[sparse != 0].abs().min())


def test_top_k_of_equal_values_still_keeps_the_stated_number() -> None:
    sparse = sent(made("top_k", kept=0.25), {"a": torch.ones(10, 10), "b": torch.ones(100)})
    assert int(torch.count_nonzero(flatten(sparse))) == 50


def test_top_k_is_over_all_tensors_and_not_over_each() -> None:
    sparse = sent(made("top_k", kept=0.5), {"large": torch.full((10,), 5.0), "small": torch.full((10,), 0.1)})
    assert torch.equal(sparse["large"], torch.full((10,), 5.0))
    assert not bool(sparse["small"].any())


@given(st.floats(1e-4, 1.0), st.integers(0, 1000))
def test_random_pruning_keeps_exactly_the_share_unchanged(kept: float, seed: int) -> None:
    values, pruned = flatten(message()), flatten(sent(made("random_pruning", kept=kept), message(), seed))
    assert int(torch.count_nonzero(pruned)) == max(1, round(kept * len(values)))
    assert torch.equal(pruned[pruned != 0], values[pruned != 0])


def test_random_pruning_prefers_no_value() -> None:
    tensors = {"a": torch.arange(1.0, 41.0)}
    times = sum((sent(made("random_pruning", kept=0.25), tensors, seed)["a"] != 0).double() for seed in range(2000))
    assert float((times / 2000 - 0.25).abs().max()) < 0.04  # four deviations of a share of 2,000


def test_sign_sends_one_magnitude_a_tensor_of_the_same_mean() -> None:
    tensors = message()
    tensors["fc.bias"][0] = 0.0
    signs = sent(made("sign"), tensors)
    for name, value in signs.items():
        assert torch.equal(value.sign(), tensors[name].sign())
        assert float(value[value != 0].abs().std()) < 1e-6
        best = float((value * tensors[name]).sum() / value.square().sum())  # the factor of least squares
        assert best == pytest.approx(1, abs=0.04 if name == "fc.bias" else 1e-4)
    assert float(signs["fc.bias"][0]) == 0.0


def test_sign_with_a_magnitude_tells_none() -> None:
    signs = flatten(sent(made("sign", magnitude=0.25), message()))
    assert set(signs.tolist()) == {-0.25, 0.25}


@given(st.integers(0, 1000), st.floats(1e-20, 1e20))
def test_int8_is_off_by_half_a_step_at_most(seed: int, size: float) -> None:
    tensors = {name: size * value for name, value in message(seed).items()}
    for name, value in sent(made("int8"), tensors).items():
        step = float(tensors[name].abs().max()) / 127
        assert float((value - tensors[name]).abs().max()) <= 0.5001 * step
        levels = (value.double() / step).round()
        assert float((value.double() / step - levels).abs().max()) < 1e-4
        assert len(levels.unique()) <= 255
        assert float(value.abs().max()) == pytest.approx(float(tensors[name].abs().max()), rel=1e-6)


def test_stochastic_int8_is_off_by_less_than_a_step_and_by_none_on_average() -> None:
    tensors = message()
    steps = {name: float(value.abs().max()) / 127 for name, value in tensors.items()}
    defence, total = made("int8", stochastic=True), {name: torch.zeros_like(value) for name, value in tensors.items()}
    for seed in range(200):
        for name, value in sent(defence, tensors, seed).items():
            assert float((value - tensors[name]).abs().max()) < 1.0001 * steps[name]
            total[name] += value / 200
    for name, value in total.items():
        assert float((value - tensors[name]).abs().max()) < 0.5 / 200**0.5 * 4.5 * steps[name]  # deviations of a mean of 200


@pytest.mark.parametrize(
    ("section", "named"),
    [
        ({"name": "clipping", "norm": 0.0}, "clipping.norm"),
        ({"name": "gaussian_noise", "sigma": -1.0}, "gaussian_noise.sigma"),
        ({"name": "gaussian_noise", "norm": math.inf}, "gaussian_noise.norm"),
        ({"name": "top_k", "kept": 10.0}, "top_k.kept"),
        ({"name": "random_pruning", "kept": 0.0}, "random_pruning.kept"),
        ({"name": "sign", "magnitude": 0.0}, "sign.magnitude"),
    ],
)
def test_strengths_that_mean_nothing_are_refused(section: dict[str, object], named: str) -> None:
    with pytest.raises(UserError, match=named):
        made(**section)  # type: ignore[arg-type]


def captured(defences: list[Defence], clients: int = 1) -> Leak:
    victim = small_victim("deepspeech1")
    batches = [random_batch(victim, 1, seed=0) for _ in range(clients)]
    settings = LeakSettings(clients=clients, layers=("fc",))
    return capture(victim, batches, ["a"] * clients, settings, Streams(0), defences)[0]


def test_a_capture_applies_defences_in_order_and_says_so() -> None:
    clip, sparse = made("clipping", norm=0.01), made("top_k", kept=0.1)
    clipped_last, clipped_first = captured([sparse, clip]), captured([clip, sparse])
    assert clipped_last.defences == ("top_k (10 % kept)", "clipping (norm 0.01)")
    assert clipped_first.defences == ("clipping (norm 0.01)", "top_k (10 % kept)")
    assert total_norm(clipped_last.tensors) == pytest.approx(0.01, rel=1e-5)
    assert total_norm(clipped_first.tensors) < 0.0099
    plain = captured([])
    assert plain.defences == ()
    count = sum(value.numel() for value in plain.tensors.values())
    assert int(torch.count_nonzero(flatten(clipped_first.tensors))) == round(0.1 * count)


def test_defences_act_on_each_client_before_the_sum_with_noise_of_its_own() -> None:
    """Two clients with the same utterance: their messages differ by their noise alone, so the variances add up."""
    noise = made("gaussian_noise", sigma=0.3)
    plain, one, two = captured([]), captured([noise]), captured([noise], clients=2)
    first = flatten(one.tensors) - flatten(plain.tensors)
    both = flatten(two.tensors) - 2 * flatten(plain.tensors)
    assert float(first.std()) == pytest.approx(0.3, rel=0.06)
    assert float(both.std()) == pytest.approx(0.3 * math.sqrt(2), rel=0.06)
    assert total_norm(captured([made("clipping", norm=0.01)], clients=2).tensors) == pytest.approx(0.02, rel=1e-4)
