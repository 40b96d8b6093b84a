from __future__ import annotations

from typing import Any

import pytest

from auscult.report.item_kinds import figure_name, kind_of
from auscult.report.train_record import Judged

TRANSCRIPT = {
    "id": "a", "speaker": "s", "duration": 1.0, "reference": "x", "hypothesis": "x", "substitutions": 0, "insertions": 0, "deletions": 0,
    "words": 1,
}  # fmt: skip


def _judged(*items: dict[str, Any]) -> Judged:
    return Judged("test", items, {})


def test_kinds_are_told_by_what_records_hold(speakers: Any) -> None:
    assert kind_of(_judged(TRANSCRIPT)).name == "utterances"
    assert kind_of(_judged(*speakers.trials())).name == "trials"
    assert kind_of(_judged(*speakers.windows())).name == "windows"
    assert kind_of(_judged({"id": "a", "speaker": "s0", "chosen": "s1"})).name == "records"
    assert kind_of(_judged()).name == "records"


@pytest.mark.parametrize("field", ["words", "hypothesis", "duration"])
def test_one_record_that_lacks_a_field_makes_the_kind_unknown(field: str) -> None:
    other = {key: value for key, value in TRANSCRIPT.items() if key != field}
    assert kind_of(_judged(TRANSCRIPT, other)).name == "records"


def test_figures_are_named_by_kind_and_split(speakers: Any) -> None:
    assert figure_name(_judged(*speakers.windows())) == "windows_test"
    assert figure_name(_judged({"id": "a"})) is None
