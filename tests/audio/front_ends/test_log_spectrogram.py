"""R0's features: equal to torch.stft, the same alone and in a batch, at both rates."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from auscult.audio.front_ends.log_spectrogram import LogSpectrogram
from auscult.audio.reading import read_audio
from auscult.errors import UserError
from auscult.registry import build
from auscult.testing.front_ends import check_front_end


def by_stft(samples: Tensor, window: int = 512, step: int = 320) -> Tensor:
    """The definition, for one utterance without padding."""
    spectrum = torch.stft(samples, window, step, window, torch.hann_window(window), center=True, pad_mode="reflect", return_complex=True)
    values = spectrum.abs().log1p().T
    return (values - values.mean()) / values.std()


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("normalise", ["utterance", "bin", "none"])
def test_conforms(rate: int, normalise: str) -> None:
    check_front_end(build("front_end", {"name": "log_spectrogram", "normalise": normalise}, sample_rate=rate))


@pytest.mark.parametrize("gradient", [False, True], ids=["blockwise", "differentiable"])
def test_equals_torch_stft_on_real_speech(data_pack: Path, gradient: bool) -> None:
    """The deviation and the reflection are each utterance's own, in a batch of different lengths."""
    files = sorted((data_pack / "LibriSpeech").rglob("*.flac"))[:4]
    speech = [torch.from_numpy(read_audio(file)[0])[: 16000 * (3 + 2 * index) + 7] for index, file in enumerate(files)]
    lengths = torch.tensor([len(samples) for samples in speech])
    batch = torch.nn.utils.rnn.pad_sequence(speech, batch_first=True).requires_grad_(gradient)
    values, frames = LogSpectrogram(16000)(batch, lengths)
    assert values.requires_grad == gradient
    for index, samples in enumerate(speech):
        expected = by_stft(samples)
        assert int(frames[index]) == len(expected) == 1 + len(samples) // 320
        assert (values[index, : len(expected)] - expected).abs().max() < 1e-5
        assert not values[index, len(expected) :].any()


def test_long_and_many_utterances_cross_block_borders() -> None:
    generator = torch.Generator().manual_seed(3)
    for shape in ((1, 16000 * 12), (40, 4000), (3, 16000 * 6 + 123)):
        samples = 0.1 * torch.randn(shape, generator=generator)
        values = LogSpectrogram(16000)(samples, torch.full(shape[:1], shape[1])).values
        assert max(float((row - by_stft(one)).abs().max()) for row, one in zip(values, samples, strict=True)) < 1e-5


@pytest.mark.parametrize(("frames", "seconds"), [(112, 2.23), (123, 2.45), (107, 2.13)])
def test_frames_of_the_reference_experiment(frames: int, seconds: float) -> None:
    assert int(LogSpectrogram(16000).frames(torch.tensor(round(seconds * 16000)))) == frames


def test_myrtle_settings_and_bins() -> None:
    assert LogSpectrogram(16000, window=0.020, step=0.010).bins == 161
    assert LogSpectrogram(8000).bins == 129
    samples = 0.1 * torch.randn(1, 16001, generator=torch.Generator().manual_seed(0))
    values = LogSpectrogram(16000, window=0.020, step=0.010)(samples, torch.tensor([16001])).values[0]
    assert (values - by_stft(samples[0], 320, 160)).abs().max() < 1e-5


def test_silence_is_zero_and_a_shortest_clip_has_frames() -> None:
    front_end = LogSpectrogram(16000)
    assert not front_end(torch.zeros(1, 16000), torch.tensor([16000])).values.any()
    shortest = 0.1 * torch.randn(1, 257, generator=torch.Generator().manual_seed(0))
    assert (front_end(shortest, torch.tensor([257])).values[0] - by_stft(shortest[0])).abs().max() < 1e-5
    assert int(front_end.frames(torch.tensor(256))) == 0


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UserError, match=r"window: 0\.03205 s is 512\.8 samples at 16000 Hz; choose a whole number, such as 0\.032 or"):
        LogSpectrogram(16000, window=0.03205)
    with pytest.raises(UserError, match="would skip samples"):
        LogSpectrogram(16000, window=0.020, step=0.032)


def test_state_is_empty_and_half_precision_input_is_computed_in_float32() -> None:
    front_end = LogSpectrogram(16000)
    assert not front_end.state_dict()
    samples = 0.1 * torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    values = front_end(samples.half(), torch.tensor([16000])).values
    assert torch.equal(values, front_end(samples.half().float(), torch.tensor([16000])).values)


def test_input_gradient_equals_that_of_torch_stft() -> None:
    samples = 0.1 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    weights = torch.randn(26, 257, generator=torch.Generator().manual_seed(1))
    gradients = []
    for compute in (lambda x: LogSpectrogram(16000)(x, torch.tensor([8000])).values[0], lambda x: by_stft(x[0])):
        watched = samples.clone().requires_grad_()
        gradients.append(torch.autograd.grad((compute(watched) * weights).sum(), watched)[0])
    assert (gradients[0] - gradients[1]).abs().max() < 1e-4 * gradients[1].abs().max()


def test_exports_with_dynamic_batch_and_time() -> None:
    batch, time = torch.export.Dim("batch", min=1, max=64), torch.export.Dim("time", min=1000, max=100_000)
    example = (0.1 * torch.randn(2, 16000), torch.tensor([16000, 9000]))
    program = torch.export.export(LogSpectrogram(16000), example, dynamic_shapes=({0: batch, 1: time}, {0: batch}))
    samples = 0.1 * torch.randn(1, 20_000, generator=torch.Generator().manual_seed(0))
    values, frames = program.module()(samples, torch.tensor([20_000]))
    assert int(frames) == 63
    assert (values[0] - by_stft(samples[0])).abs().max() < 1e-5


def test_works_inside_function_transforms() -> None:
    """Per-utterance gradients by `vmap` look at no value on the way."""
    samples = 0.1 * torch.randn(3, 8000, generator=torch.Generator().manual_seed(0))
    front_end = LogSpectrogram(16000)
    length = torch.tensor([8000])
    mapped = torch.func.vmap(torch.func.grad(lambda one: front_end(one[None], length).values.pow(4).sum()))(samples)
    watched = samples.clone().requires_grad_()
    (expected,) = torch.autograd.grad(front_end(watched, length.expand(3)).values.pow(4).sum(), watched)
    assert (mapped - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.cuda
def test_on_cuda() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    samples = 0.1 * torch.randn(2, 16000, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([16000, 9001])
    front_end = LogSpectrogram(16000)
    expected = front_end(samples, lengths).values
    made = front_end.cuda()(samples.cuda(), lengths.cuda()).values
    assert (made.cpu() - expected).abs().max() < 1e-4
