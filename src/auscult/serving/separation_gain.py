"""How loud each separated signal is: the one thing a loss that forgives every factor never teaches.

Problem: SI-SDR is the same for an estimate and for any multiple of it, the negative one included, so the level of a separator's outputs
may be anything and may change from window to window; pasted together they pump, and mixed with the recording (observation mixing) they
cancel. Choice: in every window the gains with which the outputs add up to the mixture with the least squared error, each within 12 dB of
the one gain that fits their sum, so that no residue of a silent speaker is raised to the level of speech. Where outputs are copies of one
voice (one speaker and crosstalk), any sharing of it fits as well, and even shares would put the voice into both; so gains are drawn to
the common one as far as the noise of the fit allows no better. An output that is upside down (by its correlation with the mixture, or
because it explains more of it than all outputs leave unexplained) is turned over first. A gain rests on as much of a window as the fit
explains: its weight against the gain of the windows before is the share of its signal in signal plus what no gain explains (noise,
reverberation). So an exact separation keeps its exact gains, and a silent speaker, or one in loud noise, keeps the level it had.
Rejected: plain recursive smoothing, which is wrong by design for a level that really jumps; a gain per recording, which needs all of it
at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

FARTHEST = 4.0
"""Largest ratio of one output's gain to the gain of their sum, both ways (12 dB)."""
_INDEPENDENT = 1000
"""Independent samples in a window of a coloured residue: what it shakes the gains by is this much less than itself."""
_TURNED_OVER = -0.05
"""Correlation with the mixture below which an output is upside down, whatever else there is in the mixture."""
_NOTHING = 1e-20
"""Energy, as a share of the mixture's, below which an output is silent."""


def fit_gains(mixture: NDArray[np.float64], estimates: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return gains and the trust they deserve.

    Args:
        mixture: (time,).
        estimates: (sources, time) of any level and sign.

    Returns:
        (sources,) gains with which the estimates add up to the mixture, negative for those that are upside down; 1 where nothing
        can be fitted.
        (sources,) trust from 0 to 1: the scaled estimate's energy over its energy plus that of the residue of the fit.

    >>> one, other = np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.0, 2.0, 0.0, 0.0])
    >>> gains, trust = fit_gains(one + other, np.stack([one / 2, -other]))
    >>> gains.round(6).tolist(), trust.round(6).tolist()
    ([2.0, -1.0], [1.0, 1.0])
    """
    gram = estimates @ estimates.T
    products, total = estimates @ mixture, float(mixture @ mixture)
    energies = np.diagonal(gram)
    gains, trust = np.ones(len(estimates)), np.zeros(len(estimates))
    heard = energies > _NOTHING * total
    if total == 0.0 or not heard.any():
        return gains, trust
    gram, products = gram[np.ix_(heard, heard)], products[heard]
    unexplained, signs = _free_fit(gram, products, total)
    gram, products = gram * np.outer(signs, signs), products * signs
    common = _common_gain(gram, products)
    found = _bounded(gram, products, common, unexplained)
    residue = max(total - 2 * float(found @ products) + float(found @ gram @ found), 0.0)
    signal = found**2 * energies[heard]
    trust[heard] = signal / (signal + residue)
    gains[heard], gains[~heard] = found * signs, common
    return gains, trust


def _free_fit(gram: NDArray[np.float64], products: NDArray[np.float64], total: float) -> tuple[float, NDArray[np.float64]]:
    """Return the energy that no gains explain, and -1 for estimates that are upside down.

    The free fit says so, and either the correlation with the mixture does too, or the estimate explains alone (what only it can explain)
    more than all of them leave unexplained.
    """
    scale = np.sqrt(np.diagonal(gram))
    inverse = np.linalg.pinv(gram / np.outer(scale, scale), rcond=1e-10, hermitian=True)
    target = products / scale
    free = inverse @ target
    unexplained = max(total - float(target @ free), 0.0)
    alone = free**2 / np.maximum(np.diagonal(inverse), 1e-12)
    turned = (free < 0.0) & ((target / np.sqrt(total) < _TURNED_OVER) | (alone > unexplained))
    return unexplained, np.where(turned, -1.0, 1.0)


def _common_gain(gram: NDArray[np.float64], products: NDArray[np.float64]) -> float:
    """Return the positive gain with which the sum of the estimates fits best."""
    energy, product = float(gram.sum()), float(products.sum())
    if energy <= 0.0 or product <= 0.0:  # the estimates cancel; each alone still tells their level
        return max(float(np.abs(products).max() / np.diagonal(gram).max()), 1e-12)
    return product / energy


def _bounded(gram: NDArray[np.float64], products: NDArray[np.float64], common: float, unexplained: float) -> NDArray[np.float64]:
    """Minimise the squared error with every gain within `FARTHEST` of the common one and drawn to it, in units of the common gain."""
    energies = np.diagonal(gram) * common**2
    drawn = 1e-8 * energies + unexplained / _INDEPENDENT
    scale = np.sqrt(energies + drawn)
    values, vectors = np.linalg.eigh((gram * common**2 + np.diag(drawn)) / np.outer(scale, scale))
    roots = np.sqrt(np.maximum(values, 1e-12))
    target = (vectors.T @ ((products * common + drawn) / scale)) / roots
    found = lsq_linear(roots[:, None] * vectors.T, target, (scale / FARTHEST, scale * FARTHEST), method="bvls", tol=1e-14)
    return np.asarray(found.x / scale * common)


class GainMemory:
    """The gain of every speaker over the windows.

    Args:
        sources: how many.
    """

    def __init__(self, sources: int) -> None:
        self._sizes = np.ones(sources)
        self._known = np.zeros(sources, dtype=bool)

    def smooth(self, gains: NDArray[np.float64], trust: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the gains (sources,) of the next window, in the order of the speakers, with the signs of the window; remember them."""
        sizes = np.where(self._known, trust * np.abs(gains) + (1.0 - trust) * self._sizes, np.abs(gains))
        self._sizes = np.where(self._known | (trust > 0.0), sizes, self._sizes)
        self._known |= trust > 0.0
        return np.where(np.signbit(gains), -sizes, sizes)
