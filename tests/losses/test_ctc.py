"""CTC against published vectors, enumeration, closed forms and central differences."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from auscult import registry
from auscult.errors import UserError
from auscult.losses.ctc import CtcLoss, ctc_loss, occupancy, required_frames, uniform_loss
from auscult.testing.losses import UNIFORM, check_loss, enumerate_texts


class Output(NamedTuple):
    logits: Tensor
    lengths: Tensor


def arguments(batch: int = 2, frames: int = 9, classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    logits = torch.randn(batch, frames, classes, generator=torch.Generator().manual_seed(seed))
    return logits, torch.tensor([9, 6]), torch.tensor([[0, 0, 1], [2, -1, -1]]), torch.tensor([3, 1])


def ignores_lengths(**given: object) -> Tensor:
    """The reference bug: all frames are used whatever the lengths say."""
    logits = given["logits"]
    assert isinstance(logits, Tensor)
    return ctc_loss(**{**given, "logit_lengths": torch.full((len(logits),), logits.shape[1])})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def vectors(data_pack: Path) -> dict:
    return json.loads((data_pack / "fixtures" / "ctc" / "expected.json").read_text())


def test_warp_ctc_vectors(vectors: dict) -> None:
    logits = torch.tensor(vectors["probs"], dtype=torch.float64).reshape(5, 2, 6).log().transpose(0, 1).requires_grad_()
    tokens = torch.tensor([vectors["labels"][0], [*vectors["labels"][1], 99]])
    losses = ctc_loss(logits, torch.tensor([5, 5]), tokens, torch.tensor([5, 4]), blank=vectors["blank"], reduction="none")
    assert losses.tolist() == pytest.approx(vectors["loss"], abs=1e-5)
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    expected = torch.tensor(vectors["grad_wrt_logits"], dtype=torch.float64).reshape(5, 2, 6).transpose(0, 1)
    assert float((gradient - expected).abs().max()) < 2e-6


def test_two_frame_vector() -> None:
    logits = torch.tensor([[[0.1, 0.6, 0.1, 0.1, 0.1], [0.1, 0.1, 0.6, 0.1, 0.1]]])
    value = ctc_loss(logits, torch.tensor([2]), torch.tensor([[1, 2]]), torch.tensor([2]), blank=0, reduction="sum")
    assert float(value) == pytest.approx(2.4628584, abs=1e-6)
    assert math.exp(-float(value)) == pytest.approx(0.0851911, abs=1e-6)


def test_conformance_suite_passes() -> None:
    check_loss(ctc_loss)  # type: ignore[arg-type]


def test_r0_ctc_respects_input_lengths() -> None:
    logits, lengths, tokens, sizes = arguments()
    value = ctc_loss(logits, lengths, tokens, sizes, blank=3, reduction="none")
    changed = logits.clone()
    changed[1, 6:] += 5.0 * torch.randn(3, 4)
    assert torch.equal(value, ctc_loss(changed, lengths, tokens, sizes, blank=3, reduction="none"))
    with pytest.raises(AssertionError, match="lengths: 3 of 7 frames are valid, yet the others change the loss"):
        check_loss(ignores_lengths)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8])
def test_r0_targets_any_integer_dtype(dtype: torch.dtype) -> None:
    logits, lengths, tokens, sizes = arguments()
    expected = ctc_loss(logits, lengths, tokens, sizes, blank=3)
    assert torch.equal(ctc_loss(logits, lengths.to(dtype), tokens.clamp(min=0).to(dtype), sizes.to(dtype), blank=3), expected)
    end_to_end = torch.tensor([0, 0, 1, 2], dtype=dtype)
    assert torch.equal(ctc_loss(logits, lengths, end_to_end, sizes, blank=3), expected)


def test_suite_catches_other_plants() -> None:
    def zero_infinity(**given: object) -> Tensor:
        try:
            return ctc_loss(**given)  # type: ignore[arg-type]
        except UserError:
            return torch.zeros(2)

    def native_dtype(**given: object) -> Tensor:
        logits = given["logits"]
        assert isinstance(logits, Tensor)
        return ctc_loss(**given).to(logits.dtype)  # type: ignore[arg-type]

    def scaled_gradient(**given: object) -> Tensor:
        value = ctc_loss(**given)  # type: ignore[arg-type]
        return 2 * value - value.detach()

    for plant, complaint in ((zero_infinity, "infeasible"), (native_dtype, "half_precision"), (scaled_gradient, "gradient")):
        with pytest.raises(AssertionError, match=f"1 checks of the loss failed; {complaint}"):
            check_loss(plant)


@pytest.mark.parametrize(("frames", "classes", "target", "expected"), UNIFORM)
def test_uniform_closed_form(frames: int, classes: int, target: tuple[int, ...], expected: float) -> None:
    tokens, size = torch.tensor([target], dtype=torch.int64).reshape(1, -1), torch.tensor([len(target)])
    repeats = int(required_frames(tokens, size)) - len(target)
    assert uniform_loss(frames, len(target), repeats, classes) == pytest.approx(expected, abs=1e-6)


def test_uniform_loss_of_the_reference_utterances() -> None:
    for frames, symbols, nats in ((51, 28, 126.40), (57, 30, 140.43), (49, 21, 120.22)):
        assert uniform_loss(frames, symbols, 0, 29) == pytest.approx(nats, abs=0.005)
    assert uniform_loss(2, 2, 1, 3) == math.inf


def test_required_frames_counts_only_repeats_inside_the_target() -> None:
    tokens = torch.tensor([[1, 1, 1, 2], [3, 3, 3, 3], [1, 2, 1, 2], [5, 5, 5, 5]])
    assert required_frames(tokens, torch.tensor([4, 2, 4, 0])).tolist() == [6, 3, 4, 0]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(2, 3), st.integers(0, 10_000))
def test_probabilities_of_all_texts(frames: int, classes: int, seed: int) -> None:
    logits = torch.randn(frames, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    texts = enumerate_texts(logits.softmax(-1).numpy(), blank=classes - 1)
    assert sum(texts.values()) == pytest.approx(1.0, abs=1e-12)
    for text, probability in texts.items():
        value = ctc_loss(
            logits[None], torch.tensor([frames]), torch.tensor([[*text, 0]]), torch.tensor([len(text)]),
            blank=classes - 1, reduction="sum", allow_empty=True,
        )  # fmt: skip
        assert math.exp(-float(value)) == pytest.approx(probability, abs=1e-12)


def test_reductions() -> None:
    logits, lengths, tokens, sizes = arguments()
    each = ctc_loss(logits, lengths, tokens, sizes, blank=3, reduction="none")
    assert each.shape == (2,)
    first, second = each.tolist()
    for reduction, expected in {
        "sum": first + second,
        "batch_mean": (first + second) / 2,
        "target_mean": (first / 3 + second / 1) / 2,
        "frame_mean": (first / 9 + second / 6) / 2,
    }.items():
        assert float(CtcLoss(reduction)(Output(logits, lengths), tokens, sizes, 3)) == pytest.approx(expected, rel=1e-6)  # type: ignore[arg-type]
    assert float(CtcLoss()(Output(logits, lengths), tokens, sizes, 3)) == pytest.approx((first / 3 + second) / 2)
    native = nn.functional.ctc_loss(logits.log_softmax(-1).transpose(0, 1), tokens.clamp(min=0), lengths, sizes, blank=3)
    assert float(ctc_loss(logits, lengths, tokens, sizes, blank=3)) == pytest.approx(float(native), rel=1e-6)


def test_registered_with_a_schema() -> None:
    built = registry.build("loss", {"name": "ctc", "reduction": "frame_mean", "allow_empty": True})
    assert (built.reduction, built.allow_empty) == ("frame_mean", True)
    assert "frame_mean" in repr(built)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logit_lengths": [3, 6]}, r'utterance "one" has 3 output frames for 3 symbols with 1 adjacent repeats, which need 4'),
        ({"logit_lengths": [9, 10]}, r'utterance "two" has 10 output frames; expected 1 to 9'),
        ({"logit_lengths": [0, 6]}, r'utterance "one" has 0 output frames'),
        ({"tokens": [[0, 3, 1], [2, -1, -1]]}, r'utterance "one" holds the blank \(class 3\)'),
        ({"tokens": [[0, 0, 1], [4, -1, -1]]}, r'utterance "two" holds a token outside the model\'s classes 0 to 3'),
        ({"tokens": [[0, -1, 1], [2, -1, -1]]}, r'utterance "one" holds a token outside'),
        ({"token_lengths": [3, 0]}, r'utterance "two" has no symbols'),
        ({"token_lengths": [3, 4]}, r'utterance "two" has token length 4 but only 3 tokens'),
        ({"token_lengths": [3, -1]}, r'utterance "two" has a token length of -1'),
        ({"token_lengths": [3]}, r"token lengths: 1 rows for 2 utterances"),
        ({"tokens": [[0.0, 1.0], [2.0, 0.0]]}, r"tokens: expected integers"),
        ({"tokens": [0, 1, 2]}, r"3 tokens end to end, but the token lengths add up to 4"),
    ],
)
def test_refusals_name_the_utterance(change: dict[str, list], message: str) -> None:
    logits, lengths, tokens, sizes = arguments()
    given = {"logit_lengths": lengths, "tokens": tokens, "token_lengths": sizes} | {
        key: torch.tensor(value) for key, value in change.items()
    }
    with pytest.raises(UserError, match=message):
        ctc_loss(logits, **given, blank=3, ids=["one", "two"])


def test_refusals_of_the_call_itself() -> None:
    logits, lengths, tokens, sizes = arguments()
    with pytest.raises(UserError, match="expected one of none, sum"):
        ctc_loss(logits, lengths, tokens, sizes, blank=3, reduction="mean")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="blank: class 4 is outside"):
        ctc_loss(logits, lengths, tokens, sizes, blank=4)
    with pytest.raises(UserError, match="expected floats"):
        ctc_loss(logits[0], lengths, tokens, sizes, blank=3)
    with pytest.raises(UserError, match="ids: 1 for 2"):
        ctc_loss(logits, lengths, tokens, sizes, blank=3, ids=["one"])
    with pytest.raises(UserError, match='reduction "mean": expected'):
        CtcLoss("mean")  # type: ignore[arg-type]


def test_several_offenders_are_counted() -> None:
    with pytest.raises(UserError, match=r'utterance "a" has 2 .*\(also "b", "c", ...: 4 in all\)'):
        ctc_loss(
            torch.zeros(4, 2, 3), torch.full((4,), 2), torch.ones(4, 2, dtype=torch.int64), torch.full((4,), 2), blank=0, ids=list("abcd")
        )


def test_without_the_guard_the_loss_is_infinite_and_the_gradient_is_not_a_number() -> None:
    leaf = torch.zeros(3, 1, 3, requires_grad=True)
    value = nn.functional.ctc_loss(leaf.log_softmax(-1), torch.tensor([[1, 1, 2]]), torch.tensor([3]), torch.tensor([3]), reduction="sum")
    value.backward()
    assert math.isinf(float(value.detach()))
    assert bool(leaf.grad.isnan().any())  # type: ignore[union-attr]


def test_empty_target_is_the_all_blank_output() -> None:
    logits = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(1))
    value = ctc_loss(logits, torch.tensor([4]), torch.zeros(1, 0, dtype=torch.int64), torch.tensor([0]), blank=2, allow_empty=True)
    assert float(value) == pytest.approx(-float(logits.log_softmax(-1)[0, :4, 2].sum()), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_inside_autocast(dtype: torch.dtype) -> None:
    logits, lengths, tokens, sizes = arguments()
    half = logits.to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = ctc_loss(half, lengths, tokens, sizes, blank=3)
    assert value.dtype == torch.float32
    assert torch.equal(value, ctc_loss(half.detach().float(), lengths, tokens, sizes, blank=3))
    value.backward()
    assert half.grad is not None
    assert bool(half.grad.isfinite().all())


def test_float32_is_near_float64_and_float64_stays() -> None:
    logits, lengths, tokens, sizes = arguments()
    wide = ctc_loss(logits.double(), lengths, tokens, sizes, blank=3)
    assert wide.dtype == torch.float64
    assert float(ctc_loss(logits, lengths, tokens, sizes, blank=3)) == pytest.approx(float(wide), rel=1e-6)


def test_never_negative_and_rounding_keeps_the_gradient() -> None:
    """Outputs whose float32 native loss dips to -1e-7 (several alignments that add up to certainty); ours must not."""
    logits = torch.randn(2000, 3, 2, generator=torch.Generator().manual_seed(0))
    logits[:, :, 1] += torch.tensor([2.0, 18.0, 8.0])
    leaf = logits.requires_grad_()
    tokens, sizes, lengths = torch.ones(2000, 1, dtype=torch.int64), torch.full((2000,), 1), torch.full((2000,), 3)
    native = nn.functional.ctc_loss(leaf.log_softmax(-1).transpose(0, 1), tokens, lengths, sizes, reduction="none")
    ours = ctc_loss(leaf, lengths, tokens, sizes, blank=0, reduction="none")
    assert float(native.detach().min()) < 0.0, "the plant no longer produces a negative native loss; choose other outputs"
    assert float(ours.detach().min()) >= 0.0
    assert torch.equal(torch.autograd.grad(ours.sum(), leaf)[0], torch.autograd.grad(native.sum(), leaf)[0])


def test_nan_logits_are_not_hidden() -> None:
    logits, lengths, tokens, sizes = arguments()
    logits[0, 0, 0] = float("nan")
    each = ctc_loss(logits, lengths, tokens, sizes, blank=3, reduction="none")
    assert each.isnan().tolist() == [True, False]


def test_occupancy_against_enumeration() -> None:
    logits = torch.randn(1, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    gamma = occupancy(logits, torch.tensor([5]), torch.tensor([[1, 1]]), torch.tensor([2]), blank=0)
    probabilities = logits.softmax(-1)[0].numpy()
    total = enumerate_texts(probabilities, blank=0)[(1, 1)]
    for frame in range(5):
        for token in range(3):
            held = probabilities.copy()
            held[frame] = np.where(np.arange(3) == token, held[frame], 0.0)
            assert float(gamma[0, frame, token]) == pytest.approx(enumerate_texts(held, blank=0)[(1, 1)] / total, abs=1e-12)


def test_occupancy_is_the_gradient_convention_and_respects_lengths() -> None:
    logits, lengths, tokens, sizes = arguments()
    leaf = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(ctc_loss(leaf, lengths, tokens, sizes, blank=3, reduction="sum"), leaf)
    with torch.no_grad():
        gamma = occupancy(logits, lengths, tokens, sizes, blank=3)
    assert gamma.dtype == torch.float32
    assert not gamma.requires_grad
    assert float((gradient[0] - (logits.softmax(-1) - gamma)[0]).abs().max()) < 1e-5
    assert gamma.sum(-1)[0].tolist() == pytest.approx([1.0] * 9)
    assert gamma.sum(-1)[1].tolist() == pytest.approx([1.0] * 6 + [0.0] * 3)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu() -> None:
    logits, lengths, tokens, sizes = arguments()
    expected = ctc_loss(logits, lengths, tokens, sizes, blank=3, reduction="none")
    with torch.autocast("cuda", dtype=torch.bfloat16):
        value = ctc_loss(logits.cuda(), lengths.cuda(), tokens.cuda(), sizes.cuda(), blank=3, reduction="none")
    assert value.dtype == torch.float32
    assert value.tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    gamma = occupancy(logits.cuda(), lengths, tokens, sizes, blank=3).cpu()
    assert float((gamma - occupancy(logits, lengths, tokens, sizes, blank=3)).abs().max()) < 1e-6


@pytest.mark.parametrize("reduction", ["none", "sum", "batch_mean", "target_mean", "frame_mean"])
def test_order_2_is_the_same_loss_and_has_second_derivatives(reduction: str) -> None:
    logits, lengths, tokens, sizes = arguments()
    leaf = logits.double().requires_grad_()
    once, twice = (CtcLoss(reduction, order=order)(Output(leaf, lengths), tokens, sizes, 3) for order in (1, 2))  # type: ignore[arg-type]
    assert torch.allclose(once, twice, atol=1e-12)
    first, again = (torch.autograd.grad(loss.sum(), leaf, create_graph=True)[0] for loss in (once, twice))
    assert torch.allclose(first, again, atol=1e-12)
    with pytest.raises(RuntimeError, match="not implemented"):
        torch.autograd.grad(first.square().sum(), leaf)
    v, step = torch.randn_like(leaf), 1e-5
    (product,) = torch.autograd.grad(again, leaf, v)

    def gradient(shift: float) -> Tensor:
        moved = (leaf + shift * v).detach().requires_grad_()
        loss = ctc_loss(moved, lengths, tokens, sizes, blank=3, reduction=reduction)  # type: ignore[arg-type]
        return torch.autograd.grad(loss.sum(), moved)[0]

    assert torch.allclose(product, (gradient(step) - gradient(-step)) / (2 * step), atol=1e-8)


def test_order_is_1_or_2() -> None:
    with pytest.raises(UserError, match=r"loss\.order 3: expected 1, or 2"):
        CtcLoss(order=3)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="CTC order 0"):
        ctc_loss(*arguments(), blank=3, order=0)  # type: ignore[arg-type]


def test_order_2_passes_the_conformance_suite() -> None:
    check_loss(lambda **given: ctc_loss(**given, order=2))  # type: ignore[arg-type]
