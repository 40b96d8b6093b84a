"""Reading transcripts off posteriors: smeared ones, repeated letters, wrong starts, and frames of which nothing is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from auscult.privacy import transcript_search
from auscult.privacy.alignments import Tokens, class_posteriors
from auscult.privacy.transcript_search import Evidence, read_transcript, rivals

LETTERS = "abcdefghijklmnopqrstuvwxyz '"
BLANK = len(LETTERS)


def tokens(text: str) -> Tokens:
    return np.array([LETTERS.index(one) for one in text])


def said(text: str, frames: int, sureness: float = 0.1, blank: float = 0.0, seed: int = 0) -> Evidence:
    """What is measured, exactly, of a text in front of a network that is so sure, and likes the blank so much."""
    logits = sureness * np.random.default_rng(seed).normal(size=(frames, BLANK + 1))
    logits[:, BLANK] += blank
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    posteriors = class_posteriors(probabilities, tokens(text)[None], BLANK)[0]
    characters = tuple(sorted(set(tokens(text).tolist())))
    return Evidence(probabilities, posteriors, np.eye(frames), len(text), characters, BLANK)


@pytest.mark.parametrize(("sureness", "blank"), [(0.1, 0.0), (0.3, 0.0), (0.3, 4.0)])
def test_smeared_posteriors_are_read_exactly(sureness: float, blank: float) -> None:
    text = "the little committee will see"  # doubled letters, words that begin alike
    evidence = said(text, 80, sureness, blank)
    likeliest = evidence.posteriors.argmax(1)
    path = [int(one) for one, before in zip(likeliest[1:], likeliest, strict=False) if one not in (before, BLANK)]
    assert path != tokens(text).tolist()  # the obvious reading fails
    read = read_transcript(evidence, lambda transcript: False)
    assert "".join(LETTERS[token] for token in read.transcript) == text
    assert read.distance < 1e-12


def test_a_wrong_start_is_repaired_and_the_distance_never_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "what we owe to others"
    evidence = said(text, 60)
    wrong = tokens(text)[np.random.default_rng(0).permutation(len(text))]
    monkeypatch.setattr(transcript_search, "_undecided", lambda evidence: np.eye(BLANK + 1)[wrong])
    course: list[float] = []
    read = read_transcript(evidence, lambda transcript: False, course.append)
    assert "".join(LETTERS[token] for token in read.transcript) == text
    assert course == sorted(course, reverse=True)
    assert course[0] == float(evidence.distances(wrong[None])[0]) > course[-1]


def test_changes_repair_what_the_linear_problem_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "as some of us are"
    evidence = said(text, 50)
    monkeypatch.setattr(transcript_search, "_solved", lambda evidence, places, emitted: np.eye(BLANK + 1)[tokens("as soem of us era")])
    assert "".join(LETTERS[token] for token in read_transcript(evidence, lambda transcript: False).transcript) == text


def test_a_search_stops_where_the_message_is_explained() -> None:
    evidence = said("enough", 30)
    assert read_transcript(evidence, lambda transcript: True).compared == 1


def test_weights_keep_unknown_frames_out() -> None:
    text, random = "half of it is noise", np.random.default_rng(0)
    evidence = said(text, 60)
    noisy, known = evidence.posteriors.copy(), np.ones(60)
    noisy[20:30] += random.normal(size=(10, BLANK + 1))
    known[20:30] = 1e-3
    read = read_transcript(replace(evidence, posteriors=noisy, weights=np.diag(known)), lambda transcript: False)
    assert "".join(LETTERS[token] for token in read.transcript) == text


def test_rivals_are_other_transcripts_that_fit_nearest_first() -> None:
    evidence = said("aab", 4)
    found = rivals(evidence, tokens("aab"))
    assert tokens("aab").tolist() not in found.tolist()
    assert all(3 + int((row[1:] == row[:-1]).sum()) <= 4 for row in found)
    longer = said("one change away", 40)
    distances = longer.distances(rivals(longer, tokens("one change away"), 1000))
    assert distances[:5].mean() < distances[-5:].mean() / 5
