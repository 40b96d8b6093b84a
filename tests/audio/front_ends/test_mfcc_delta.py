"""Cepstra with slopes: the hop is stated, slopes are slopes, edges are the utterance's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from auscult.audio.front_ends.mfcc_context import MfccContext
from auscult.audio.front_ends.mfcc_delta import MfccDelta, slopes
from auscult.registry import build
from auscult.testing.front_ends import check_front_end


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("normalise", ["utterance", "bin", "none"])
def test_conforms(rate: int, normalise: str) -> None:
    check_front_end(build("front_end", {"name": "mfcc_delta", "normalise": normalise}, sample_rate=rate))


def test_three_seconds_are_301_frames_of_80() -> None:
    """A hop of 512 samples, the default of a common library, gives 94."""
    values, lengths = MfccDelta(16000)(0.1 * torch.randn(1, 48000), torch.tensor([48000]))
    assert tuple(values.shape) == (1, 301, 80)
    assert int(lengths) == 301


def test_first_half_is_the_cepstra_and_second_their_regression() -> None:
    samples = 0.1 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    values = MfccDelta(16000, normalise="none")(samples, torch.tensor([8000])).values[0].numpy()
    cepstra = (
        MfccContext(16000, 0.025, 0.010, 40, context=0, mel_bins=80, normalise="none")(samples, torch.tensor([8000])).values[0].numpy()
    )
    np.testing.assert_array_equal(values[:, :40], cepstra)
    reach = np.arange(-4, 5)
    for frame in (0, 2, 20, len(cepstra) - 1):
        around = cepstra[np.clip(frame + reach, 0, len(cepstra) - 1)]
        expected = (reach[:, None] * around).sum(axis=0) / (reach**2).sum()
        np.testing.assert_allclose(values[frame, 40:], expected, atol=1e-3)


def test_slope_of_a_line() -> None:
    line = 3.0 * torch.arange(12.0)[None, :, None]
    assert torch.allclose(slopes(line, torch.tensor([12]), 4)[0, 4:8], torch.full((4, 1), 3.0))
    spoiled = line.clone()
    spoiled[0, 6:] = float("nan")
    assert bool(slopes(spoiled, torch.tensor([6]), 4)[0, :6].isfinite().all())
