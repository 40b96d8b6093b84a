"""The timeline figure: rows by mapping, errors in their own rows, and pictures that can be drawn whatever is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from auscult.errors import UserError
from auscult.metrics.diarization import FAIR
from auscult.metrics.rttm import read_rttm
from auscult.metrics.segments import Turn
from auscult.report import timeline
from auscult.report.figure import house_style, save

REFERENCE = [Turn(0, 10, "anna"), Turn(8, 20, "bob")]
SYSTEM = [Turn(0, 9, "two", 0.9), Turn(9, 22, "one", 0.1), Turn(20, 21, "three")]


def labels(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.get_yticklabels()]


def drawn(*arguments: object, **options: object) -> tuple[Figure, dict[str, list[timeline.Row]]]:
    with house_style():
        return timeline.draw(*arguments, "test", **options)  # type: ignore[arg-type]


def test_system_speakers_take_the_rows_of_whom_they_are_mapped_to() -> None:
    figure, tables = drawn(REFERENCE, SYSTEM)
    assert labels(figure.axes[0]) == ["anna", "bob"]
    assert labels(figure.axes[1]) == ["two = anna", "one = bob", "three = nobody"]
    assert [row["row"] for row in tables["system"]] == ["two = anna", "one = bob", "three = nobody"]
    assert "paler" in figure.axes[1].get_title(loc="left")
    assert "paler" not in drawn(REFERENCE, REFERENCE)[0].axes[1].get_title(loc="left")


def test_errors_and_their_seconds() -> None:
    figure, tables = drawn(REFERENCE, SYSTEM)
    assert tables["errors"] == [
        {"start": 8.0, "end": 9.0, "missed": 1, "false_alarm": 0, "confused": 0},
        {"start": 9.0, "end": 10.0, "missed": 1, "false_alarm": 0, "confused": 0},
        {"start": 20.0, "end": 21.0, "missed": 0, "false_alarm": 2, "confused": 0},
        {"start": 21.0, "end": 22.0, "missed": 0, "false_alarm": 1, "confused": 0},
    ]
    assert "missed 2.0 s, false alarm 3.0 s, confused 0.0 s" in figure.axes[2].get_title(loc="left")
    figure, _ = drawn(REFERENCE, SYSTEM, window=(8.5, 20.5))
    assert "missed 1.5 s, false alarm 1.0 s" in figure.axes[2].get_title(loc="left")
    assert figure.axes[2].get_xlim() == (8.5, 20.5)
    assert any("DER 22.7 % of the whole recording" in text.get_text() for text in figure.texts)


def test_what_is_not_scored_is_hatched_and_holds_no_errors() -> None:
    figure, tables = drawn(REFERENCE, SYSTEM, regions=[(0, 20)], protocol=FAIR)
    assert "hatched: not scored" in figure.axes[2].get_xlabel()
    assert {row["false_alarm"] for row in tables["errors"]} == {0}
    assert "hatched" not in drawn(REFERENCE, SYSTEM)[0].axes[2].get_xlabel()


def test_overlap_is_shaded_where_reference_speakers_overlap() -> None:
    figure, _ = drawn(REFERENCE, SYSTEM)
    [box] = [path.get_extents() for path in figure.axes[0].collections[-1].get_paths()]
    assert (box.x0, box.x1) == (8.0, 10.0)


def test_less_sure_is_paler() -> None:
    figure, _ = drawn([Turn(0, 1, "a")], [Turn(0, 1, "x", 0.9), Turn(2, 3, "x", 0.1), Turn(4, 5, "x", 7.0)])
    sure, unsure, clipped = figure.axes[1].collections[0].get_facecolor()
    assert unsure[:3].sum() > sure[:3].sum() > clipped[:3].sum()
    assert unsure[3] == 1.0  # opaque: the shading behind must not look like doubt


@pytest.mark.parametrize(("reference", "system"), [([], []), (REFERENCE, []), ([], SYSTEM), ([Turn(0, 1, "a")], [Turn(5, 6, "x")])])
def test_whatever_is_missing_it_can_be_drawn(tmp_path: Path, reference: list[Turn], system: list[Turn]) -> None:
    figure, tables = drawn(reference, system)
    assert save(figure, tmp_path, "timeline", tables, ("svg",))[0].stat().st_size > 1000
    said = [text.get_text() for axes in figure.axes[:2] for text in axes.texts]
    assert said == ["nobody speaks"] * ((not reference) + (not system))
    assert figure.axes[2].get_xticklabels()


def test_a_reference_speaker_without_counterpart_says_so() -> None:
    assert labels(drawn(REFERENCE, [Turn(0, 10, "x")])[0].axes[1]) == ["x = anna", "(nobody) = bob"]


def test_window_the_wrong_way_round() -> None:
    with pytest.raises(UserError, match="window that ends after its start"):
        drawn(REFERENCE, SYSTEM, window=(5.0, 5.0))


def test_a_meeting(data_pack: Path, tmp_path: Path) -> None:
    folder = data_pack / "fixtures" / "der" / "ami_ES2005a"
    reference, system = (read_rttm(folder / name).turns["ES2005a"] for name in ("ref.rttm", "sys.rttm"))
    figure, tables = drawn(reference, system, window=(0.0, 120.0))
    assert labels(figure.axes[1])[0] == "1 = MEE017"
    assert len(tables["reference"]) == len(reference)
    with house_style():
        assert save(figure, tmp_path, "timeline", tables, ("png",))[0].is_file()
    assert (tmp_path / "timeline.errors.csv").read_text().startswith("start,end,missed,false_alarm,confused\n")
