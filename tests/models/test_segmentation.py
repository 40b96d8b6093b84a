"""The segmentation model: exact frames, no padding in any of them, log-probabilities that add up."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from auscult.errors import UserError
from auscult.losses.powerset import Powerset, permutation_free_loss
from auscult.models.segmentation import PowersetSegmentation
from auscult.registry import build
from auscult.specification import Specification

POWERSET = Powerset(3, 2)
SPECIFICATION = Specification("diarization", 16000, POWERSET.labels, sources=3)


def make(**arguments: object) -> PowersetSegmentation:
    torch.manual_seed(0)
    section = {"name": "powerset_segmentation", "channels": 16, "blocks": 2, "attention": 1, **arguments}
    model: PowersetSegmentation = build("model", section, specification=SPECIFICATION, sample_rate=16000)
    return model.eval()


def noise(*lengths: int, extra: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    samples = torch.zeros(len(lengths), max(lengths) + extra)
    for row, length in zip(samples, lengths, strict=True):
        row[:length] = 0.1 * torch.randn(length, generator=generator)
    return samples, torch.tensor(lengths)


def test_size_is_small() -> None:
    for arguments in ({}, {"channels": 192, "blocks": 10, "attention": 3}):
        model = build("model", {"name": "powerset_segmentation", **arguments}, specification=SPECIFICATION, sample_rate=16000)
        assert sum(parameter.numel() for parameter in model.parameters()) <= 3_000_000


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("fold", [1, 2, 3])
def test_lengths_are_promised_and_kept(stride: int, fold: int) -> None:
    model = make(stride=stride, fold=fold)
    for samples in [model.minimum_samples, *range(1600, 3300, 157)]:
        scores, lengths = model(*noise(samples))
        assert scores.shape == (1, int(lengths[0]), 7)
        assert int(lengths[0]) == int(model.output_lengths(torch.tensor([samples]))[0]) == len(model.frame_centres(int(lengths[0])))
        assert (
            float(model.frame_centres(int(lengths[0]))[-1])
            <= samples / 16000
            < len(model.frame_centres(int(lengths[0]))) * model.frame_step
        )


def test_log_probabilities_add_up_and_start_near_uniform() -> None:
    scores, lengths = make()(*noise(32000, 20000))
    assert torch.allclose(scores[0].exp().sum(dim=1), torch.ones(scores.shape[1]), atol=1e-5)
    assert float((scores[1, : lengths[1]] + math.log(7)).abs().max().detach()) < 0.3


@pytest.mark.parametrize("arguments", [{}, {"fold": 1}, {"attention": 0}, {"stride": 3}])
def test_padding_and_neighbours_never_leak(arguments: dict[str, int]) -> None:
    model = make(**arguments)
    with torch.no_grad():
        model.fc.weight.mul_(50)  # a fresh head is nearly uniform, and would hide a leak
    samples, lengths = noise(24000, 16321, 8000, extra=3000)
    samples[torch.arange(samples.shape[1]) >= lengths[:, None]] = 0.7
    together, frames = model(samples, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = model(samples[row : row + 1, :length], lengths[row : row + 1]).logits[0]
        assert int(frames[row]) == len(alone)
        assert float((together[row, : len(alone)] - alone).abs().max()) < 2e-5
        assert not together[row, len(alone) :].any()


def test_gradients_reach_every_parameter() -> None:
    model = make().train()
    scores, lengths = model(*noise(16000, 12000))
    activity = (torch.rand(2, scores.shape[1], 3, generator=torch.Generator().manual_seed(0)) > 0.7).float()
    permutation_free_loss(scores, lengths, activity, POWERSET)[0].sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.any()), name


def reach(model: PowersetSegmentation, frame: int, samples: Tensor) -> tuple[int, int]:
    """First and last sample that move an output frame."""
    moving = samples.clone().requires_grad_()
    scores = model(moving, torch.tensor([samples.shape[1]])).logits
    (scores[0, frame] * torch.linspace(-1, 1, 7)).sum().backward()
    assert moving.grad is not None
    touched = moving.grad[0].nonzero().flatten()
    return int(touched[0]), int(touched[-1])


def grid_error(model: PowersetSegmentation, frames: tuple[int, ...] = (20, 40, 80)) -> float:
    """Return the largest distance, in seconds, of the middle of what a frame sees from the instant it is said to stand for."""
    samples, _ = noise(32000)
    centres = model.frame_centres(200)
    middles = [sum(reach(model, frame, samples)) / 2 / 16000 for frame in frames]
    return max(abs(middle - float(centres[frame])) for frame, middle in zip(frames, middles, strict=True))


def test_a_frame_stands_for_the_middle_of_what_it_sees_and_a_grid_five_per_cent_off_is_caught() -> None:
    model = make(attention=0, fold=1)
    assert grid_error(model) < 1e-4
    wrong = copy.copy(model)
    wrong.__class__ = type("Wrong", (PowersetSegmentation,), {"frame_centres": lambda self, frames: torch.arange(frames) * 0.021})
    assert grid_error(wrong) > 0.01


@settings(max_examples=10)
@given(steps=st.integers(1, 12), fold=st.sampled_from([1, 2]))
def test_later_samples_are_later_frames(steps: int, fold: int) -> None:
    """A window that starts k inner steps later shows the same frames k steps earlier, away from its edges."""
    model = make(attention=0, fold=fold)
    samples, lengths = noise(40000)
    shift = steps * fold * round(model.frame_step * 16000)
    whole = model(samples, lengths).logits[0]
    later = model(samples[:, shift:], lengths - shift).logits[0]
    edge = 30
    middle = slice(edge, len(later) - edge)
    assert torch.allclose(whole[steps * fold :][: len(later)][middle], later[middle], atol=1e-5)


def test_learns_who_speaks_when() -> None:
    """Two tones are two speakers; the order in which they come first changes from window to window."""
    model = make(channels=32, attention=1, fold=1, front_end={"name": "log_mel", "mel_bins": 20, "normalise": "none"}).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    random = torch.Generator().manual_seed(0)
    time = torch.arange(16000) / 16000
    losses = []
    for _ in range(60):
        activity = torch.zeros(4, 51, 2)
        samples = 1e-3 * torch.randn(4, 16000, generator=random)
        for row in range(4):
            for speaker in range(2):
                start = int(torch.randint(0, 26, (1,), generator=random))
                activity[row, start : start + 25, speaker] = 1
                inside = (time >= start * 0.02) & (time < (start + 25) * 0.02)
                samples[row] += 0.1 * inside * torch.sin(2 * math.pi * (300, 900)[speaker] * time)
        scores, lengths = model(samples, torch.full((4,), 16000))
        loss = permutation_free_loss(scores, lengths, activity, POWERSET)[0].sum() / lengths.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[0] > 1.5
    assert sum(losses[-5:]) / 5 < 0.5


def test_bad_settings_are_named() -> None:
    with pytest.raises(UserError, match="must be odd"):
        make(kernel=4)
    with pytest.raises(UserError, match="use 20"):
        make(channels=18)
    with pytest.raises(UserError, match="kaldi: false"):
        make(front_end={"name": "log_mel", "kaldi": True})
