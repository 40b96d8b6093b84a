"""voxceleb_trainer's features against a slow reference, in float64 and with the padding torchaudio makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from auscult.audio.front_ends.short_time import ShortTime
from auscult.audio.front_ends.voxceleb_mel import VoxcelebMel
from auscult.audio.reading import read_audio
from auscult.errors import UserError
from auscult.registry import build
from auscult.testing.front_ends import check_front_end


def triangle(frequency: float, left: float, peak: float, right: float) -> float:
    if left < frequency <= peak:
        return (frequency - left) / (peak - left)
    return (right - frequency) / (right - peak) if peak < frequency < right else 0.0


def reference(samples: np.ndarray, mel_bins: int, pre_emphasis: float, log_input: bool) -> np.ndarray:
    """The published front-end at 16 kHz, frame by frame: (frames, mel_bins)."""
    wave = samples.astype(np.float64)
    if pre_emphasis:
        wave = wave - pre_emphasis * np.concatenate([wave[1:2], wave[:-1]])
    padded = np.pad(wave, 256, mode="reflect")
    window = np.zeros(512)
    window[56:456] = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(400) / 400)
    corners = [700 * (10 ** (mel / 2595) - 1) for mel in np.linspace(0, 2595 * np.log10(1 + 8000 / 700), mel_bins + 2)]
    filters = np.array([[triangle(bin_ * 16000 / 512, *corners[index : index + 3]) for index in range(mel_bins)] for bin_ in range(257)])
    frames = []
    for start in range(0, len(wave) + 1, 160):
        power = np.abs(np.fft.rfft(padded[start : start + 512] * window)) ** 2
        frames.append(power @ filters + 1e-6)
    values = np.log(frames) if log_input else np.array(frames)
    return (values - values.mean(0)) / np.sqrt(values.var(0) + 1e-5)


@pytest.fixture
def voice(data_pack: Path) -> np.ndarray:
    samples, rate = read_audio(sorted((data_pack / "librispeech_1utt").rglob("*.flac"))[0])
    assert rate == 16000
    return samples[8000 : 8000 + 32240]


@pytest.mark.parametrize("gradient", [False, True], ids=["blockwise", "differentiable"])
@pytest.mark.parametrize(("mel_bins", "pre_emphasis", "log_input"), [(64, 0.97, True), (40, 0.0, True), (40, 0.0, False)])
def test_equals_the_published_front_end(voice: np.ndarray, gradient: bool, mel_bins: int, pre_emphasis: float, log_input: bool) -> None:
    expected = reference(voice, mel_bins, pre_emphasis, log_input)
    front_end = VoxcelebMel(16000, mel_bins, pre_emphasis, log_input)
    batch = torch.from_numpy(np.pad(voice, (0, 777)))[None].requires_grad_(gradient)
    values, frames = front_end(batch, torch.tensor([len(voice)]))
    assert int(frames) == len(expected) == 202
    assert np.abs(values[0, :202].detach().numpy() - expected).max() < 2e-3
    assert np.corrcoef(values[0, :202].detach().numpy().ravel(), expected.ravel())[0, 1] > 0.999999


def test_the_reference_notices_each_part(voice: np.ndarray) -> None:
    """Every part that could be forgotten moves features by far more than the tolerance above."""
    expected = reference(voice, 64, 0.97, True)
    lengths, samples = torch.tensor([len(voice)]), torch.from_numpy(voice.copy())[None]
    hann = VoxcelebMel(16000)
    hann.short_time = ShortTime(16000, 0.025, 0.010, power_of_two=True)
    for wrong in (VoxcelebMel(16000, pre_emphasis=0.0), VoxcelebMel(16000, log_input=False), hann):
        assert np.abs(wrong(samples, lengths).values[0].numpy() - expected).max() > 0.1


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("arguments", [{"mel_bins": 40}, {"mel_bins": 40, "pre_emphasis": 0.0}, {"mel_bins": 40, "log_input": False}])
def test_conforms(rate: int, arguments: dict[str, object]) -> None:
    check_front_end(build("front_end", {"name": "voxceleb_mel", **arguments}, sample_rate=rate), tolerance=5e-6)


def test_too_many_filters_are_refused() -> None:
    with pytest.raises(UserError, match="mel_bins: 200 filters are too many"):
        VoxcelebMel(16000, mel_bins=200)


def test_one_constant_bin_gives_zeros() -> None:
    values, frames = VoxcelebMel(16000)(torch.zeros(2, 16000), torch.tensor([16000, 400]))
    assert frames.tolist() == [101, 3]
    assert not values.any()
