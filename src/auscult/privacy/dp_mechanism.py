"""The mean of per-sample gradients under differential privacy, and what it may claim.

Problem: between the theorem and the code lie the ways to get it wrong: the mini-batch is clipped instead of each sample (a published
federated framework shipped that), each tensor by itself, the noise is divided twice, or added to one tensor only. Choice: one plain
function, small enough to be read against the definition, which `dp_audit.audit_mechanism` tests like any other. Each sample is clipped
over all parameters together; one noise of `noise_multiplier` x `clip` is added to the sum; the sum is divided by the number of samples,
which is public.

Neighbours are batches in which one sample's gradient is replaced by zero; where it is replaced by another's, mu is twice as large. A
network whose batch normalisation uses its batch's statistics has no per-sample gradients, and nothing here holds for it.

The claim of noise z over T rounds with the same sample in each is exact, sqrt(T) / z-GDP (Dong, Roth and Su 2022); the bound that Renyi
accountants give stands beside it, because other tools print that one. **Sampling of batches is not accounted**: amplification holds only
for batches drawn as its theorem says (Poisson), which shuffled epochs are not, and the claim without it is valid for both. Rejected:
composition by adding up epsilons. The generator is a simulation's; sums of floats leak too (Mironov 2012).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from auscult.errors import UserError
from auscult.metrics.empirical_epsilon import epsilon_at, gaussian_mu
from auscult.privacy.message_vector import check_finite, positive


@dataclass(frozen=True)
class PrivacyClaim:
    """What a mechanism says of itself.

    Attributes:
        noise_multiplier: deviation of the noise on the sum, in clipping norms.
        rounds: in which the sample takes part.
        delta: of the epsilons.
        mu: of Gaussian differential privacy, exact.
        epsilon: at delta, exact for mu.
        renyi_epsilon: at delta, from Renyi orders; never below `epsilon`.
    """

    noise_multiplier: float
    rounds: int
    delta: float
    mu: float
    epsilon: float
    renyi_epsilon: float


def gaussian_claim(noise_multiplier: float, rounds: int = 1, delta: float = 1e-5) -> PrivacyClaim:
    """Return what Gaussian noise may claim for a sample that is in every round; sampling of batches is not accounted.

    Args:
        noise_multiplier: deviation of the noise on the sum, in clipping norms.
        rounds: 1 or more.
        delta: between 0 and 1.

    Raises:
        UserError: a value is out of range; no noise claims nothing.

    >>> claim = gaussian_claim(1.0, rounds=10)
    >>> round(claim.epsilon, 3), round(claim.renyi_epsilon, 3)
    (17.857, 19.047)
    """
    mu = gaussian_mu(noise_multiplier, rounds)
    return PrivacyClaim(noise_multiplier, rounds, delta, mu, epsilon_at(delta, mu), renyi_epsilon(delta, mu))


def renyi_epsilon(delta: float, mu: float) -> float:
    """Return the epsilon that the Renyi divergences mu^2 order / 2 give at the best order above 1.

    The conversion is that of Canonne, Kamath and Steinke 2020, which the usual accountants use on a grid of orders.

    Args:
        delta: between 0 and 1.
        mu: above 0.
    """

    def at(log_excess: float) -> float:
        excess = math.exp(log_excess)  # order - 1
        order = 1 + excess
        return mu**2 * order / 2 + math.log(excess / order) - (math.log(delta) + math.log(order)) / excess

    best = minimize_scalar(at, bounds=(-12.0, 24.0), method="bounded", options={"xatol": 1e-9})
    return max(0.0, float(best.fun))


def private_mean(gradients: Mapping[str, Tensor], clip: float, noise_multiplier: float, random: np.random.Generator) -> dict[str, Tensor]:
    """Return the noisy mean of clipped per-sample gradients.

    Args:
        gradients: (samples, ...) of each parameter, the same samples in the same order everywhere.
        clip: greatest norm of one sample's gradient, over all parameters together.
        noise_multiplier: deviation of the noise on the sum, in units of `clip`.
        random: of the noise, drawn in the order of the mapping.

    Returns:
        The shape of each parameter, dtype as given: N(sum of clipped gradients, (noise_multiplier clip)^2) / samples.

    Raises:
        UserError: no samples, not the same number everywhere, a clip or multiplier that is not above 0, or values that are not finite.

    >>> mean = private_mean({"w": torch.tensor([[30.0, 40.0], [0.0, 0.5]])}, 1.0, 1e-9, np.random.default_rng(0))
    >>> [round(float(value), 3) for value in mean["w"]]
    [0.3, 0.65]
    """
    counts = {len(value) if value.ndim else 0 for value in gradients.values()}
    if len(counts) != 1 or 0 in counts:
        raise UserError(f"private_mean: expected the same number of samples, 1 or more, of every parameter; got {sorted(counts)}")
    deviation = positive(clip, "private_mean: clip") * positive(noise_multiplier, "private_mean: noise_multiplier")
    norms = per_sample_norms(gradients)
    if not bool(torch.isfinite(norms).all()):
        check_finite(gradients, "private_mean")
    factors = (clip / norms.clamp_min(1e-300)).clamp_max(1.0)  # (samples,)
    mean = {}
    for name, value in gradients.items():
        total = factors @ value.double().reshape(len(value), -1)  # (values,)
        noise = torch.from_numpy(deviation * random.standard_normal(len(total))).to(total)
        mean[name] = ((total + noise) / len(value)).to(value.dtype).reshape(value.shape[1:])
    return mean


def per_sample_norms(gradients: Mapping[str, Tensor]) -> Tensor:
    """Return the norm of each sample's gradient over all parameters, (samples,) float64.

    >>> per_sample_norms({"w": torch.tensor([[3.0], [0.0]]), "b": torch.tensor([4.0, 1.0])}).tolist()
    [5.0, 1.0]
    """
    squares = [value.double().reshape(len(value), -1).square().sum(1) for value in gradients.values()]
    return torch.stack(squares).sum(0).sqrt()
