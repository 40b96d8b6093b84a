import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from auscult.errors import UserError
from auscult.report.figure import COLOURS, OUTSIDE, csv_text, house_style, new_figure, save


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_outside_panels_is_legible_on_white_and_on_black() -> None:
    grey = _luminance(OUTSIDE)
    assert 1.05 / (grey + 0.05) >= 4.5
    assert (grey + 0.05) / 0.05 >= 4.5


def test_colours_are_told_apart_with_red_green_blindness() -> None:
    mixed = np.array([[0.625, 0.375, 0.0], [0.70, 0.30, 0.0], [0.0, 0.30, 0.70]])  # deuteranopia, a common approximation
    seen = [mixed @ np.array([int(c[i : i + 2], 16) for i in (1, 3, 5)]) for c in COLOURS]
    nearest = min(float(np.abs(a - b).sum()) for i, a in enumerate(seen) for b in seen[:i])
    assert nearest > 25


def _saved(folder: Path, formats: tuple[str, ...] = ("png", "svg")) -> list[Path]:
    with house_style():
        figure = new_figure("Title", "run", 3.0, tag="smoke")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1])
        return save(figure, folder, "demo", {"loss": [{"update": 1, "loss": 0.5}]}, formats)


def test_png_is_transparent_outside_and_white_inside_at_300_dpi(tmp_path: Path) -> None:
    picture = Image.open(_saved(tmp_path, ("png",))[0])
    assert picture.mode == "RGBA"
    assert [round(dots) for dots in picture.info["dpi"]] == [300, 300]
    assert picture.size == (3300, 900)
    assert picture.getpixel((2, 2))[3] == 0
    assert picture.getpixel((picture.width - 3, picture.height - 3))[3] == 0
    assert picture.getpixel((2800, 600)) == (255, 255, 255, 255)


def test_svg_has_no_background_and_the_same_bytes_twice(tmp_path: Path) -> None:
    first = _saved(tmp_path / "a")[1].read_bytes()
    assert first == _saved(tmp_path / "b")[1].read_bytes()
    background = first.split(b'<g id="patch_1">')[1].split(b"</g>")[0]
    assert b"fill: none" in background


def test_each_panel_has_its_csv_and_no_temporary_file_stays(tmp_path: Path) -> None:
    _saved(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.loss.csv", "demo.png", "demo.svg"]
    assert (tmp_path / "demo.loss.csv").read_text() == "update,loss\n1,0.5\n"


def test_failed_drawing_leaves_the_old_picture(tmp_path: Path) -> None:
    old = _saved(tmp_path, ("png",))[0].read_bytes()
    with pytest.raises(ValueError, match="not supported"):
        _saved(tmp_path, ("nonsense",))
    assert (tmp_path / "demo.png").read_bytes() == old
    assert not (tmp_path / "demo.nonsense").exists()


def test_unwritable_folder_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        _saved(tmp_path / "file")


def test_style_leaves_no_trace() -> None:
    before = dict(mpl.rcParams)
    with house_style():
        assert mpl.rcParams["svg.hashsalt"] == "auscult"
    assert dict(mpl.rcParams) == before


def test_csv_writes_unknown_as_empty_and_refuses_other_columns() -> None:
    assert csv_text([{"a": np.float64(1.5), "b": float("nan")}]) == "a,b\n1.5,\n"
    assert csv_text([]) == ""
    with pytest.raises(ValueError, match="fields not in fieldnames"):
        csv_text([{"a": 1}, {"c": 2}])


def test_figure_canvas_needs_no_display(tmp_path: Path) -> None:
    with house_style():
        figure = new_figure("t", "s", 2.0)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=50)
    assert stream.getvalue().startswith(b"\x89PNG")
