"""Conformance of front-ends: what a model may rely on, for our own and anybody's.

Problem: a front-end that breaks its contract (a frame count that is off by one, padding that leaks in) trains, and only the
results are wrong. Choice: one function that third parties call in one test; it fails with a sentence.
"""

from __future__ import annotations

import torch
from torch import Tensor

from auscult.audio.front_end import Features, FrontEnd

TOLERANCE = 1e-6
"""Largest difference that padding or neighbours may make: rounding, and nothing else."""


def check_front_end(front_end: FrontEnd, tolerance: float = TOLERANCE) -> None:
    """Check a front-end on noise of several lengths.

    Checked: type and shape, `bins`, `frames()` against what is returned and 0 below `minimum_samples`, independence of padding and
    of neighbours (also when the padding is NaN), zeros beyond the lengths, finite features and gradients (digital silence
    included), the same values when a gradient is asked for, float32 under autocast, nothing random, no trainable parameters.

    Args:
        front_end: any `FrontEnd`; it is used as it is, on the CPU.
        tolerance: largest difference that padding may make, times the largest feature where that is above 1.

    Raises:
        AssertionError: what does not hold, in a sentence.
    """
    rate, least = front_end.sample_rate, front_end.minimum_samples
    lengths = torch.tensor([rate, least, rate + rate // 3, max(least, rate // 2 + 1)])
    generator = torch.Generator().manual_seed(0)
    samples = 0.1 * torch.randn(len(lengths), int(lengths.max()), generator=generator)
    samples[torch.arange(samples.shape[1]) >= lengths[:, None]] = float("nan")
    features = front_end(samples, lengths)
    _check_shapes(front_end, features, lengths)
    _check_independence(front_end, features, samples, lengths, tolerance)
    _check_gradient(front_end, features, samples, lengths)
    again = front_end(samples, lengths).values
    assert torch.equal(again, features.values), "the same samples gave other features the second time"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        halved = front_end(samples, lengths).values
    assert halved.dtype == torch.float32, f"under autocast the features are {halved.dtype}; compute them in float32"
    assert torch.equal(halved, features.values), "under autocast the features are other ones; compute them in float32"
    trainable = [name for name, parameter in front_end.named_parameters() if parameter.requires_grad]
    assert not trainable, f"trainable parameters in a front-end: {', '.join(trainable)}; use buffers"


def _check_shapes(front_end: FrontEnd, features: Features, lengths: Tensor) -> None:
    values = features.values
    assert values.dtype == torch.float32, f"features are {values.dtype}, expected float32"
    assert features.lengths.dtype == torch.int64, f"lengths are {features.lengths.dtype}, expected int64"
    assert values.ndim == 3, f"features have shape {tuple(values.shape)}, expected (batch, frames, bins)"
    assert values.shape[2] == front_end.bins, f"features have {values.shape[2]} bins, .bins says {front_end.bins}"
    assert values.shape[1] == int(features.lengths.max()), (
        f"{values.shape[1]} frames, the longest utterance has {int(features.lengths.max())}"
    )
    promised = front_end.frames(lengths)
    assert torch.equal(promised, features.lengths), f"frames() promised {promised.tolist()}, the lengths are {features.lengths.tolist()}"
    assert promised.min() >= 1, f"an utterance of minimum_samples = {front_end.minimum_samples} has no frame"
    too_short = int(front_end.frames(torch.tensor(front_end.minimum_samples - 1)))
    assert too_short == 0, f"frames() promises {too_short} below minimum_samples, expected 0"
    assert torch.isfinite(values).all(), "features are not finite; does padding leak in?"
    beyond = values[torch.arange(values.shape[1]) >= features.lengths[:, None]]
    assert not beyond.any(), "features beyond the lengths are not zero"
    steps = features.lengths.max() * front_end.frame_step * front_end.sample_rate / lengths.max()
    assert 0.8 < steps < 1.2, (
        f"frame_step = {front_end.frame_step} s does not fit {int(features.lengths.max())} frames of {int(lengths.max())} samples"
    )


def _check_independence(front_end: FrontEnd, features: Features, samples: Tensor, lengths: Tensor, tolerance: float) -> None:
    limit = tolerance * max(1.0, float(features.values.abs().max()))
    for index, length in enumerate(lengths.tolist()):
        alone = front_end(samples[index : index + 1, :length], lengths[index : index + 1]).values[0]
        difference = float((features.values[index, : len(alone)] - alone).abs().max())
        assert difference <= limit, (
            f"an utterance of {length} samples differs by {difference:.2g} alone and in a padded batch; limit {limit:.2g}"
        )


def _check_gradient(front_end: FrontEnd, features: Features, samples: Tensor, lengths: Tensor) -> None:
    silence = torch.zeros(1, front_end.sample_rate)
    silent = front_end(silence, torch.tensor([front_end.sample_rate])).values
    assert torch.isfinite(silent).all(), "digital silence gives features that are not finite"
    for waveform, length in ((samples, lengths), (silence, torch.tensor([front_end.sample_rate]))):
        watched = waveform.clone().requires_grad_()
        with torch.enable_grad():
            values = front_end(watched, length).values
            (gradient,) = torch.autograd.grad(values.square().sum(), watched)
        assert torch.isfinite(gradient).all(), "the gradient of the features is not finite"
        outside = gradient[torch.arange(gradient.shape[1]) >= length[:, None]]
        assert not outside.any(), "features depend on samples beyond the length"
    watched = samples.clone().requires_grad_()
    difference = float((front_end(watched, lengths).values.detach() - features.values).abs().max())
    assert difference <= 1e-3 * max(1.0, float(features.values.abs().max())), (
        f"features differ by {difference:.2g} when a gradient is asked for"
    )
