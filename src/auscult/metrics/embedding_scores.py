"""Scores of trials from embeddings that were computed once per file.

Problem: embedding both files of every trial costs sixteen times the forward passes; a loop over trials takes seconds per thousand;
and embeddings found by arithmetic on positions give a file its neighbour's crops without any error. Choice: one embedding per file,
looked up by the file's id (`embeddings_in_order`), then products of gathered rows in chunks that stay in cache. The score over ten crops is
that of voxceleb_trainer (minus the mean distance over all pairs of crops), by sqrt(2 - 2 cosine) and one product per first file.
Adaptive score normalisation: Matějka et al. 2017, as run by WeSpeaker. Rejected: the full files-by-files matrix (eight times the
work for a list of 37,611 trials of 4,708 files, and 170 GB for VoxCeleb1-E).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auscult.errors import UserError, did_you_mean

Embeddings = NDArray[np.float32]

_CHUNK_VALUES = 1 << 18  # values of one side gathered at once: 1 MB, which stays in cache
_COHORT_ROWS = 256  # files compared with the cohort at once
TOP = 300
"""Cohort speakers on each side in adaptive normalisation (WeSpeaker)."""


def embeddings_in_order(by_id: Mapping[str, ArrayLike], ids: Sequence[str]) -> Embeddings:
    """Return the embeddings of some files as one array, in the order of their ids.

    Args:
        by_id: an embedding (dimensions,), or its crops (crops, dimensions), for each file id.
        ids: files in the order that the trials' indices refer to.

    Returns:
        (files, dimensions) or (files, crops, dimensions) float32.

    Raises:
        UserError: an id has no embedding, or shapes differ.

    >>> embeddings_in_order({"a": [0.0, 1.0], "b": [2.0, 3.0]}, ["b", "a"])
    array([[2., 3.],
           [0., 1.]], dtype=float32)
    """
    missing = [one for one in ids if one not in by_id]
    if missing:
        raise UserError(
            f'embeddings: {len(missing)} of {len(ids)} files have none, first "{missing[0]}"{did_you_mean(missing[0], by_id)}; '
            "embed every file that the trials name"
        )
    rows = [np.asarray(by_id[one], dtype=np.float32) for one in ids]
    for one, row in zip(ids, rows, strict=True):
        if row.shape != rows[0].shape:
            raise UserError(f'embeddings: "{one}" has shape {row.shape}, "{ids[0]}" has {rows[0].shape}; embed all files the same way')
    if not rows:
        raise UserError("embeddings: no files")
    return np.stack(rows)


def cosine_scores(embeddings: ArrayLike, enrol: ArrayLike, test: ArrayLike) -> NDArray[np.float32]:
    """Return the cosine of each trial's two embeddings.

    Args:
        embeddings: (files, dimensions); of any length but 0.
        enrol: (trials,) integer index of the first file.
        test: (trials,) integer index of the second file.

    Returns:
        (trials,) float32 in [-1, 1].

    Raises:
        UserError: shapes or indices do not fit, or an embedding is zero or not finite.

    >>> cosine_scores([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]], [0, 0], [1, 2]).tolist()
    [0.0, 1.0]
    """
    unit = _unit(embeddings, 2, "(files, dimensions)")
    first, second = _checked_indices(enrol, test, len(unit))
    scores = np.empty(len(first), dtype=np.float32)
    for part in _chunks(len(first), unit.shape[1]):
        np.einsum("td,td->t", unit[first[part]], unit[second[part]], out=scores[part])
    return scores


def crop_distance_scores(crops: ArrayLike, enrol: ArrayLike, test: ArrayLike) -> NDArray[np.float32]:
    """Return minus the mean Euclidean distance over all pairs of crops of each trial's two files, embeddings of length 1.

    The score of voxceleb_trainer, without the 1e-6 that it adds to differences. Distances below 0.001 are rounding.

    Args:
        crops: (files, crops, dimensions); of any length but 0.
        enrol: (trials,) integer index of the first file.
        test: (trials,) integer index of the second file.

    Returns:
        (trials,) float32 in [-2, 0].

    Raises:
        UserError: shapes or indices do not fit, or an embedding is zero or not finite.

    >>> crop_distance_scores([[[1.0, 0.0]], [[-3.0, 0.0]]], [0], [1]).tolist()
    [-2.0]
    """
    unit = _unit(crops, 3, "(files, crops, dimensions)")
    first, second = _checked_indices(enrol, test, len(unit))
    scores, order = np.empty(len(first), dtype=np.float32), np.argsort(first, kind="stable")
    for part in _chunks(len(first), unit.shape[1] ** 2):
        chosen = order[part]
        scores[chosen] = -_mean_distances(unit, first[chosen], second[chosen])
    return scores


def _mean_distances(unit: Embeddings, first: NDArray[np.intp], second: NDArray[np.intp]) -> Embeddings:
    """Return (trials,) mean distances; trials of one first file stand together and share one product with all their second files."""
    crops, dimensions = unit.shape[1:]
    gram = np.empty((len(first), crops, crops), dtype=np.float32)
    bounds = [0, *(np.flatnonzero(first[1:] != first[:-1]) + 1).tolist(), len(first)]
    for start, stop in pairwise(bounds):
        others = unit[second[start:stop]].reshape(-1, dimensions)  # (trials * crops, dimensions)
        np.matmul(others, unit[first[start]].T, out=gram[start:stop].reshape(-1, crops))
    np.multiply(gram, -2.0, out=gram)
    np.add(gram, 2.0, out=gram)
    return np.asarray(np.sqrt(np.maximum(gram, 0.0, out=gram), out=gram).mean(axis=(1, 2)))


def cohort_of(embeddings: ArrayLike, speakers: Sequence[str]) -> Embeddings:
    """Return the mean embedding of each speaker, in sorted order of the speakers.

    Args:
        embeddings: (files, dimensions) of training speakers who are in no trial.
        speakers: (files,).

    Returns:
        (speakers, dimensions) float32.

    Raises:
        UserError: the numbers differ, or there are none.
    """
    values = np.asarray(embeddings, dtype=np.float32)
    if values.ndim != 2 or len(values) != len(speakers) or not len(values):
        raise UserError(f"cohort: expected embeddings (files, dimensions) with a speaker each, got {values.shape} and {len(speakers)}")
    names, group = np.unique(np.asarray(speakers, dtype=np.str_), return_inverse=True)
    sums = np.zeros((len(names), values.shape[1]), dtype=np.float64)
    np.add.at(sums, group, values)
    return np.asarray(sums / np.bincount(group)[:, None], dtype=np.float32)


def normalised_scores(
    embeddings: ArrayLike, enrol: ArrayLike, test: ArrayLike, cohort: ArrayLike, top: int | None = TOP, centre: bool = True
) -> NDArray[np.float32]:
    """Return cosines normalised by how each file scores against a cohort: AS-norm, or S-norm where `top` is None.

    score = [(s - mean_e) / deviation_e + (s - mean_t) / deviation_t] / 2, where mean and deviation are those of the file's `top`
    greatest cosines to the cohort.

    Args:
        embeddings: (files, dimensions).
        enrol: (trials,) integer index of the first file.
        test: (trials,) integer index of the second file.
        cohort: (cohort speakers, dimensions), see `cohort_of`; nobody in it may be in a trial.
        top: nearest cohort speakers per file, all of a cohort that has fewer; None takes the whole cohort.
        centre: subtract the mean of the cohort from embeddings and cohort first.

    Returns:
        (trials,) float32, in standard deviations.

    Raises:
        UserError: shapes or indices do not fit, an embedding is zero or not finite, `top` is below 2 or the cohort has no spread.
    """
    values, others = np.asarray(embeddings, dtype=np.float32), np.asarray(cohort, dtype=np.float32)
    if others.ndim != 2 or values.ndim != 2 or others.shape[1] != values.shape[1]:
        raise UserError(f"cohort: expected (speakers, dimensions) to go with embeddings {values.shape}, got {others.shape}")
    if centre:
        mean = others.mean(axis=0)
        values, others = values - mean, others - mean
    scores = cosine_scores(values, enrol, test)
    mean, deviation = cohort_statistics(values, others, top)
    first, second = _checked_indices(enrol, test, len(values))
    return np.asarray(
        ((scores - mean[first]) / deviation[first] + (scores - mean[second]) / deviation[second]) / 2,
        dtype=np.float32,
    )


def cohort_statistics(embeddings: ArrayLike, cohort: ArrayLike, top: int | None = TOP) -> tuple[Embeddings, Embeddings]:
    """Return mean and standard deviation (files,) of each file's `top` greatest cosines to a cohort; arguments of `normalised_scores`."""
    unit, others = _unit(embeddings, 2, "(files, dimensions)"), _unit(cohort, 2, "(cohort speakers, dimensions)")
    kept = len(others) if top is None else min(top, len(others))
    if kept < 2:
        raise UserError(f"cohort: {kept} speakers have no spread; normalisation needs at least 2, and a few hundred to be of use")
    means, deviations = np.empty((2, len(unit)), dtype=np.float32)
    for start in range(0, len(unit), _COHORT_ROWS):
        part = slice(start, start + _COHORT_ROWS)
        cosines = unit[part] @ others.T  # (files, cohort speakers)
        if kept < len(others):
            cosines = np.partition(cosines, len(others) - kept, axis=1)[:, len(others) - kept :]
        means[part], deviations[part] = cosines.mean(axis=1), cosines.std(axis=1)
    if not (deviations > 1e-6).all():
        raise UserError(
            f"cohort: file {int(np.argmin(deviations))} scores the same against all {kept} cohort speakers; the cohort is one voice"
        )
    return means, deviations


def _unit(embeddings: ArrayLike, dimensions: int, shape: str) -> Embeddings:
    """Return embeddings divided by their length, along the last axis."""
    values = np.asarray(embeddings, dtype=np.float32)
    if values.ndim != dimensions or not values.size:
        raise UserError(f"embeddings: expected {shape}, got {values.shape}")
    lengths = np.sqrt(np.einsum("...d,...d->...", values, values))[..., None]
    good = np.isfinite(lengths) & (lengths > 0)
    if not good.all():
        file = int(np.argwhere(~good)[0][0])
        raise UserError(
            f"embeddings: the one of file {file} is zero or not finite and has no direction; look at that file's audio, then at the model"
        )
    return np.asarray(values / lengths)


def _checked_indices(enrol: ArrayLike, test: ArrayLike, files: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    first, second = np.asarray(enrol), np.asarray(test)
    if first.ndim != 1 or first.shape != second.shape or not {first.dtype.kind, second.dtype.kind} <= {"i", "u"}:
        raise UserError(f"trials: expected two equally long lists of integer indices, got {first.shape} and {second.shape}")
    if len(first) and not (min(first.min(), second.min()) >= 0 and max(first.max(), second.max()) < files):
        raise UserError(
            f"trials: an index lies outside the {files} embeddings; trials and embeddings must come from the same list of files"
        )
    return first.astype(np.intp, copy=False), second.astype(np.intp, copy=False)


def _chunks(trials: int, values: int) -> list[slice]:
    rows = max(1, _CHUNK_VALUES // values)
    return [slice(start, min(start + rows, trials)) for start in range(0, trials, rows)]
