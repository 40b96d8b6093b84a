"""Posteriors of many transcripts at once: the kernel's own values, repeats and transcripts that are not decided included."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from auscult.losses.ctc import occupancy
from auscult.privacy.alignments import class_posteriors, symbol_occupancies, undecided_occupancies

BLANK = 4


def probabilities(frames: int, sureness: float, seed: int) -> np.ndarray:
    logits = sureness * np.random.default_rng(seed).normal(size=(frames, BLANK + 1))
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


@pytest.mark.parametrize("sureness", [0.1, 2.0, 6.0])
def test_posteriors_are_those_of_the_kernel(sureness: float) -> None:
    given = probabilities(12, sureness, 0)
    transcripts = np.array([[0, 1, 2, 3], [1, 1, 0, 0], [2, 0, 2, 2]])
    found = class_posteriors(given, transcripts, BLANK)
    logits = torch.from_numpy(np.log(given)).expand(3, -1, -1)
    lengths = torch.full((3,), 12), torch.from_numpy(transcripts), torch.full((3,), 4)
    np.testing.assert_allclose(found, occupancy(logits, *lengths, blank=BLANK).numpy(), atol=1e-9)


def test_places_are_visited_in_order_and_add_up() -> None:
    places, blanks = symbol_occupancies(probabilities(12, 1.0, 1), np.array([[1, 1, 0]]), BLANK)
    np.testing.assert_allclose(places.sum(2) + blanks, 1.0)
    centres = (places[0] * np.arange(12)[:, None]).sum(0) / places[0].sum(0)
    assert (np.diff(centres) > 0).all()


def test_a_transcript_that_is_decided_is_a_case_of_one_that_is_not() -> None:
    given, transcript = probabilities(12, 1.0, 2), np.array([3, 3, 0, 1])
    places, emitted = undecided_occupancies(given, np.eye(BLANK + 1)[transcript], BLANK)
    np.testing.assert_allclose(places, symbol_occupancies(given, transcript[None], BLANK)[0][0], atol=1e-12)
    np.testing.assert_array_equal(emitted, given[:, transcript])
