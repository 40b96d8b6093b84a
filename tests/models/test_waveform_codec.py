"""The codec: every length back whole, every sample under as many frames, and nothing that depends on how loud a recording is."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from auscult.errors import UserError
from auscult.models.waveform_codec import WaveformCodec


def invertible(kernel: int, stride: int) -> WaveformCodec:
    """A codec whose frames hold each sample and its opposite, so that rectifying loses nothing and the way back is exact."""
    codec = WaveformCodec(2 * kernel, kernel, stride)
    both = torch.cat([torch.eye(kernel), -torch.eye(kernel)])
    with torch.no_grad():
        codec.encoder.copy_(both)
        codec.decoder.copy_(both * stride / kernel)
    return codec.double()


@settings(max_examples=60, deadline=None)
@given(samples=st.integers(1, 130), stride=st.integers(1, 9), overlap=st.integers(1, 4))
def test_every_length_comes_back_sample_for_sample(samples: int, stride: int, overlap: int) -> None:
    codec = invertible(stride * overlap, stride)
    mixture = torch.randn(2, samples, dtype=torch.float64)
    encoded, level = codec.encode(mixture)
    assert encoded.shape == (2, 2 * stride * overlap, codec.frames(samples))
    assert torch.allclose(codec.decode(encoded, level, samples), mixture, atol=1e-12)


@pytest.mark.parametrize(("kernel", "stride"), [(2, 1), (16, 8), (12, 4), (5, 5)])
@pytest.mark.parametrize("samples", [1, 15, 16, 17, 100])
def test_every_sample_lies_under_as_many_frames(kernel: int, stride: int, samples: int) -> None:
    codec = WaveformCodec(3, kernel, stride)
    with torch.no_grad():
        codec.decoder.fill_(1.0)
    ones = torch.ones(1, 3, codec.frames(samples))
    assert torch.equal(codec.decode(ones, torch.ones(1, 1), samples), torch.full((1, samples), 3.0 * kernel / stride))


@pytest.mark.parametrize(("kernel", "stride"), [(2, 1), (16, 8), (12, 4)])
def test_agrees_with_the_convolutions_of_torch(kernel: int, stride: int) -> None:
    codec, mixture = WaveformCodec(7, kernel, stride), torch.randn(2, 101)
    encoded, level = codec.encode(mixture)
    before = kernel - stride
    padded = F.pad(mixture / level, (before, kernel + stride)).unsqueeze(1)
    expected = F.conv1d(padded, codec.encoder.unsqueeze(1), stride=stride).relu()[:, :, : codec.frames(101)]
    assert torch.allclose(encoded, expected, atol=1e-6)
    masked = torch.randn(2, 3, *encoded.shape[1:])
    signals = F.conv_transpose1d(masked.flatten(0, 1), codec.decoder.unsqueeze(1), stride=stride)[:, 0, before : before + 101]
    assert torch.allclose(codec.decode(masked, level, 101), signals.view(2, 3, 101) * level.unsqueeze(1), atol=1e-5)


def test_frames_do_not_depend_on_the_level_which_comes_back_at_the_end() -> None:
    codec, mixture = WaveformCodec(8, 4, 2), torch.randn(1, 50)
    encoded, level = codec.encode(mixture)
    for gain in (1e-4, 1e3):
        louder, other_level = codec.encode(gain * mixture)
        assert torch.allclose(louder, encoded, rtol=1e-4, atol=1e-5)
        assert torch.allclose(codec.decode(louder, other_level, 50), gain * codec.decode(encoded, level, 50), rtol=1e-3, atol=1e-4 * gain)


def test_silence_stays_silent_and_has_finite_gradients() -> None:
    codec, mixture = WaveformCodec(8, 4, 2), torch.zeros(2, 50, requires_grad=True)
    encoded, level = codec.encode(mixture)
    signals = codec.decode(encoded, level, 50)
    signals.sum().backward()
    assert not signals.any()
    for tensor in (mixture, codec.encoder, codec.decoder):
        assert isinstance(tensor.grad, Tensor)
        assert tensor.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_does_not_reach_the_codec(dtype: torch.dtype) -> None:
    codec, mixture = WaveformCodec(8, 4, 2), torch.randn(1, 50)
    encoded, level = codec.encode(mixture)
    with torch.autocast("cpu", dtype=dtype):
        other, _ = codec.encode(mixture)
        signals = codec.decode(other.to(dtype), level, 50)
    assert torch.equal(encoded, other)
    assert signals.dtype == torch.float32


def test_kernel_is_a_whole_number_of_strides() -> None:
    with pytest.raises(UserError, match="kernel of 16 samples is no multiple of the stride of 6; use a kernel of 12"):
        WaveformCodec(8, 16, 6)


@pytest.mark.parametrize(("filters", "kernel", "stride"), [(32, 16, 8), (70, 16, 8), (96, 16, 4), (160, 16, 8), (10, 5, 5), (8, 2, 1)])
@pytest.mark.parametrize("samples", [1, 17, 100])
def test_a_codec_that_starts_as_a_transform_hands_a_mixture_through(filters: int, kernel: int, stride: int, samples: int) -> None:
    codec = WaveformCodec(filters, kernel, stride, start="transform")
    mixture = torch.randn(2, samples)
    encoded, level = codec.encode(mixture)
    assert torch.allclose(codec.decode(encoded, level, samples), mixture, atol=2e-6)


def test_too_few_filters_cannot_start_as_a_transform() -> None:
    with pytest.raises(UserError, match=r"31 filters of 16 samples cannot start as a transform.*use 32 filters or more"):
        WaveformCodec(31, 16, 8, start="transform")


def test_every_filter_of_a_transform_is_learned() -> None:
    """Filters that are left over start silent in the decoder, and must not stay so."""
    codec = WaveformCodec(70, 16, 8, start="transform")
    mixture = torch.randn(2, 200)
    encoded, level = codec.encode(mixture)
    (codec.decode(encoded, level, 200) - torch.randn(2, 200)).square().sum().backward()
    for weight in (codec.encoder, codec.decoder):
        assert weight.grad is not None
    assert bool((codec.decoder.grad.abs().sum(1) > 0).all())
