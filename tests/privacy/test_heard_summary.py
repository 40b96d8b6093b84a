"""Numbers of listeners: chance and the recording beside them, and no word error rate from one who recognises nothing."""

from __future__ import annotations

from typing import Any

import pytest

from auscult.privacy.heard_summary import heard_table

SPEAKERS = ("ann", "bob", "cat", "dan")


def row(method: str, speaker: str, rank: int, wrong: int, stoi: float | None = 0.5) -> dict[str, Any]:
    """A sound that resembles `rank - 1` others more than its speaker, and in which `wrong` of ten words are misheard."""
    others = {name: 0.9 if place < rank - 1 else 0.1 for place, name in enumerate(name for name in SPEAKERS if name != speaker)}
    made = {"method": method, "speaker": speaker, "rank": rank, "candidates": 4, "cosine": 0.5, "others": others}
    made |= {"words": [wrong, 10], "characters": [wrong, 50]}
    return made if stoi is None else {**made, "stoi": stoi}


def rows(truth: int, recording: int) -> list[dict[str, Any]]:
    ranks = {"attack": (1, 1, 2, 1), "zero": (3, 3, 4, 3), "true_input": (1, 1, 1, 1), "recording": (1, 1, 1, 1)}
    wrong = {"attack": 5, "zero": 10, "true_input": truth, "recording": recording}
    return [
        row(method, speaker, rank, wrong[method], None if method == "recording" else 0.5)
        for method, found in ranks.items()
        for speaker, rank in zip(SPEAKERS, found, strict=True)
    ]


def test_speakers_words_and_chance_stand_in_one_table() -> None:
    table, notes = heard_table(rows(truth=4, recording=1))
    assert not notes
    assert table["attack"]["speaker_top1"]["value"] == 0.75
    assert table["zero"]["speaker_top1"]["value"] == 0.0
    assert table["true_input"]["speaker_eer"]["value"] == 0.0 < table["attack"]["speaker_eer"]["value"]
    assert table["chance"]["speaker_top1"]["value"] == 0.25
    assert table["chance"]["speaker_top5"]["value"] == 1.0
    assert table["attack"]["recogniser_wer"]["value"] == pytest.approx(0.5)
    assert table["attack"]["speaker_top1"]["low"] < 0.75 < table["attack"]["speaker_top1"]["high"] + 1e-9
    assert table["attack"]["stoi"]["value"] == 0.5
    assert "stoi" not in table["recording"]


@pytest.mark.parametrize(("truth", "recording", "said"), [(10, 10, "the recordings themselves"), (9, 1, "the true features made sound")])
def test_a_decoder_around_random_weights_has_no_word_error_rate(truth: int, recording: int, said: str) -> None:
    """Planted: everything is misheard, the truth too; speakers are still ranked."""
    table, notes = heard_table(rows(truth, recording))
    assert not any("recogniser_wer" in scores or "recogniser_cer" in scores for scores in table.values())
    assert len(notes) == 1
    assert said in notes[0]
    assert "speaker_top1" in table["attack"]


def test_nobody_heard_anything() -> None:
    assert heard_table([]) == ({}, [])
