"""Whether a separator learns at all: four mixtures that a tiny one can learn by heart in seconds.

Problem: a model can have the right shapes, counts and gradients and still not learn, through a sign, a mask on the wrong axis or a
start that is dead; real corpora show that after hours. Choice: four short mixtures of a rising and a falling tone, broken by pauses, a
fixed number of steps, and the improvement over the mixture as the answer. Nothing is random but the initial weights.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from auscult.losses.pit import PitSiSdr
from auscult.models.separator import Separator


def broken_tones(items: int = 4, samples: int = 2000, sample_rate: int = 8000) -> Tensor:
    """Return (items, 2, samples) sources at an eighth of full scale, each pair another."""
    time = torch.arange(samples) / sample_rate
    sources = torch.empty(items, 2, samples)
    for item in range(items):
        rising = torch.sin(2 * math.pi * (200 + 60 * item + 1500 * time) * time) * (torch.sin(25 * time + item) > -0.5)
        falling = torch.sin(2 * math.pi * (1800 + 90 * item - 1200 * time) * time) * (torch.cos(31 * time + item) > -0.5)
        sources[item] = torch.stack([rising, falling]) / 8
    return sources


def improvement_by_heart(model: Separator, steps: int, rate: float) -> float:
    """Train a model of two sources on the four mixtures and return the improvement of SI-SDR over the mixture, in dB.

    Args:
        model: changed in place.
        steps: updates, each on all four mixtures.
        rate: of Adam.
    """
    sources = broken_tones(sample_rate=model.sample_rate)
    mixture = sources.sum(1)
    loss, optimizer = PitSiSdr(), torch.optim.Adam(model.parameters(), lr=rate)
    baseline = loss(mixture.unsqueeze(1).expand_as(sources), sources).values.mean()
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model(mixture), sources).values.mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    with torch.no_grad():
        return float(baseline - loss(model.eval()(mixture), sources).values.mean())
