"""What an attack has to beat, and the table in which it must do so.

Problem: a reconstruction with an error of 0.8 looks like a leak until one sees that the average of other people's speech scores the
same: speech is alike, and whoever knows that it is speech knows much before any gradient is seen. Choice: four controls from the same
utterances (nothing, the corpus mean, somebody else's utterance, the truth itself as upper bound), and a table that refuses an attack
without them or with other utterances than theirs. The own utterance never enters its corpus mean. Runs of one utterance with several
random seeds are averaged before anything is resampled, because they are not further observations; intervals resample speakers, then
utterances (`bootstrap.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from auscult.errors import UserError
from auscult.metrics.bootstrap import bootstrap_ratio
from auscult.metrics.reconstruction import Array, checked_features

CONTROLS = ("zero", "corpus_mean", "random_other", "true_input")
"""Names of the methods that stand in every table; `true_input` is the upper bound, the others are bars to pass."""

Score = float | tuple[float, float]
"""A number, or a numerator and denominator whose sums are divided (errors and words, hits and candidates)."""


class Estimate(NamedTuple):
    """A score over utterances, its 95 % interval, and how many utterances it is of."""

    value: float
    low: float
    high: float
    utterances: int


def controls(pool: Sequence[ArrayLike], index: int, random: np.random.Generator) -> dict[str, Array]:
    """Return the control reconstructions of an utterance, each of the truth's length.

    Args:
        pool: features (frames, bins) of all utterances, as the model receives them.
        index: of the utterance.
        random: draws the other utterance.

    Returns:
        By the names in `CONTROLS`: zeros (0 dB where the features are normalised); the mean frame of all other utterances; another
        utterance, cut, or repeated from its beginning so that no frame is free; the truth.

    Raises:
        UserError: fewer than two utterances, an index outside the pool, or features that do not fit.

    >>> made = controls([[[1.0]], [[3.0], [5.0]]], 0, np.random.default_rng(0))
    >>> [float(made[name][0, 0]) for name in CONTROLS]
    [0.0, 4.0, 3.0, 1.0]
    """
    if len(pool) < 2 or not 0 <= index < len(pool):
        raise UserError(f"controls: utterance {index} of a pool of {len(pool)}; at least one other utterance is needed")
    features = [checked_features(one, f"utterance {number} of the pool") for number, one in enumerate(pool)]
    truth = features[index]
    others = features[:index] + features[index + 1 :]
    strange = [one.shape[1] for one in others if one.shape[1] != truth.shape[1]]
    if strange:
        raise UserError(f"controls: utterances of {truth.shape[1]} and of {strange[0]} bins; the pool must be of one front-end")
    other = others[int(random.integers(len(others)))]
    mean = np.concatenate(others).mean(axis=0)
    return {
        "zero": np.zeros_like(truth),
        "corpus_mean": np.tile(mean, (len(truth), 1)),
        "random_other": np.resize(other, truth.shape),
        "true_input": truth.copy(),
    }


def reconstruction_table(items: Sequence[Mapping[str, Any]], replicates: int = 10_000, seed: int = 0) -> dict[str, dict[str, Estimate]]:
    """Return the scores of every method, attacks and controls, over the same utterances.

    Args:
        items: one row per method, utterance and run: "method", "id", "scores" (by name, numbers or pairs, see `Score`) and
            "speaker" (all rows or none).
        replicates: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        Estimates by method, in order of appearance, and by score. A score that is a pair is a ratio of sums.

    Raises:
        UserError: a control is missing, a method covers other utterances or has other scores than the controls, or a score is not
            finite.
    """
    methods: dict[str, list[Mapping[str, Any]]] = {}
    for item in items:
        methods.setdefault(str(item["method"]), []).append(item)
    missing = [name for name in CONTROLS if name not in methods]
    if missing:
        raise UserError(f"reconstructions: the table lacks the control{'s' * (len(missing) > 1)} {', '.join(missing)}; score them as well")
    names = tuple(items[0]["scores"])
    runs = {method: _by_utterance(method, rows, names) for method, rows in methods.items()}
    reference = runs[CONTROLS[0]]
    for method, found in runs.items():
        if set(found) != set(reference):
            odd = sorted(set(found) ^ set(reference))
            raise UserError(
                f"reconstructions: {method} and {CONTROLS[0]} are not of the same utterances ({len(odd)} differ, first {odd[0]}); "
                "an attack that failed on an utterance is scored there as its starting point"
            )
    return {method: {name: _estimate(method, name, found, replicates, seed) for name in names} for method, found in runs.items()}


def _by_utterance(method: str, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, list[Mapping[str, Any]]]:
    """Return the rows of a method by utterance, checked for what a table needs."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if set(row["scores"]) != set(names):
            raise UserError(f"reconstructions: {method} on {row['id']} has other scores than the first row ({', '.join(names)})")
        found.setdefault(str(row["id"]), []).append(row)
    known = [row.get("speaker") is not None for row in rows]
    if any(known) and not all(known):
        raise UserError(f"reconstructions: some rows of {method} name their speaker and some do not; name all or none")
    return found


def _estimate(method: str, name: str, found: Mapping[str, list[Mapping[str, Any]]], replicates: int, seed: int) -> Estimate:
    pairs = np.array([np.mean([_pair(row["scores"][name]) for row in rows], axis=0) for rows in found.values()])  # (utterances, 2)
    if not np.isfinite(pairs).all():
        bad = list(found)[int((~np.isfinite(pairs)).any(axis=1).argmax())]
        raise UserError(f"reconstructions: {name} of {method} on {bad} is not finite; a mean over it would mean nothing")
    speakers = [str(rows[0]["speaker"]) for rows in found.values()] if next(iter(found.values()))[0].get("speaker") is not None else None
    interval = bootstrap_ratio(pairs[:, 0], pairs[:, 1], speakers, replicates, seed)
    return Estimate(math.fsum(pairs[:, 0]) / math.fsum(pairs[:, 1]), interval.low, interval.high, len(pairs))


def _pair(score: Score) -> tuple[float, float]:
    return (float(score[0]), float(score[1])) if isinstance(score, tuple | list) else (float(score), 1.0)
