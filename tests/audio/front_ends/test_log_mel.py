"""Kaldi parity against the published fixture, the plain form, and the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from auscult.audio.front_ends.log_mel import LogMel, log_mel
from auscult.audio.reading import read_audio
from auscult.errors import UserError
from auscult.registry import build
from auscult.testing.front_ends import check_front_end


def kaldi_text(path: Path) -> np.ndarray:
    lines = path.read_text().replace("1  [", "").replace("]", "").splitlines()
    return np.array([[float(word) for word in line.split()] for line in lines if line.strip()])


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("kaldi", [False, True])
@pytest.mark.parametrize("normalise", ["utterance", "bin", "none"])
def test_conforms(rate: int, kaldi: bool, normalise: str) -> None:
    check_front_end(build("front_end", {"name": "log_mel", "kaldi": kaldi, "normalise": normalise}, sample_rate=rate))


@pytest.mark.parametrize("gradient", [False, True], ids=["blockwise", "differentiable"])
def test_kaldi_fixture(data_pack: Path, gradient: bool) -> None:
    folder = data_pack / "fixtures" / "kaldi_feats"
    expected = kaldi_text(folder / "test.txt")
    samples, rate = read_audio(folder / "test.wav")
    front_end = LogMel(rate, mel_bins=23, kaldi=True, normalise="none")
    batch = torch.from_numpy(np.pad(samples, (0, 999)))[None].requires_grad_(gradient)
    values, frames = front_end(batch, torch.tensor([len(samples)]))
    assert int(frames) == len(expected)
    assert np.abs(values[0, : len(expected)].detach().numpy() - expected).max() <= 0.02


def test_plain_form_equals_its_definition() -> None:
    samples = 0.1 * torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    front_end = LogMel(16000, normalise="none")
    # torch puts the window of 400 into the middle of 512 points, 56 after the start; ours begins 200 before sample t * 160
    shifted = torch.nn.functional.pad(samples, (256, 0))
    power = torch.stft(shifted[0], 512, 160, 400, torch.hann_window(400), center=False, return_complex=True).abs().square()
    expected = (power.T @ front_end.mel).clamp_min(1e-10).log()
    values = front_end(samples, torch.tensor([16000])).values[0]
    assert (values[2 : len(expected)] - expected[2:]).abs().max() < 1e-3


def test_normalised_bins_have_mean_zero_and_deviation_one() -> None:
    samples = 0.1 * torch.randn(2, 16000, generator=torch.Generator().manual_seed(0))
    values, frames = LogMel(16000)(samples, torch.tensor([16000, 8000]))
    for row, count in zip(values, frames.tolist(), strict=True):
        assert row[:count].mean(0).abs().max() < 1e-4
        assert (row[:count].std(0) - 1).abs().max() < 1e-3


def test_silence_is_the_floor() -> None:
    values = LogMel(16000, normalise="none")(torch.zeros(1, 16000), torch.tensor([16000])).values
    assert torch.allclose(values, torch.tensor(1e-10).log().expand_as(values))


def test_too_many_filters_are_refused() -> None:
    with pytest.raises(UserError, match="mel_bins: 200 filters are too many"):
        LogMel(16000, mel_bins=200)


def test_picture_shows_a_tone_where_it_is() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    picture = log_mel(tone, 16000)
    assert picture.shape == (101, 80)
    assert picture.dtype == np.float32
    edges = 700 * np.expm1(np.linspace(np.log1p(20 / 700), np.log1p(8000 / 700), 82))
    loudest = int(picture.mean(0).argmax())
    assert edges[loudest] < 1000 < edges[loudest + 2]
    assert log_mel(np.zeros(5, np.float32), 22050).min() >= -100.001
