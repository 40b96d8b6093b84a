"""How near a reconstruction of features comes to the truth, on a scale on which clips can be compared.

Problem: the figures in print are mean absolute errors of un-normalised cepstra, whose size depends on the loudness of the clip and on
the coefficient that dominates, so that an error of 2.6 here and of 8 there say nothing of which attack did better; a clip "reconstructed"
below 0 dB is worse than the array of zeros one began with, and no table said so. Choice: both sides are put on the scale of the truth
(its one mean and deviation over all frames and bins), on which **zeros, that is the truth's mean everywhere, score exactly 0 dB**. The raw
error stands beside it for comparison with what was published. A reconstruction longer than the truth is cut, a shorter one is
filled with the truth's mean (it earns nothing there, and costs no more than zeros do), and the difference in length is a score of its
own; frames are never shifted or warped into agreement. Ratios in dB end at 100: a perfect copy would be infinite, and no mean could
hold it. Rejected: the scale of the reconstruction (an attack that is wrong by a factor would look right).

Arrays are (frames, bins) of any real type; the arithmetic is float64.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auscult.errors import UserError

CEILING = 100.0
"""No ratio is said to be better than this, in dB."""

PROTOCOL = (
    "error and SNR on features normalised by the mean and deviation of the true utterance (zeros: 0 dB; at most 100 dB); a reconstruction "
    "that is too long is cut, one that is too short filled with the true mean, the difference is the length error"
)
"""How the scores of this module are defined, to stand beside them."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FeatureScores:
    """Scores of one reconstruction.

    Attributes:
        mae: mean absolute error on the truth's normalised scale, in standard deviations.
        raw_mae: mean absolute error of the features as given.
        snr: signal-to-error ratio on the normalised scale, in dB, at most `CEILING`.
        length_error: reconstructed frames minus true frames.
    """

    mae: float
    raw_mae: float
    snr: float
    length_error: int

    def record(self) -> dict[str, float]:
        """Return the scores by name, for a row of a table; the length error without its sign, because a mean of signs hides it."""
        return {**asdict(self), "length_error": float(abs(self.length_error))}


class PeakRatio(NamedTuple):
    """A peak signal-to-noise ratio in dB, and the range (greatest minus smallest value of the truth) that it is relative to."""

    decibels: float
    range: float


def feature_scores(truth: ArrayLike, reconstruction: ArrayLike) -> FeatureScores:
    """Return all scores of a reconstruction.

    Args:
        truth: (frames, bins).
        reconstruction: (frames, bins), possibly of another length.

    Raises:
        UserError: shapes that do not fit, values that are not finite, or a truth that is constant and has no scale.

    >>> feature_scores([[1.0, 3.0], [3.0, 1.0]], [[2.0, 2.0]])
    FeatureScores(mae=1.0, raw_mae=1.0, snr=0.0, length_error=-1)
    """
    true, found = _checked(truth, reconstruction)
    fitted = fit_length(found, len(true), float(true.mean()))
    mean, deviation = scale_of(true)
    error = np.abs(true - fitted)
    return FeatureScores(
        mae=float(error.mean() / deviation),
        raw_mae=float(error.mean()),
        snr=_decibels(float(np.square(true - mean).sum()), float(np.square(error).sum())),
        length_error=len(found) - len(true),
    )


def feature_mae(truth: ArrayLike, reconstruction: ArrayLike) -> float:
    """Return the mean absolute error in standard deviations of the truth; arguments and errors of `feature_scores`."""
    return feature_scores(truth, reconstruction).mae


def feature_snr(truth: ArrayLike, reconstruction: ArrayLike) -> float:
    """Return 10 log10(sum x^2 / sum (x - x^)^2) of features on the truth's normalised scale; arguments and errors of `feature_scores`.

    >>> feature_snr([[-1.0, 1.0]], [[0.0, 0.0]]), feature_snr([[-1.0, 1.0]], [[-1.0, 1.0]])
    (0.0, 100.0)
    """
    return feature_scores(truth, reconstruction).snr


def mel_psnr(truth: ArrayLike, reconstruction: ArrayLike) -> PeakRatio:
    """Return 10 log10(range^2 / mean squared error) of two log-mel pictures, and the range.

    Args:
        truth: (frames, mel bins) logarithms of mel energies; the range is that of its values, so the base of the logarithm cancels.
        reconstruction: (frames, mel bins), cut or filled as the features are.

    Raises:
        UserError: as `feature_scores`.

    >>> mel_psnr([[0.0, 10.0]], [[1.0, 9.0]])
    PeakRatio(decibels=20.0, range=10.0)
    """
    true, found = _checked(truth, reconstruction)
    fitted = fit_length(found, len(true), float(true.mean()))
    scale_of(true)
    span = float(true.max() - true.min())
    return PeakRatio(_decibels(span**2, float(np.square(true - fitted).mean())), span)


def fit_length(features: Array, frames: int, fill: float) -> Array:
    """Return features of so many frames: cut at their end, or filled up there.

    Args:
        features: (any frames, bins).
        frames: wanted.
        fill: value of frames that are missing.
    """
    if len(features) >= frames:
        return features[:frames]
    return np.concatenate([features, np.full((frames - len(features), features.shape[1]), fill)])


def scale_of(features: Array) -> tuple[float, float]:
    """Return mean and deviation over all frames and bins.

    Raises:
        UserError: the features are constant.
    """
    mean, deviation = float(features.mean()), float(features.std())
    if not deviation > 1e-12 * max(1.0, abs(mean)):
        raise UserError(
            f"reconstruction: features {features.shape} are constant and have no scale (digital silence?); leave the utterance out"
        )
    return mean, deviation


def checked_features(values: ArrayLike, what: str) -> Array:
    """Return features as (frames, bins) float64.

    Args:
        values: to look at.
        what: they are, for messages.

    Raises:
        UserError: another shape, no frames, or values that are not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or not array.size:
        raise UserError(f"reconstruction: {what} has shape {array.shape}; expected (frames, bins) with at least one frame")
    if not np.isfinite(array).all():
        frame = int((~np.isfinite(array)).any(axis=1).argmax())
        raise UserError(
            f"reconstruction: frame {frame} of {what} is not finite; an attack that diverged has no reconstruction, record it as failed"
        )
    return array


def _checked(truth: ArrayLike, reconstruction: ArrayLike) -> tuple[Array, Array]:
    true, found = checked_features(truth, "the truth"), checked_features(reconstruction, "the reconstruction")
    if true.shape[1] != found.shape[1]:
        raise UserError(
            f"reconstruction: the truth has {true.shape[1]} bins, the reconstruction {found.shape[1]}; both must be of one front-end"
        )
    return true, found


def _decibels(signal: float, error: float) -> float:
    if error <= signal * 10 ** (-CEILING / 10):
        return CEILING
    return 10.0 * math.log10(signal / error)
