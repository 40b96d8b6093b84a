"""Speed of scoring verification trials, each as a ratio against a named alternative in the same process.

Single-thread process CPU time, medians over alternating repeats. Run: `OMP_NUM_THREADS=1 python benchmarks/verification_scoring.py`.
The size is that of VoxCeleb1-O: 37,611 trials of 4,708 files, embeddings of 512 values. Promises: one embedding per file in <= 0.1 s and
>= 20 times faster than a torch loop over trials; ten crops per file >= 15 times faster than such a loop; 579,818 trials in <= 1 s; EER
with both minimum costs >= 8 times faster than by scikit-learn's ROC, with equal values; 1,000 bootstrap replicates over speakers <= 10 s.
Loops are timed on part of the trials and compared by cost per trial; the leanest loop that NumPy allows stands beside the torch loop.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from torch.nn import functional

from auscult.metrics.decisive_points import decisive_curve
from auscult.metrics.detection import COST_PRIORS, detection_metrics
from auscult.metrics.embedding_scores import cosine_scores, crop_distance_scores, normalised_scores
from auscult.metrics.trial_bootstrap import bootstrap_detection
from shared_parts.timing import median_seconds

FILES, SPEAKERS, DIMENSIONS, CROPS, REPEATS = 4708, 40, 512, 10, 5
TRIALS, MANY_TRIALS, LOOPED_TRIALS, LOOPED_CROP_TRIALS, COHORT = 37_611, 579_818, 10_000, 2_000, 5_994


seconds = partial(median_seconds, repeats=REPEATS, warm_up=1)


def numpy_cosines(embeddings: NDArray[np.float32], first: NDArray[np.intp], second: NDArray[np.intp]) -> list[float]:
    """The leanest loop: one product of two rows per trial."""
    scores = []
    for one, other in zip(first.tolist(), second.tolist(), strict=True):
        left, right = embeddings[one], embeddings[other]
        scores.append(float(left @ right / (np.linalg.norm(left) * np.linalg.norm(right))))
    return scores


def torch_cosines(embeddings: dict[str, torch.Tensor], pairs: list[tuple[str, str]]) -> list[float]:
    """What evaluation scripts run: a dictionary of tensors by file name, both normalised and multiplied at each trial."""
    scores = []
    for one, other in pairs:
        left, right = functional.normalize(embeddings[one], dim=0), functional.normalize(embeddings[other], dim=0)
        scores.append(float((left * right).sum()))
    return scores


def torch_crops(crops: dict[str, torch.Tensor], pairs: list[tuple[str, str]]) -> list[float]:
    """What evaluation scripts run: both files' crops normalised, then all distances between them, at each trial."""
    scores = []
    for one, other in pairs:
        left, right = functional.normalize(crops[one], dim=1), functional.normalize(crops[other], dim=1)
        scores.append(-float(np.mean(torch.cdist(left, right).numpy())))
    return scores


def numpy_crops(crops: NDArray[np.float32], first: NDArray[np.intp], second: NDArray[np.intp]) -> list[float]:
    """The leanest loop: SciPy's distances of crops normalised at each trial."""
    scores = []
    for one, other in zip(first.tolist(), second.tolist(), strict=True):
        left = crops[one] / np.linalg.norm(crops[one], axis=1, keepdims=True)
        right = crops[other] / np.linalg.norm(crops[other], axis=1, keepdims=True)
        scores.append(-float(cdist(left, right).mean()))
    return scores


def roc_like_scikit_learn(target: NDArray[np.bool_], scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False-alarm and hit rates by the steps of sklearn.metrics.roc_curve: stable sort, differences, running sums, no collinear points."""
    order = np.argsort(-scores, kind="mergesort")
    scores, target = scores[order], target[order]
    ends = np.append(np.nonzero(np.diff(scores))[0], len(scores) - 1)
    hits = np.cumsum(target, dtype=np.float64)[ends]
    alarms = 1.0 + ends - hits
    kept = np.concatenate([[True], np.logical_or(np.diff(alarms, 2), np.diff(hits, 2)), [True]]).nonzero()[0]
    hits, alarms = np.append(0.0, hits[kept]), np.append(0.0, alarms[kept])
    return alarms / alarms[-1], hits / hits[-1]


def roc_route() -> tuple[str, Callable[[NDArray[np.bool_], NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]]]:
    try:
        from sklearn.metrics import roc_curve
    except ImportError:
        return "the steps of sklearn.metrics.roc_curve (scikit-learn is not installed)", roc_like_scikit_learn
    return "sklearn.metrics.roc_curve", lambda target, scores: roc_curve(target, scores)[:2]


def figures_of_roc(alarms: NDArray[np.float64], hits: NDArray[np.float64]) -> list[float]:
    misses = 1.0 - hits
    index = int(np.argmax(misses <= alarms))  # from "reject all"
    before, after = misses[index - 1] - alarms[index - 1], alarms[index] - misses[index]
    rate = alarms[index - 1] + (alarms[index] - alarms[index - 1]) * before / (before + after)
    return [float(rate), *(float((prior * misses + (1 - prior) * alarms).min() / min(prior, 1 - prior)) for prior in COST_PRIORS.values())]


def our_figures(scores: NDArray[np.float64], target: NDArray[np.bool_]) -> list[float]:
    curve = decisive_curve(scores, target)
    return [curve.equal_error_rate(), *(curve.minimum_detection_cost(prior) for prior in COST_PRIORS.values())]


def agree(ours: object, theirs: object, tolerance: float, what: str) -> None:
    if not np.allclose(np.asarray(ours), np.asarray(theirs), rtol=0, atol=tolerance):
        raise SystemExit(f"{what}: the alternative gives other values: the comparison is void")


def by_name(values: NDArray[np.float32]) -> dict[str, torch.Tensor]:
    return {f"file-{number}": torch.from_numpy(row) for number, row in enumerate(values)}


def embedding_rows(random: np.random.Generator, first: NDArray[np.intp], second: NDArray[np.intp]) -> dict[str, object]:
    embeddings = random.normal(size=(FILES, DIMENSIONS)).astype(np.float32)
    many = random.integers(0, FILES, size=(2, MANY_TRIALS))
    crops = random.normal(size=(FILES, CROPS, DIMENSIONS)).astype(np.float32)
    cohort = random.normal(size=(COHORT, DIMENSIONS)).astype(np.float32)
    few, fewer = (first[:LOOPED_TRIALS], second[:LOOPED_TRIALS]), (first[:LOOPED_CROP_TRIALS], second[:LOOPED_CROP_TRIALS])
    pairs = [(f"file-{one}", f"file-{other}") for one, other in zip(*few, strict=True)]
    tensors, crop_tensors = by_name(embeddings), by_name(crops)
    for name, loop in (("torch", torch_cosines(tensors, pairs)), ("numpy", numpy_cosines(embeddings, *few))):
        agree(cosine_scores(embeddings, *few), loop, 1e-6, f"cosines, {name}")
    for name, loop in (("torch", torch_crops(crop_tensors, pairs[:LOOPED_CROP_TRIALS])), ("numpy", numpy_crops(crops, *fewer))):
        agree(crop_distance_scores(crops, *fewer), loop, 1e-4, f"crops, {name}")
    ours, torch_loop, lean_loop, lots = seconds(
        lambda: cosine_scores(embeddings, first, second),
        lambda: torch_cosines(tensors, pairs),
        lambda: numpy_cosines(embeddings, *few),
        lambda: cosine_scores(embeddings, *many),
    )
    crop_ours, crop_torch, crop_lean = seconds(
        lambda: crop_distance_scores(crops, first, second),
        lambda: torch_crops(crop_tensors, pairs[:LOOPED_CROP_TRIALS]),
        lambda: numpy_crops(crops, *fewer),
        repeats=3,
    )
    [normalised] = seconds(lambda: normalised_scores(embeddings, first, second, cohort), repeats=3)
    share, crop_share = TRIALS / LOOPED_TRIALS, TRIALS / LOOPED_CROP_TRIALS
    return {
        f"cosines of {TRIALS:,} trials, one embedding per file": {
            "seconds": ours,
            "alternative": f"torch loop over {LOOPED_TRIALS:,} trials, compared per trial",
            "times_faster": torch_loop * share / ours,
            "times_faster_than_the_leanest_numpy_loop": lean_loop * share / ours,
        },
        f"mean distances of {TRIALS:,} trials, {CROPS} crops per file": {
            "seconds": crop_ours,
            "alternative": f"torch loop with cdist over {LOOPED_CROP_TRIALS:,} trials, compared per trial",
            "times_faster": crop_torch * crop_share / crop_ours,
            "times_faster_than_the_leanest_numpy_loop": crop_lean * crop_share / crop_ours,
        },
        f"cosines of {MANY_TRIALS:,} trials": {"seconds": lots},
        f"AS-norm of {TRIALS:,} trials, top 300 of {COHORT:,}": {"seconds": normalised},
    }


def main() -> None:
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    speaker = random.integers(0, SPEAKERS, FILES)
    first, second = random.integers(0, FILES, size=(2, TRIALS))
    same = np.arange(TRIALS) % 2 == 0  # half the trials are of one speaker, as in VoxCeleb1-O
    members = [np.flatnonzero(speaker == one) for one in range(SPEAKERS)]
    second[same] = [members[speaker[one]][other % len(members[speaker[one]])] for one, other in zip(first[same], second[same], strict=True)]
    target = speaker[first] == speaker[second]
    scores = np.where(target, 0.6, 0.1) + 0.12 * random.normal(size=TRIALS)

    rows = embedding_rows(random, first, second)
    name, roc = roc_route()
    agree(our_figures(scores, target), figures_of_roc(*roc(target, scores)), 1e-12, "EER and minimum costs")
    ours, theirs = seconds(lambda: our_figures(scores, target), lambda: figures_of_roc(*roc(target, scores)), repeats=41)
    rows[f"EER and two minimum costs of {TRIALS:,} trials"] = {"seconds": ours, "alternative": name, "times_faster": theirs / ours}
    [every] = seconds(lambda: detection_metrics(scores, target), repeats=11)
    rows["the same with the whole curve, Cllr, minimum Cllr and area"] = {"seconds": every}
    names = np.array([f"s{one}" for one in range(SPEAKERS)])
    sides = names[speaker[first]].tolist(), names[speaker[second]].tolist()
    by_speaker, loop = seconds(
        lambda: bootstrap_detection(scores, target, sides),
        lambda: bootstrap_loop(scores, target, speaker[first], speaker[second], 20),
        repeats=1,
    )
    rows["bootstrap over speakers, 1,000 replicates"] = {
        "seconds": by_speaker,
        "alternative": "repeat the trials and sort again (20 replicates x 50)",
        "times_faster": 50 * loop / by_speaker,
    }
    print(json.dumps(rows, indent=2))


def bootstrap_loop(
    scores: NDArray[np.float64], target: NDArray[np.bool_], first: NDArray[np.intp], second: NDArray[np.intp], replicates: int
) -> None:
    random = np.random.default_rng(0)
    for _ in range(replicates):
        counts = np.bincount(random.integers(0, SPEAKERS, SPEAKERS), minlength=SPEAKERS)
        weights = np.where(target, counts[first], counts[first] * counts[second])
        detection_metrics(np.repeat(scores, weights), np.repeat(target, weights))


if __name__ == "__main__":
    main()
