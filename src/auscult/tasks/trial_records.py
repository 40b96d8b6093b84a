"""From records of utterances to records of trials, and from those to metrics with intervals.

Every figure of a verification run comes from these records: one per trial, with both speakers and durations, the score and, where
there are any, the normalised score, the calibrated log-likelihood ratio and the score of embeddings that no training has touched. The
last one stands in the same table because an error rate says nothing without what it takes to beat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auscult.data.strings import UNKNOWN_SPEAKER
from auscult.data.trials import Trials
from auscult.metrics.calibration import Calibration, duration_measures, fit_calibration
from auscult.metrics.detection import COST_PRIORS, DetectionCurve, cllr, inverted_scores_alarm
from auscult.metrics.embedding_scores import cosine_scores, crop_distance_scores, embeddings_in_order, normalised_scores
from auscult.metrics.trial_bootstrap import bootstrap_detection
from auscult.tasks.base import Item
from auscult.tasks.speaker_items import unpack

Scores = NDArray[np.float64]

COLUMNS = {"score": "", "normalised_score": "_as_norm", "untrained_score": "_untrained"}
"""Scores a record may have, and what is added to the name of a metric of each."""


@dataclass(frozen=True)
class Cohort:
    """Speakers that scores are normalised with.

    Attributes:
        embeddings: (speakers, dimensions), the mean of each.
        top: nearest of them that count on each side; None for all.
    """

    embeddings: NDArray[np.float32]
    top: int | None


def trial_records(
    trials: Trials, items: Sequence[Item], speakers: Mapping[str, str], cohort: Cohort | None, calibration: Calibration | None
) -> list[Item]:
    """Return one record per trial.

    Args:
        trials: which recordings are compared.
        items: one record per recording, as `embed_batch` gives them; found by id.
        speakers: who speaks in each recording; those of unknown speakers may be missing.
        cohort: for normalised scores.
        calibration: fitted on other trials of the same scores.

    Raises:
        UserError: a recording of a trial was not judged, or an embedding has no direction.
    """
    by_id = {str(item["id"]): item for item in items}
    crops = embeddings_in_order({one: unpack(item["embedding"]) for one, item in by_id.items()}, trials.ids)
    columns: dict[str, Scores] = {"score": np.asarray(file_scores(crops, trials.enrol, trials.test), np.float64)}
    if cohort is not None:
        columns["normalised_score"] = np.asarray(
            normalised_scores(mean_direction(crops), trials.enrol, trials.test, cohort.embeddings, cohort.top), np.float64
        )
    if all("untrained" in item for item in items):
        untrained = embeddings_in_order({one: unpack(item["untrained"])[0] for one, item in by_id.items()}, trials.ids)
        columns["untrained_score"] = np.asarray(cosine_scores(untrained, trials.enrol, trials.test), np.float64)
    seconds = np.array([float(by_id[one]["seconds"]) for one in trials.ids])
    sides = seconds[trials.enrol], seconds[trials.test]
    if calibration is not None:
        columns["log_likelihood_ratio"] = calibration.log_likelihood_ratio(columns["score"], duration_measures(*sides))
    records: list[Item] = []
    for row, (enrol, test) in enumerate(zip(trials.enrol.tolist(), trials.test.tolist(), strict=True)):
        first, second = trials.ids[enrol], trials.ids[test]
        records.append(
            {
                "id": f"{first} {second}",
                "enrol": first,
                "test": second,
                "target": bool(trials.target[row]),
                "enrol_speaker": speakers.get(first, UNKNOWN_SPEAKER),
                "test_speaker": speakers.get(second, UNKNOWN_SPEAKER),
                "enrol_seconds": float(seconds[enrol]),
                "test_seconds": float(seconds[test]),
                **{name: float(column[row]) for name, column in columns.items()},
            }
        )
    return records


def file_scores(crops: NDArray[np.float32], enrol: NDArray[np.int64], test: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the scores of trials: the cosine of whole files, or minus the mean distance of all pairs of several crops."""
    return cosine_scores(crops[:, 0], enrol, test) if crops.shape[1] == 1 else crop_distance_scores(crops, enrol, test)


def mean_direction(crops: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return one embedding per file, the mean of its crops' directions: (files, crops, dimensions) -> (files, dimensions)."""
    unit = crops / np.maximum(np.linalg.norm(crops, axis=2, keepdims=True), np.finfo(np.float32).tiny)
    return np.asarray(unit.mean(axis=1), np.float32)


def summarise_trials(items: Sequence[Item]) -> dict[str, float]:
    """Return error rates and costs of records of trials, of every kind of score they have.

    "cllr" is that of calibrated log-likelihood ratios; without a calibration there is "cllr_uncalibrated" instead, of raw scores.
    """
    target = targets_of(items)
    metrics: dict[str, float] = {}
    for column, suffix in COLUMNS.items():
        if column not in items[0]:
            continue
        curve = DetectionCurve.of(column_of(items, column), target)
        metrics[f"eer{suffix}"] = curve.equal_error_rate()
        if column == "untrained_score":
            continue
        metrics |= {f"{name}{suffix}": curve.minimum_detection_cost(prior) for name, prior in COST_PRIORS.items()}
        metrics[f"min_cllr{suffix}"], metrics[f"auc{suffix}"] = curve.minimum_cllr(), curve.area()
    calibrated = "log_likelihood_ratio" in items[0]
    ratios = column_of(items, "log_likelihood_ratio" if calibrated else "score")
    metrics["cllr" if calibrated else "cllr_uncalibrated"] = cllr(ratios, target)
    return {**metrics, "trials": float(len(items)), "targets": float(target.sum())}


def trial_intervals(items: Sequence[Item]) -> dict[str, tuple[float, float]]:
    """Return 95 % intervals of the metrics that have one; speakers are resampled where all are known, trials otherwise."""
    intervals: dict[str, tuple[float, float]] = {}
    for column, suffix in COLUMNS.items():
        if column in items[0]:
            found = _bootstrap(items, column)
            names = ("eer",) if column == "untrained_score" else ("eer", *COST_PRIORS)
            intervals |= {f"{name}{suffix}": found[name] for name in names}
    if "log_likelihood_ratio" in items[0]:
        intervals["cllr"] = _bootstrap(items, "log_likelihood_ratio")["cllr"]
    return intervals


def _bootstrap(items: Sequence[Item], column: str) -> dict[str, tuple[float, float]]:
    first, second = ([str(item[f"{side}_speaker"]) for item in items] for side in ("enrol", "test"))
    known = UNKNOWN_SPEAKER not in {*first, *second}
    found = bootstrap_detection(column_of(items, column), targets_of(items), (first, second) if known else None)
    return {name: (interval.low, interval.high) for name, interval in found.intervals.items()}


def calibration_of(items: Sequence[Item]) -> Calibration:
    """Return the calibration that records of trials give: score and durations to log-likelihood ratio."""
    measures = duration_measures(column_of(items, "enrol_seconds"), column_of(items, "test_seconds"))
    speakers = {str(item[f"{side}_speaker"]) for item in items for side in ("enrol", "test")}
    return fit_calibration(column_of(items, "score"), targets_of(items), measures, speakers=len(speakers))


def trial_alarms(items: Sequence[Item]) -> list[str]:
    """Return what is impossible or suspicious about scores, in words."""
    alarm = inverted_scores_alarm(DetectionCurve.of(column_of(items, "score"), targets_of(items)).area())
    alarms = [] if alarm is None else [alarm]
    if "untrained_score" in items[0]:
        trained, untrained = (
            DetectionCurve.of(column_of(items, one), targets_of(items)).equal_error_rate() for one in ("score", "untrained_score")
        )
        if trained >= untrained and trained > 0:
            alarms.append(
                f"the trained encoder (EER {100 * trained:.1f} %) is no better than mean and deviation of a log-mel picture "
                f"({100 * untrained:.1f} %), which no training has touched"
            )
    return alarms


def column_of(items: Sequence[Item], name: str) -> Scores:
    """Return a column of the records, (trials,) float64."""
    return np.array([float(item[name]) for item in items])


def targets_of(items: Sequence[Item]) -> NDArray[np.bool_]:
    """Return which trials are of one speaker, (trials,) bool."""
    return np.array([bool(item["target"]) for item in items])
