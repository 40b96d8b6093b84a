"""BSS-eval version 3: distortion, interference and artifacts when a filter of 512 taps is forgiven.

Problem: SI-SDR forgives a factor, SDR of BSS-eval a whole filter, and both are called SDR; the usual tool (mir_eval, deprecated since
its version 0.8) solves the same system of 1,024 equations for every pair anew, so that scoring takes longer than separating. Choice: the
projections are never formed. For a projection onto a space with inner products G, and products d with the estimate, the energy is d' G^-1
d; all estimates share one Cholesky factor of G, whose blocks are Toeplitz and come from FFT correlations. Interference and artifacts are
then differences of energies, as these parts are orthogonal. Rejected: a block-Levinson recursion (faster still, and inexact for
speech, whose correlation matrices are nearly singular). Source: Vincent, Gribonval and Févotte 2006; energies: Scheibler 2022
(arXiv 2110.06440). Means are not taken out here, as in the original.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.fft
import scipy.linalg
from numpy.typing import ArrayLike, NDArray

from auscult.errors import UserError
from auscult.metrics.separation import best_permutation, is_silent

TAPS = 512
_LEAST = 1e-14

Floats = NDArray[np.float64]


class BssEval(NamedTuple):
    """Ratios in dB, (sources,) each; NaN where the reference, or the estimate, is silent.

    Attributes:
        sdr: source to everything else.
        sir: source to the other sources.
        sar: all sources to what is none of them.
        permutation: the estimate of each source.
        input_sdr: SDR of the mixture itself; NaN where none is given.
    """

    sdr: Floats
    sir: Floats
    sar: Floats
    permutation: tuple[int, ...]
    input_sdr: Floats


def bss_eval(
    references: ArrayLike,
    estimates: ArrayLike,
    permutation: Sequence[int] | None = None,
    mixture: ArrayLike | None = None,
    taps: int = TAPS,
) -> BssEval:
    """Compare estimates with references.

    Args:
        references: (sources, time).
        estimates: (sources, time).
        permutation: the estimate of each source; None takes that of the greatest mean SIR, as the original does.
        mixture: (time,); measured along with the estimates at little cost.
        taps: of the filter that is forgiven.

    Raises:
        UserError: shapes differ.
    """
    there, said = (np.asarray(one, dtype=np.float64) for one in (references, estimates))
    if there.ndim != 2 or there.shape != said.shape or not there.size:
        raise UserError(f"bss_eval: expected references and estimates (sources, time) of one shape, got {there.shape} and {said.shape}")
    if mixture is not None:
        if np.shape(mixture) != there.shape[1:]:
            raise UserError(f"bss_eval: expected a mixture of {there.shape[1]} samples, got {np.shape(mixture)}")
        said = np.concatenate([said, np.asarray(mixture, dtype=np.float64)[None]])
    count = len(there)
    active = [place for place, source in enumerate(there) if not is_silent(source)]
    heard = [place for place, estimate in enumerate(said) if not is_silent(estimate)]
    ratios = np.full((3, count, len(said)), np.nan)  # sdr, sir, sar of every pair
    if active and heard:
        ratios[np.ix_(range(3), active, heard)] = _ratios(there[active], said[heard], taps)
    chosen = tuple(permutation) if permutation is not None else best_permutation(ratios[1, :, :count])
    sdr, sir, sar = ratios[:, range(count), list(chosen)]
    return BssEval(sdr, sir, sar, chosen, ratios[0, :, count] if mixture is not None else np.full(count, np.nan))


def _ratios(references: Floats, estimates: Floats, taps: int) -> Floats:
    """Return SDR, SIR and SAR of every pair, (3, references, estimates)."""
    count = len(references)
    size = scipy.fft.next_fast_len(references.shape[1] + taps - 1, real=True)
    spectra, others = scipy.fft.rfft(references, size), scipy.fft.rfft(estimates, size)
    matrix = _correlation_matrix(spectra, size, taps)
    products = scipy.fft.irfft(spectra.conj()[:, None] * others, size)[..., :taps]  # (references, estimates, taps)
    whole = (estimates**2).sum(1)
    all_sources = _projected(matrix, products.transpose(0, 2, 1).reshape(count * taps, -1))  # (estimates,)
    blocks = [slice(place * taps, (place + 1) * taps) for place in range(count)]
    own = np.stack([_projected(matrix[block, block], products[place].T) for place, block in enumerate(blocks)])  # (references, estimates)
    least = _LEAST * whole
    pairs = ((own, whole - own), (own, all_sources - own), (np.broadcast_to(all_sources, own.shape), whole - all_sources))
    return np.stack([10 * np.log10((above.clip(0) + least) / (below.clip(0) + least)) for above, below in pairs])


def _correlation_matrix(spectra: Floats, size: int, taps: int) -> Floats:
    """Return the inner products of all delayed references, (references * taps, references * taps)."""
    count = len(spectra)
    matrix = np.empty((count, taps, count, taps))
    for first in range(count):
        for second in range(first, count):
            lags = scipy.fft.irfft(spectra[first].conj() * spectra[second], size)
            block = scipy.linalg.toeplitz(lags[:taps], np.concatenate([lags[:1], lags[:-taps:-1]]))
            matrix[first, :, second], matrix[second, :, first] = block, block.T
    return matrix.reshape(count * taps, count * taps)


def _projected(matrix: Floats, products: Floats) -> Floats:
    """Return the energy of projections: matrix (n, n), products (n, estimates) -> (estimates,)."""
    try:
        factor = scipy.linalg.cholesky(matrix, lower=True, check_finite=False)
        halves = scipy.linalg.solve_triangular(factor, products, lower=True, check_finite=False)
        energies: Floats = (halves**2).sum(0)
    except np.linalg.LinAlgError:  # one reference is a filtered copy of another, or holds a few frequencies only
        energies = (products * scipy.linalg.lstsq(matrix, products, check_finite=False)[0]).sum(0)
    return energies
