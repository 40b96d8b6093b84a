from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from auscult.ops.wanted_gradients import wanted_gradients

ASKED: list[tuple[bool, ...]] = []


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, one: Tensor, other: Tensor, nothing: None, number: float) -> Tensor:
        ctx.save_for_backward(one, other)
        return one * other * number

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        ASKED.append(wanted_gradients(ctx))
        one, other = ctx.saved_tensors
        return gradients[0] * other, gradients[0] * one, None, None


def tensors() -> tuple[Tensor, Tensor, Tensor]:
    values, weight = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    return values, weight, _Product.apply(values * 2, weight, None, 1.0).sum()  # type: ignore[no-untyped-call]


def test_grad_asks_for_what_it_was_given() -> None:
    values, weight, total = tensors()
    ASKED.clear()
    torch.autograd.grad(total, values, retain_graph=True)
    torch.autograd.grad(total, weight, retain_graph=True)
    torch.autograd.grad(total, [values, weight], retain_graph=True)
    total.backward(inputs=[values], retain_graph=True)
    total.backward()
    wanted = [(True, False), (False, True), (True, True), (True, False), (True, True)]
    assert [asked[:2] for asked in ASKED] == wanted
    assert not any(any(asked[2:]) for asked in ASKED)


def test_what_needs_no_gradient_is_not_wanted() -> None:
    ASKED.clear()
    values = torch.ones(2, requires_grad=True)
    _Product.apply(values, torch.ones(2), None, 1.0).sum().backward()  # type: ignore[no-untyped-call]
    assert ASKED == [(True, False, False, False)]


def test_a_torch_that_does_not_answer_gets_every_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch._C, "_will_engine_execute_node")
    values, _, total = tensors()
    ASKED.clear()
    torch.autograd.grad(total, values)
    assert ASKED == [(True, True, False, False)]
