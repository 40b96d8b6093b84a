"""Jaccard error rate: published values, worked examples, and the frame grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from auscult.errors import UserError
from auscult.metrics.jaccard import FRAME_SECONDS, jaccard_error_rate, jaccard_errors
from auscult.metrics.rttm import read_rttm, read_uem
from auscult.metrics.segments import Turn


def talk(*turns: tuple[float, float, str]) -> dict[str, list[Turn]]:
    return {"talk": [Turn(*turn) for turn in turns]}


@pytest.mark.parametrize(("name", "uem", "rate"), [("ami_mixheadset_dev", True, 20.569), ("ami_ES2005a", False, 29.992)])
def test_published_values(data_pack: Path, name: str, uem: bool, rate: float) -> None:
    """20.57 and 29.99 from dscore; in exact time they would be 20.563 and 29.957."""
    folder = data_pack / "fixtures" / "der" / name
    evaluated = read_uem(folder / "all.uem") if uem else None
    errors = jaccard_errors(read_rttm(folder / "ref.rttm").turns, read_rttm(folder / "sys.rttm").turns, evaluated)
    assert 100 * (jaccard_error_rate(errors) or 0) == pytest.approx(rate, abs=0.0006)


@pytest.mark.parametrize(
    ("reference", "system", "rate"),
    [
        (talk((0, 10, "A"), (10, 20, "B")), talk((0, 20, "X")), 75.0),
        (talk((0, 10, "A"), (5, 10, "B")), talk((0, 10, "X")), 50.0),
        (talk((0, 20, "A")), talk((0, 25, "X")), 20.0),
        (talk((0, 10, "A")), talk((0.2, 10, "X")), 2.0),
        (talk((0, 10, "A")), {}, 100.0),
        (talk((0, 10, "A")), talk((0, 5, "X"), (3, 5, "X")), 50.0),  # overlapping turns of a speaker count once
        (talk((0, 10, "A")), talk((0, 4, "X"), (4, 10, "Y")), 40.0),  # a system speaker too many costs nothing of its own
    ],
)
def test_worked_examples(reference: dict[str, list[Turn]], system: dict[str, list[Turn]], rate: float) -> None:
    assert 100 * (jaccard_error_rate(jaccard_errors(reference, system)) or 0) == pytest.approx(rate)


def test_reference_extents_forgive_what_follows() -> None:
    assert jaccard_error_rate(jaccard_errors(talk((0, 20, "A")), talk((0, 25, "X")), {"talk": [(0, 20)]})) == 0.0


def test_speakers_weigh_the_same_over_all_recordings() -> None:
    reference = {"one": [Turn(0, 10, "A")], "two": [Turn(0, 10, "A"), Turn(10, 20, "B"), Turn(20, 30, "C")]}
    system = {"one": [], "two": reference["two"]}
    assert jaccard_error_rate(jaccard_errors(reference, system)) == 0.25  # the mean over recordings would be 0.5


def test_mapping_is_the_best_one() -> None:
    reference = talk((0, 10, "A"), (10, 19, "A"), (20, 29, "B"))
    system = talk((0, 10, "X"), (10, 19, "Y"), (20, 29, "X"))
    errors = jaccard_errors(reference, system)["talk"]
    assert errors == {"A": pytest.approx(1 - 9 / 19), "B": pytest.approx(1 - 9 / 19)}


def test_who_does_not_talk_in_the_regions_is_not_judged() -> None:
    reference = talk((0, 10, "A"), (50, 60, "B"))
    assert jaccard_errors(reference, talk((0, 10, "X")), {"talk": [(0, 20)]}) == {"talk": {"A": 0.0}}
    assert jaccard_error_rate(jaccard_errors(talk((50, 60, "B")), {}, {"talk": [(0, 20)]})) is None


def test_frames_are_those_of_a_raster_in_double_precision() -> None:
    """29 * 0.01 is 0.28999...: a turn from 0.29 starts at frame 29 or 30 as the products say, and so must its end."""
    random, grid = np.random.default_rng(0), FRAME_SECONDS * np.arange(6000)
    for _ in range(200):
        bounds = np.sort(random.integers(0, 3000, (4, 2)) + np.array([0, 1]), axis=1) / 100
        turns = [Turn(float(start), float(end), "A" if row < 2 else "X") for row, (start, end) in enumerate(bounds)]
        active = np.zeros((2, len(grid)), dtype=bool)
        for row, turn in enumerate(turns):
            active[row // 2] |= (turn.start <= grid) & (grid < turn.end)
        expected = 1 - (active[0] & active[1]).sum() / (active[0] | active[1]).sum()
        [error] = jaccard_errors({"t": turns[:2]}, {"t": turns[2:]}, {"t": [(0, 50)]})["t"].values()
        assert error == pytest.approx(expected)


def test_hours_need_no_memory() -> None:
    assert jaccard_error_rate(jaccard_errors(talk((0, 1, "A"), (9e6, 9.1e6, "A")), talk((9e6, 9.1e6, "X")))) == pytest.approx(
        1e-5, rel=1e-3
    )


def test_unknown_recordings_are_refused() -> None:
    with pytest.raises(UserError, match="the reference lacks"):
        jaccard_errors(talk((0, 1, "A")), {"tlak": []})
