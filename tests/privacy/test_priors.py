"""Priors: what they punish, and that padding and lengths do not count."""

from __future__ import annotations

import pytest
import torch

from auscult.errors import UserError
from auscult.privacy.capture import client_features
from auscult.privacy.priors import Priors, front_end_normalisation, project
from auscult.testing.victims import random_batch, small_victim


def test_each_punishes_its_own() -> None:
    lengths = torch.tensor([4])
    steps = torch.arange(4.0)[:, None].expand(4, 5)[None]  # rises by 1 from frame to frame, flat over bins
    slope = torch.arange(5.0)[None, :].expand(4, 5)[None]  # rises by 1 from bin to bin
    assert Priors(total_variation=2.0)(steps, lengths).item() == 2.0
    assert Priors(total_variation=2.0)(slope, lengths).item() == 2.0
    assert Priors(smoothness=1.0)(slope, lengths).item() == 0.0
    assert Priors(smoothness=1.0)(slope.square(), lengths).item() == 4.0
    assert Priors(l2=1.0)(torch.full((1, 4, 5), 3.0), lengths).item() == 9.0


def test_padding_counts_for_nothing() -> None:
    priors, generator = Priors(0.5, 0.3, 0.2), torch.Generator().manual_seed(0)
    frames = torch.randn(2, 6, 5, generator=generator)
    padded = torch.cat([frames, torch.full((2, 3, 5), 1e6)], 1)
    lengths = torch.tensor([6, 4])
    torch.testing.assert_close(priors(padded, lengths), priors(frames, lengths))
    alone = [priors(frames[index : index + 1, :length], torch.tensor([length])) for index, length in enumerate((6, 4))]
    torch.testing.assert_close(priors(frames, lengths), (alone[0] + alone[1]) / 2)


@pytest.mark.parametrize("name", ["deepspeech1", "deepspeech2"])
def test_features_of_the_front_end_are_where_projection_leads(name: str) -> None:
    victim = small_victim(name)
    frames, lengths = client_features(victim, random_batch(victim, 2))
    how = front_end_normalisation(victim.model.front_end)
    torch.testing.assert_close(project(frames, lengths, how), frames, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(project(3 * frames, lengths, how), frames, rtol=1e-3, atol=1e-4)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(UserError, match="smoothness: the weight of a prior"):
        Priors(smoothness=-1.0)
    plain = small_victim("deepspeech1", front_end={"name": "mfcc_context", "context": 3, "normalise": "none"})
    with pytest.raises(UserError, match="set projection to none"):
        front_end_normalisation(plain.model.front_end)
