"""Dual paths: joining what was split is the identity, with no chunk too many; masks start open."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from auscult.errors import UserError
from auscult.models.dual_path import DualPathBlock, DualPathMasks, join_chunks, split_chunks


def sums_two_copies(chunks: Tensor, time: int) -> Tensor:
    """Overlap-add as published: the two copies of a frame are added, not halved."""
    return 2 * join_chunks(chunks, time)


def chunks_of_speechbrain(time: int, chunk: int) -> int:
    """Chunks where the padding is `K - (P + L % K) % K`, a whole chunk too many for an aligned length."""
    half = chunk // 2
    gap = chunk - (half + time % chunk) % chunk
    return (time + gap + 2 * half - chunk) // half + 1


@settings(max_examples=150, deadline=None)
@given(time=st.integers(1, 310), half=st.integers(1, 60), dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
def test_joining_what_was_split_is_the_identity(time: int, half: int, dtype: torch.dtype) -> None:
    frames = torch.randn(2, time, 3).to(dtype)
    assert torch.equal(join_chunks(split_chunks(frames, 2 * half), time), frames)


@pytest.mark.parametrize("chunk", [2, 4, 6, 100])
def test_identity_for_every_length_up_to_three_chunks(chunk: int) -> None:
    for time in range(1, 3 * chunk + 1):
        frames = torch.randn(1, time, 2)
        assert torch.equal(join_chunks(split_chunks(frames, chunk), time), frames)


def test_identity_notices_copies_that_are_added_up() -> None:
    frames = torch.randn(1, 10, 2)
    assert not torch.allclose(sums_two_copies(split_chunks(frames, 4), 10), frames)


@pytest.mark.parametrize("chunk", [4, 6, 100, 250])
def test_every_frame_lies_in_two_chunks_and_no_chunk_is_empty(chunk: int) -> None:
    for time in (1, chunk // 2, chunk // 2 + 1, chunk - 1, chunk, chunk + 1, 3 * chunk, 3 * chunk + 1):
        chunks = split_chunks(torch.arange(1.0, time + 1).view(1, time, 1), chunk)
        held = torch.bincount(chunks.flatten().long(), minlength=time + 1)[1:]
        assert held.eq(2).all()
        assert chunks.flatten(2).ne(0).any(2).all(), "a chunk of nothing but padding"
        assert chunks.shape[1] == -(-time // (chunk // 2)) + 1


def test_an_aligned_length_is_not_padded() -> None:
    chunks = split_chunks(torch.ones(1, 125, 1), 250)
    assert chunks.shape[1] == 2
    assert int(chunks.sum()) == chunks.numel() // 2  # half of the first chunk and half of the last, and no gap
    assert chunks_of_speechbrain(125, 250) == 4


def test_splitting_carries_gradients_and_keeps_nothing() -> None:
    frames = torch.randn(1, 7, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda given: split_chunks(given, 4).square(), (frames,))
    chunks = torch.randn(1, 5, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda given: join_chunks(given, 7).square(), (chunks,))


class Sums(nn.Module):
    """Adds up along time: shows which frames a path connects."""

    def forward(self, values: Tensor) -> Tensor:
        return values.cumsum(1)


def test_paths_run_along_chunk_and_along_chunks() -> None:
    values = torch.randn(2, 5, 4, 3)
    block = DualPathBlock(3, Sums(), Sums())
    block.within_norm, block.across_norm = nn.Identity(), nn.Identity()  # type: ignore[assignment]
    inner = values + values.cumsum(2)
    assert torch.allclose(block(values), inner + inner.cumsum(1), atol=1e-5)


def masks(filters: int = 12, sources: int = 2, chunk: int = 6, bottleneck: int = 8, **arguments: str) -> DualPathMasks:
    mask = arguments.get("mask", "relu")
    return DualPathMasks(filters, bottleneck, sources, chunk, [(nn.Identity(), nn.Identity())], mask)  # type: ignore[arg-type]


def test_streams_are_made_of_frames_as_they_would_be_of_chunks() -> None:
    """The 1x1 convolution to several streams commutes with joining, offset included."""
    layer, chunks = nn.Linear(4, 6), torch.randn(2, 5, 6, 4)
    assert torch.allclose(layer(join_chunks(chunks, 11)), join_chunks(layer(chunks), 11), atol=1e-6)


@pytest.mark.parametrize(("filters", "bottleneck"), [(1, 1), (3, 2), (64, 64)])
def test_masks_start_open(filters: int, bottleneck: int) -> None:
    for seed in range(20):
        torch.manual_seed(seed)
        model = masks(filters=filters, bottleneck=bottleneck)
        found = model(torch.rand(2, filters, 40))
        assert found.shape == (2, 2, filters, 40)
        assert bool((found.amax((2, 3)) > 0.05).all())
        found.sum().backward()
        gradient = model.out.weight.grad
        assert gradient is not None
        assert gradient.any()


def test_masks_that_start_closed_are_what_opening_prevents() -> None:
    torch.manual_seed(0)
    model = masks()
    with torch.no_grad():
        model.value.bias.fill_(5.0)
        model.out.weight.copy_(-model.out.weight.abs())
    found = model(torch.rand(2, 12, 40))
    assert not found.any()
    found.sum().backward()
    assert model.out.weight.grad is None or not model.out.weight.grad.any()


def test_sigmoid_masks_lie_between_zero_and_one() -> None:
    found = masks(mask="sigmoid")(torch.rand(2, 12, 40))
    assert 0 < float(found.min().detach()) < float(found.max().detach()) < 1


@pytest.mark.parametrize("chunk", [1, 7])
def test_odd_chunk_is_refused(chunk: int) -> None:
    with pytest.raises(UserError, match=f"chunk is {chunk} frames and must be even, because chunks overlap by half; use {chunk + 1}"):
        masks(chunk=chunk)
