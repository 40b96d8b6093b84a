"""Kaldi parity of the cepstra, and the window of frames of Deep Speech 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from auscult.audio.front_ends.mfcc_context import MfccContext
from auscult.audio.reading import read_audio
from auscult.errors import UserError
from auscult.registry import build
from auscult.testing.front_ends import check_front_end


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("kaldi", [False, True])
@pytest.mark.parametrize("normalise", ["utterance", "bin", "none"])
def test_conforms(rate: int, kaldi: bool, normalise: str) -> None:
    check_front_end(build("front_end", {"name": "mfcc_context", "kaldi": kaldi, "normalise": normalise}, sample_rate=rate))


@pytest.mark.parametrize("gradient", [False, True], ids=["blockwise", "differentiable"])
def test_kaldi_fixture(data_pack: Path, gradient: bool) -> None:
    folder = data_pack / "fixtures" / "kaldi_feats"
    lines = (folder / "test-mfcc.txt").read_text().replace("1  [", "").replace("]", "").splitlines()
    expected = np.array([[float(word) for word in line.split()] for line in lines if line.strip()])
    samples, rate = read_audio(folder / "test.wav")
    front_end = MfccContext(rate, 0.025, 0.010, coefficients=13, context=0, mel_bins=23, kaldi=True, normalise="none")
    values, frames = front_end(torch.from_numpy(samples)[None].requires_grad_(gradient), torch.tensor([len(samples)]))
    assert int(frames) == len(expected)
    found = values[0].detach().numpy()
    exact, _ = front_end.double()(torch.from_numpy(samples).double()[None].requires_grad_(), torch.tensor([len(samples)]))
    # The fixture is Kaldi's float32. The same equations in float64, which are the same on every processor, differ from it by 0.0719 in one
    # nearly silent bin, so no bound below that can hold for float32; ours is compared with float64, where its own rounding shows.
    assert np.abs(exact[0].detach().numpy() - expected).max() <= 0.072
    assert np.abs(found - exact[0].detach().numpy()).max() <= 0.05
    assert np.abs(found - expected).mean() <= 0.004


@pytest.mark.parametrize(("context", "bins"), [(9, 494), (6, 338), (0, 26)])
def test_context_is_the_neighbours_and_zero_at_the_edges(context: int, bins: int) -> None:
    samples = 0.1 * torch.randn(2, 16000, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([16000, 8000])
    front_end = MfccContext(16000, context=context)
    plain = MfccContext(16000, context=0)(samples, lengths).values
    values, frames = front_end(samples, lengths)
    assert front_end.bins == bins == values.shape[2]
    for row, count in enumerate(frames.tolist()):
        for frame in range(count):
            blocks = values[row, frame].view(2 * context + 1, 26)
            for offset, block in enumerate(blocks, start=-context):
                inside = 0 <= frame + offset < count
                assert torch.equal(block, plain[row, frame + offset] if inside else torch.zeros(26))


def test_more_coefficients_than_filters_are_refused() -> None:
    with pytest.raises(UserError, match="coefficients: 41 cannot be made of 40 mel_bins"):
        MfccContext(16000, coefficients=41)
