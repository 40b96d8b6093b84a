"""Number formats: the loss scale, the fall back to float32, and what survives a restart."""

from __future__ import annotations

import pytest
import torch

from auscult.errors import UserError
from auscult.recipe import Precision
from auscult.training.precision import Arithmetic, LossScale, choose_device


def make(compute: str) -> Arithmetic:
    return Arithmetic(Precision(compute=compute, device="cpu"))  # type: ignore[arg-type]


def test_the_scale_doubles_after_its_interval_and_halves_at_an_overflow() -> None:
    scale = LossScale(True, value=8.0, growth_interval=3)
    for _ in range(3):
        scale.succeeded()
    assert scale.value == 16.0
    scale.succeeded()
    scale.fall()
    assert (scale.value, scale.good) == (8.0, 0)


def test_the_scale_has_a_floor() -> None:
    scale = LossScale(True, value=LossScale.floor * 4)
    falls = 0
    while scale.can_fall:
        scale.fall()
        falls += 1
    assert falls == 2
    assert scale.value == LossScale.floor


def test_without_float16_nothing_is_scaled() -> None:
    for compute in ("float32", "bfloat16"):
        scale = make(compute).scale
        for _ in range(2000):
            scale.succeeded()
        assert scale.value == 1.0
        assert not scale.can_fall


@pytest.mark.parametrize(("compute", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)])
def test_autocast_computes_in_the_stated_format(compute: str, dtype: torch.dtype) -> None:
    arithmetic = make(compute)
    layer = torch.nn.Linear(4, 4)
    with arithmetic.autocast():
        output = layer(torch.ones(2, 4))
    assert output.dtype == dtype
    assert layer.weight.dtype == torch.float32


def test_scale_and_format_survive_a_restart() -> None:
    before = make("float16")
    before.scale.fall()
    before.scale.succeeded()
    after = make("float16")
    after.load_state_dict(before.state_dict())
    assert (after.scale.value, after.scale.good) == (before.scale.value, 1)
    before.fall_back()
    after.load_state_dict(before.state_dict())
    assert after.compute is torch.float32
    assert (after.scale.value, after.scale.enabled) == (1.0, False)


def test_a_scale_that_was_switched_off_stays_off() -> None:
    """An older snapshot must not bring the scale back after the fall to float32."""
    arithmetic = make("float16")
    snapshot = arithmetic.scale.state_dict()
    arithmetic.fall_back()
    arithmetic.scale.load_state_dict(snapshot)
    assert arithmetic.scale.value == 1.0
    assert not arithmetic.reduced


def test_cuda_where_there_is_none_is_an_error_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    with pytest.raises(UserError, match=r'precision\.device: "cuda" asked for, but torch sees no CUDA device; use "auto" or "cpu"'):
        choose_device("cuda")


def test_deterministic_refuses_other_operators() -> None:
    try:
        Arithmetic(Precision(device="cpu", deterministic=True))
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
