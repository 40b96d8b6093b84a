from __future__ import annotations

import pytest
import torch

from auscult.errors import UserError
from auscult.models.small_tdnn import SmallTdnn
from auscult.registry import build
from auscult.testing.speaker_encoders import check_speaker_encoder


def small_tdnn(sample_rate: int = 16000, **arguments: object) -> SmallTdnn:
    torch.manual_seed(0)
    encoder: SmallTdnn = build("model", {"name": "small_tdnn", **arguments}, sample_rate=sample_rate)
    return encoder


@pytest.mark.parametrize("sample_rate", [8000, 16000])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_conformance(sample_rate: int, stride: int) -> None:
    check_speaker_encoder(small_tdnn(sample_rate, channels=16, blocks=5, wide=24, stride=stride, dimensions=12), sample_rate)


def test_default_size() -> None:
    assert sum(parameter.numel() for parameter in small_tdnn().parameters()) == 583_840


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_sizes_are_under_two_million_parameters(size: str) -> None:
    arguments = SmallTdnn.SIZES[size]["model"]
    assert sum(parameter.numel() for parameter in small_tdnn(**arguments).parameters()) < 2_000_000


def test_the_long_term_spectrum_is_kept_by_default() -> None:
    assert small_tdnn().front_end.normalise == "utterance"
    assert small_tdnn(front_end={"name": "log_mel"}).front_end.normalise == "bin"


def test_frame_step_follows_the_stride() -> None:
    encoder = small_tdnn(stride=3)
    assert encoder.frame_step == pytest.approx(0.03)
    encoded = encoder.encode(encoder.features(torch.randn(1, 16000), torch.tensor([16000])))
    assert encoded.lengths.tolist() == [34]
    assert encoded.values.shape == (1, 384, 34)


@pytest.mark.parametrize("milliseconds", [0, 1, 24, 25, 100])
def test_very_short_audio(milliseconds: int) -> None:
    encoder, samples = small_tdnn().eval(), 16 * milliseconds
    lengths = torch.tensor([samples])
    if samples < encoder.minimum_samples:
        with pytest.raises(UserError, match="needs at least"):
            encoder(torch.randn(1, max(samples, 1)), lengths)
    else:
        assert encoder(torch.randn(1, samples), lengths).isfinite().all()


def test_learns_four_voices_quickly() -> None:
    encoder = small_tdnn(8000, channels=32, blocks=2, wide=48, dimensions=16).train()
    time = torch.arange(8000) / 8000
    pitch = torch.tensor([100.0, 140.0, 180.0, 220.0]).repeat_interleave(4)
    samples = 0.1 * torch.sin(2 * torch.pi * pitch[:, None] * time * 5) + 0.01 * torch.randn(16, 8000)
    labels, head = torch.arange(4).repeat_interleave(4), torch.nn.Linear(16, 4)
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=3e-3)
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(head(encoder(samples, torch.full((16,), 8000))), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
