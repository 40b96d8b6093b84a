"""Speed of planning an epoch of batches of speakers, as a ratio against a plain Python loop in the same process.

Single-thread process CPU time, medians over alternating repeats. Run: `OMP_NUM_THREADS=1 python benchmarks/speaker_sampling.py`.
Promises: an epoch of 1.25 M utterances of 5,994 speakers (200 speakers of 2 utterances a batch) is planned in < 1 s and loses nothing;
the loop takes > 8 times as long per utterance and loses 5 %.
"""

from __future__ import annotations

import json
from functools import partial

import numpy as np
from numpy.typing import NDArray

from auscult.data.speaker_sampling import describe_plan, plan_speakers
from auscult.streams import Streams
from shared_parts.timing import median_seconds

SPEAKERS, UTTERANCES = 5994, 1_250_000
SMALLER = 100_000
"""Utterances of the comparison: the loop is too slow for the whole."""
P, K, REPEATS = 200, 2, 5


seconds = partial(median_seconds, repeats=REPEATS)


def corpus(utterances: int) -> NDArray[np.int64]:
    """Speakers of unequal numbers of utterances (about a factor of ten, as in VoxCeleb2), in the order of a list of files."""
    share = np.random.default_rng(0).gamma(4.0, size=SPEAKERS)
    extra = np.random.default_rng(1).choice(SPEAKERS, size=utterances - SPEAKERS * K, p=share / share.sum())
    return np.sort(np.concatenate([np.repeat(np.arange(SPEAKERS), K), extra]))


def loop(speakers: NDArray[np.int64], epoch: int) -> list[NDArray[np.int64]]:
    """The usual way: shuffled groups of K, dealt out one by one; a group whose speaker is in the batch already is dropped."""
    random = np.random.default_rng(epoch)
    own: dict[int, list[int]] = {}
    for index in random.permutation(len(speakers)).tolist():
        own.setdefault(int(speakers[index]), []).append(index)
    groups, owners = [], []
    for speaker, members in own.items():
        for start in range(0, len(members) - len(members) % K, K):
            groups.append(members[start : start + K])
            owners.append(speaker)
    kept: list[list[int]] = []
    present: list[int] = []
    for number in random.permutation(len(groups)).tolist():
        if len(present) == P:
            present = []
        if owners[number] not in present:
            present.append(owners[number])
            kept.append(groups[number])
    return [np.concatenate(kept[start : start + P]) for start in range(0, len(kept) // P * P, P)]


def ours(speakers: NDArray[np.int64], epoch: int = 0) -> list[NDArray[np.int64]]:
    return plan_speakers(speakers, epoch=epoch, streams=Streams(0), speakers_per_batch=P, utterances=K)


def main() -> None:
    whole, smaller = corpus(UTTERANCES), corpus(SMALLER)
    (full,) = seconds(lambda: ours(whole))
    names = [f"id{speaker:05d}" for speaker in whole.tolist()]
    (named,) = seconds(lambda: plan_speakers(names, epoch=0, streams=Streams(0), speakers_per_batch=P, utterances=K))
    fast, slow = seconds(lambda: ours(smaller), lambda: loop(smaller, 0))
    rows = {
        f"one epoch of {UTTERANCES:,} utterances of {SPEAKERS:,} speakers": {
            "seconds": full,
            "seconds_from_names": named,
            "coverage": describe_plan(ours(whole), len(whole)).coverage,
        },
        f"one epoch of {SMALLER:,} utterances": {
            "seconds": fast,
            "alternative": "Python loop that skips and drops",
            "times_faster": slow / fast,
            "coverage": describe_plan(ours(smaller), len(smaller)).coverage,
            "coverage_of_the_alternative": describe_plan(loop(smaller, 0), len(smaller)).coverage,
        },
    }
    print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
