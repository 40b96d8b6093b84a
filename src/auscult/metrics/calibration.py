"""Scores into likelihood ratios and probabilities: an affine map of the score, and of what is known about the quality of a trial.

Problem: a cosine of 0.31 means nothing to a user, a threshold tuned on one list fails on another, and short recordings score lower.
Choice: logistic regression on the score and on quality measures (durations, norms, cohort means), fitted by minimising Cllr on
trials of held-out speakers, so that the result is the natural logarithm of a likelihood ratio and any prior can be added later. Inputs
are standardised and weights lightly penalised: perfectly separated trials otherwise send them to infinity. Thousands of trials of a
dozen speakers are a dozen observations: labels are believed as far as that goes (Platt 1999, with speakers for cases), so that nobody
is told 0.9999 on the evidence of twelve people. Standardised inputs also
make the weights comparable. Sources: Brümmer and du Preez 2006; quality measures as in Thienpondt et al. 2021 (arXiv 2010.11255).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize

from auscult.errors import UserError, did_you_mean
from auscult.metrics.detection import checked_trials, cllr

DURATION_CAP = 20.0
"""Seconds beyond which a longer recording changes nothing."""

_PENALTY = 1e-4  # times half the squared weights, in bits; moves well-posed weights by about a thousandth


@dataclass(frozen=True)
class Calibration:
    """An affine map from a score and quality measures to the logarithm of a likelihood ratio; plain numbers, so it travels as JSON.

    Args:
        inputs: names, "score" first.
        means: of each input in the trials of the fit.
        scales: standard deviation of each input there, 1 for a constant.
        weights: of each standardised input.
        bias: added to the weighted sum.
        prior: share of target trials that the fit was weighted for.
        cllr: in bits, on the trials of the fit.
        trials: number of trials of the fit.
    """

    inputs: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    prior: float
    cllr: float
    trials: int

    def log_likelihood_ratio(self, scores: ArrayLike, measures: Mapping[str, ArrayLike] | None = None) -> NDArray[np.float64]:
        """Return the natural logarithm of the likelihood ratio of each trial, (trials,); above 0 speaks for the same speaker.

        Args:
            scores: (trials,) of the system that the fit used.
            measures: (trials,) values of each quality measure of the fit, by name.

        Raises:
            UserError: a measure is missing or unknown, lengths differ, or a value is not finite.
        """
        table = _table(scores, measures or {}, self.inputs)
        return np.asarray(((table - self.means) / self.scales) @ np.asarray(self.weights) + self.bias)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON holds exactly."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """Return what `to_dict` gave.

        Raises:
            UserError: a key is missing or unknown, or lengths differ.
        """
        known = tuple(cls.__dataclass_fields__)
        for key in values:
            if key not in known:
                raise UserError(f'calibration: unknown key "{key}"{did_you_mean(str(key), known)}')
        missing = [key for key in known if key not in values]
        if missing:
            raise UserError(f"calibration: {', '.join(missing)} missing; expected the whole of a saved calibration")
        made = cls(
            inputs=tuple(values["inputs"]),
            means=tuple(values["means"]),
            scales=tuple(values["scales"]),
            weights=tuple(values["weights"]),
            bias=float(values["bias"]),
            prior=float(values["prior"]),
            cllr=float(values["cllr"]),
            trials=int(values["trials"]),
        )
        if len({len(made.inputs), len(made.means), len(made.scales), len(made.weights)}) != 1 or made.inputs[:1] != ("score",):
            raise UserError('calibration: inputs, means, scales and weights need one entry per input, "score" first')
        if not np.isfinite([*made.means, *made.scales, *made.weights, made.bias]).all() or not min(made.scales) > 0:
            raise UserError("calibration: expected finite numbers, and scales above 0; save it again")
        return made


def fit_calibration(
    scores: ArrayLike,
    target: ArrayLike,
    measures: Mapping[str, ArrayLike] | None = None,
    prior: float = 0.5,
    penalty: float = _PENALTY,
    speakers: int | None = None,
) -> Calibration:
    """Fit a calibration on trials of speakers who are neither in training nor in the test list.

    Args:
        scores: (trials,) finite.
        target: (trials,) bool or 0 and 1.
        measures: (trials,) values by name, such as those of `duration_measures`.
        prior: share of target trials to be good at; 0.5 minimises Cllr itself.
        penalty: of the squared weights, above 0.
        speakers: whom the trials are of; a label is then taken to be wrong with probability 1 / (speakers + 2). None believes all.

    Raises:
        UserError: as `DetectionCurve.of`; a measure does not fit; the prior or the penalty is out of range.

    >>> calibration = fit_calibration([0.9, 0.4, 0.5, 0.1], [1, 1, 0, 0])
    >>> bool((calibration.log_likelihood_ratio([0.9, 0.1]) > 0).tolist() == [True, False])
    True
    """
    values, labels = checked_trials(scores, target)
    if not 0.0 < prior < 1.0 or not 0.0 < penalty < math.inf:
        raise UserError(f"calibration: expected a prior between 0 and 1 and a penalty above 0, got {prior} and {penalty}")
    inputs = ("score", *(measures or {}))
    table = _table(values, measures or {}, inputs)
    means, scales = table.mean(axis=0), table.std(axis=0)
    scales = np.where(scales > 1e-12 * np.maximum(1.0, np.abs(means)), scales, 1.0)
    doubt = 0.0 if speakers is None else 1.0 / (speakers + 2)
    solution = _minimise((table - means) / scales, labels, prior, penalty, doubt)
    odds = (table - means) / scales @ solution[:-1] + solution[-1]
    return Calibration(
        inputs=inputs,
        means=tuple(means.tolist()),
        scales=tuple(scales.tolist()),
        weights=tuple(solution[:-1].tolist()),
        bias=float(solution[-1]),
        prior=prior,
        cllr=cllr(odds, labels),
        trials=len(labels),
    )


def probability(log_likelihood_ratio: ArrayLike, prior: float) -> NDArray[np.float64]:
    """Return the probability of the same speaker, given the share of same-speaker trials before looking.

    Raises:
        UserError: the prior is not between 0 and 1.

    >>> probability([0.0], 0.5).tolist()
    [0.5]
    """
    if not 0.0 < prior < 1.0:
        raise UserError(f"prior {prior}: expected the share of target trials before looking at the score, above 0 and below 1")
    odds = np.asarray(log_likelihood_ratio, dtype=np.float64) + math.log(prior / (1.0 - prior))
    return np.asarray(np.exp(-np.logaddexp(0.0, -odds)))


def duration_measures(enrol_seconds: ArrayLike, test_seconds: ArrayLike) -> dict[str, NDArray[np.float64]]:
    """Return shorter_seconds and longer_seconds, capped at 20 s, and log_duration_ratio (0 or above); each (trials,).

    Raises:
        UserError: lengths differ, or a duration is not above 0.

    >>> duration_measures([2.0], [40.0])["longer_seconds"].tolist()
    [20.0]
    """
    both = _sides(enrol_seconds, test_seconds, "durations")
    if not (both > 0).all():
        raise UserError("durations: expected seconds above 0; a recording is empty")
    capped = np.minimum(both, DURATION_CAP)
    shorter, longer = capped.min(axis=0), capped.max(axis=0)
    return {"shorter_seconds": shorter, "longer_seconds": longer, "log_duration_ratio": np.log(longer / shorter)}


def paired_measures(name: str, enrol: ArrayLike, test: ArrayLike) -> dict[str, NDArray[np.float64]]:
    """Return smaller_<name> and greater_<name>, each (trials,): a measure of both files that does not depend on their order.

    For lengths of embeddings, mean cosines to a cohort, signal-to-noise ratios and the like.

    Raises:
        UserError: lengths differ.

    >>> sorted(paired_measures("norm", [1.0], [3.0]))
    ['greater_norm', 'smaller_norm']
    """
    both = _sides(enrol, test, name)
    return {f"smaller_{name}": both.min(axis=0), f"greater_{name}": both.max(axis=0)}


def _sides(enrol: ArrayLike, test: ArrayLike, what: str) -> NDArray[np.float64]:
    first, second = np.asarray(enrol, dtype=np.float64), np.asarray(test, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise UserError(f"{what}: expected a value for both files of each trial, got {first.shape} and {second.shape}")
    return np.stack([first, second])


def _table(scores: ArrayLike, measures: Mapping[str, ArrayLike], inputs: tuple[str, ...]) -> NDArray[np.float64]:
    """Return (trials, inputs) finite values in the order of `inputs`."""
    columns = {"score": np.asarray(scores, dtype=np.float64), **{name: np.asarray(one, dtype=np.float64) for name, one in measures.items()}}
    if set(columns) != set(inputs) or "score" in measures:
        wanted, given = ", ".join(inputs[1:]) or "none", ", ".join(measures) or "none"
        raise UserError(f"calibration: expected the quality measures {wanted}, got {given}")
    for name, column in columns.items():
        if column.ndim != 1 or column.shape != columns["score"].shape:
            raise UserError(f'calibration: "{name}" has shape {column.shape} for scores of shape {columns["score"].shape}')
        if not np.isfinite(column).all():
            raise UserError(f'calibration: "{name}" of trial {int(np.argmin(np.isfinite(column))) + 1} is not finite')
    return np.stack([columns[name] for name in inputs], axis=1)


def _minimise(table: NDArray[np.float64], labels: NDArray[np.bool_], prior: float, penalty: float, doubt: float) -> NDArray[np.float64]:
    """Return weights and bias (inputs + 1,) that minimise the prior-weighted cost in bits, and the penalty of the weights.

    Labels are wrong with probability `doubt`.
    """
    signs = np.where(labels, 1.0, -1.0)
    share = np.where(labels, prior / labels.sum(), (1.0 - prior) / (~labels).sum()) / math.log(2.0)
    offset = math.log(prior / (1.0 - prior))

    def cost(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        odds = signs * (table @ parameters[:-1] + parameters[-1] + offset)
        believed = np.exp(-np.logaddexp(0.0, -odds))  # of the label as it is given
        slope = share * signs * (believed - (1.0 - doubt))  # derivative of (1 - doubt) log(1 + e^-odds) + doubt log(1 + e^odds)
        value = (
            share @ ((1.0 - doubt) * np.logaddexp(0.0, -odds) + doubt * np.logaddexp(0.0, odds))
            + penalty / 2 * parameters[:-1] @ parameters[:-1]
        )
        return float(value), np.append(table.T @ slope + penalty * parameters[:-1], slope.sum())

    start = np.zeros(table.shape[1] + 1)
    found = minimize(cost, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000, "ftol": 1e-13, "gtol": 1e-9})
    return np.asarray(found.x, dtype=np.float64)
