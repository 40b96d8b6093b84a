"""Claims about utterances: counted for whom they were made, beside claims that know nothing, and alarmed when a proof is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from auscult.privacy.attack import Reconstruction
from auscult.privacy.claims import character_table, claims, transcript_table

LABELS = tuple(" abcdefgh")


def claimed(text: str, found: Reconstruction, place: int | None, speaker: str = "ann", name: str = "u0") -> dict[str, Any]:
    made = claims(found, place, text, ["bad egg", "face"], LABELS, np.random.default_rng(0))
    return {"id": name, "speaker": speaker, **made}


def test_each_utterance_is_compared_with_the_claim_that_its_features_belong_to() -> None:
    found = Reconstruction(
        by_utterance=(frozenset("had"), frozenset("cab")), transcripts=("had", "cab"), proved=(True, False), symbols=(3, 3)
    )
    item = claimed("cab", found, 1)
    assert item["transcript"] == "cab"
    assert not item["proved"]
    assert item["character_counts"]["attack"] == {"hits": 3, "claimed": 3, "present": 3, "exact": 1}
    assert item["character_counts"]["every_character"]["claimed"] == len(LABELS)
    assert item["transcript_scores"]["attack"]["transcript_exact"] == (1.0, 1.0)
    other = item["transcript_scores"]["other_transcripts"]
    assert other["transcript_exact"] == (0.0, 1.0)
    assert other["transcript_cer"][0] <= 3  # of the same length: nothing is inserted


def test_what_was_not_found_is_wrong_and_what_was_not_looked_for_is_not_scored() -> None:
    missed = claimed("cab", Reconstruction(by_utterance=(frozenset("cab"),), transcripts=(None,), proved=(False,)), None)
    assert missed["character_counts"]["attack"]["claimed"] == 0
    assert missed["transcript_scores"]["attack"]["transcript_cer"] == (3.0, 3.0)
    assert claimed("cab", Reconstruction(), 0).keys() == {"id", "speaker"}


def test_tables_have_controls_and_intervals() -> None:
    found = Reconstruction(by_utterance=(frozenset("cab"),), transcripts=("cab",), proved=(True,))
    items = [claimed(text, found, 0, speaker, name) for text, speaker, name in (("cab", "ann", "u0"), ("dab", "bob", "u1"))]
    items[1]["transcript_scores"]["attack"] |= {"transcript_proved": (0.0, 1.0), "transcript_false_proof": (0.0, 1.0)}
    table, alarms = transcript_table(items)
    assert list(table) == ["attack", "other_transcripts"]
    assert table["attack"]["transcript_exact"]["value"] == 0.5
    assert table["attack"]["transcript_cer"]["value"] == pytest.approx(1 / 6)
    assert table["attack"]["transcript_cer"]["utterances"] == 2
    assert not alarms
    characters = character_table(items)
    assert characters["attack"]["recall"]["value"] == pytest.approx(5 / 6)
    assert characters["every_character"]["recall"]["value"] == 1.0
    assert characters["attack"]["precision"]["low"] < characters["attack"]["precision"]["high"]


def test_a_proof_that_is_wrong_is_an_alarm() -> None:
    item = claimed("cab", Reconstruction(transcripts=("bac",), proved=(True,)), 0)
    table, alarms = transcript_table([item])
    assert table["attack"]["transcript_false_proof"]["value"] == 1.0
    assert "1 transcripts were called proved and are wrong, first u0" in alarms[0]


def test_attacks_without_such_claims_have_no_such_table() -> None:
    assert transcript_table([{"id": "u0", "speaker": "ann"}]) == ({}, [])
    assert character_table([{"id": "u0", "speaker": "ann"}]) == {}
