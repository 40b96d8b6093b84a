"""Numbers of a cell: seeds are averaged and no further observations, other utterances are refused, and edited numbers are found."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from auscult.errors import UserError
from auscult.metrics.attack_cells import Records, cell_scores, counted, disagreements


def run(snrs: list[float], shift: float = 0.0, gave_up: str | None = None) -> Records:
    items = [
        {
            "id": f"u{number}", "speaker": f"s{number // 2}",
            "transcript_scores": {"attack": {"transcript_exact": [float(number == 1), 1.0]}},
            "scores": {method: {"snr": snr + shift, "identified": float(snr > 0), "wer": (number, 4)} for method in ("attack", "zero")},
        }
        for number, snr in enumerate(snrs)
    ]  # fmt: skip
    messages = [
        {
            "id": f"message-{number}", "notes": [f"gap {number}"], "gave_up": gave_up,
            "utility": {"loss_fall": 0.5 + number, "cosine": float("nan")},
            "counts": {"attack": {"hits": 1 + number, "claimed": 4, "present": 2, "exact": 0}},
        }
        for number in range(2)
    ]  # fmt: skip
    return Records(items, messages)


def test_medians_of_scores_ratios_of_rates_and_seeds_averaged_first() -> None:
    found = cell_scores([run([1.0, 2.0, 60.0, -3.0]), run([1.0, 2.0, 60.0, -3.0], shift=4.0)])
    assert (found["utterances"], found["messages"], found["seeds"]) == (4, 2, 2)
    scores = found["scores"]["attack"]
    assert scores["snr"]["value"] == 3.5  # the median of 3, 4, 62 and -1
    assert scores["identified"]["value"] == 0.75
    assert scores["wer"]["value"] == (0 + 1 + 2 + 3) / 16
    assert found["characters"]["attack"]["precision"]["value"] == 3 / 8
    assert found["characters"]["attack"]["recall"]["value"] == 3 / 4
    assert found["utility"] == {"loss_fall": {"value": 1.0, "low": 0.5, "high": 1.5}}, "what is not a number is no measure"
    assert found["transcripts"]["attack"]["transcript_exact"]["value"] == 0.25
    assert found["notes"] == {"gap #": 4}


def test_more_seeds_do_not_narrow_an_interval() -> None:
    one, many = (cell_scores([run([1.0, 2.0, 60.0, -3.0])] * count)["scores"]["attack"]["snr"] for count in (1, 5))
    assert one == many


def test_runs_of_other_utterances_are_refused() -> None:
    with pytest.raises(UserError, match="not of the same utterances"):
        cell_scores([run([1.0, 2.0]), run([1.0])])
    with pytest.raises(UserError, match="not of the same utterances"):
        cell_scores([Records([], [])])


def test_reasons_are_counted() -> None:
    found = cell_scores([run([1.0], gave_up="7 frames too many"), run([1.0])])
    assert found["gave_up"] == {"messages": 2, "of": 4, "reasons": {"7 frames too many": 2}}
    assert counted(["x 1e-3", "y", "x 2"]) == {"x #": 2, "y": 1}


def test_an_attack_on_characters_alone_has_no_features() -> None:
    records = run([1.0, 2.0])
    found = cell_scores([Records([{key: item[key] for key in ("id", "speaker")} for item in records.items], records.messages)])
    assert (found["scores"], found["transcripts"]) == ({}, {})
    assert found["characters"]


@pytest.mark.parametrize(
    ("part", "names", "value"),
    [
        ("scores", ("attack", "snr"), 2.0),
        ("scores", ("zero", "wer"), None),
        ("characters", ("attack", "exact"), 1.0),
        ("utility", ("loss_fall",), 0.9),
    ],
)
def test_a_changed_number_is_found_and_an_unchanged_one_is_not(part: str, names: tuple[str, ...], value: float | None) -> None:
    records = [run([1.0, 3.0, 5.0])]
    stored: Any = copy.deepcopy(cell_scores(records))
    assert disagreements(stored, cell_scores(records, replicates=1)) == []
    place = stored[part]
    for name in names[:-1]:
        place = place[name]
    if value is None:
        del place[names[-1]]
    else:
        place[names[-1]]["value"] = value
    [said] = disagreements(stored, cell_scores(records, replicates=1))
    assert names[-1] in said
    assert ("nothing" if value is None else str(value)) in said
