"""Players and pictures of the sounds that an evaluation kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
from PIL import Image

from auscult.errors import UserError
from auscult.report import draw_training, separation_examples, write_report
from auscult.report.figure import house_style
from auscult.report.item_kinds import drawings
from auscult.report.train_record import read_training


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("auscult.report.figure.DOTS_PER_INCH", 30)
    monkeypatch.setattr("auscult.report.html.draw_training", lambda run: draw_training(run, formats=("png",)))
    return


@pytest.fixture
def run(separations: Any, tmp_path: Path) -> Path:
    path: Path = separations.training_run(tmp_path)
    return path


def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auscult.report.html.draw_training", lambda run: [])


def _change(run: Path, **changes: Any) -> None:
    path = run / "listening" / "test.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_every_sound_has_a_player_and_a_level(run: Path) -> None:
    source = write_report(run).read_text()
    players = re.findall(r'<audio controls preload="none" src="([^"]+)"></audio></td><td>(-\d+\.\d)</td>', source)
    assert len(players) == 15
    assert all((run / address).is_file() for address, _ in players)  # relative to the page
    assert source.index("Listen: test") < source.index("Worst mixtures of test")
    assert "one gain for all sounds of an item" in source
    assert (run / "figures" / "separation_examples_test.levels.csv").exists()
    assert source.count("data:image/") == 3


def test_the_worst_mixtures_lead_to_their_players(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _undrawn(monkeypatch)
    source = write_report(run).read_text()
    worst = source.split("Worst mixtures of test")[1]
    assert re.search(r'row13@SER</td>.*?<a href="#listen-test-1">listen</a>', worst.split("</tr>")[1], re.DOTALL)
    assert 'id="listen-test-1">worst · row13@SER · variant SER · improvement -2.' in source
    assert worst.count("listen</a>") == 1  # the median and the best are not among the worst 30
    assert 'id="listen-test-3">best' in source


def test_missing_files_and_names_with_markup_do_no_harm(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _undrawn(monkeypatch)
    (run / "listening" / "test" / "1-mixture.wav").unlink()
    items = json.loads((run / "listening" / "test.json").read_text())["items"]
    items[1] |= {"id": '<i>"x', "not_finite": ["<estimate>"]}
    items[1]["sounds"][0]["file"] = "../../../state.json"
    _change(run, items=items)
    source = write_report(run).read_text()
    assert source.count("file missing") == 2
    assert "<i>" not in source
    assert "not finite in places, silenced there: &lt;estimate&gt;" in source
    assert ".." not in "".join(re.findall(r'src="([^"]{0,60})', source))


def test_sounds_of_another_checkpoint_are_not_shown(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _undrawn(monkeypatch)
    _change(run, update=300)
    assert "Listen: test" in write_report(run).read_text()
    _change(run, update=200)
    assert "Listen: test" not in write_report(run).read_text()


def test_a_run_without_sounds_has_neither_section_nor_figure(separations: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = separations.training_run(tmp_path, listening=False)
    _undrawn(monkeypatch)
    assert list(drawings(read_training(run).judged[0])) == ["mixtures_test"]
    assert "<audio" not in write_report(run).read_text()


def test_new_sounds_are_drawn_again(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Path] = []

    def draw(path: Path) -> None:
        drawn.append(path)
        (path / "figures").mkdir(exist_ok=True)
        for name in ("learning_curves", "mixtures_test", "separation_examples_test"):
            Image.new("RGB", (40, 20)).save(path / "figures" / f"{name}.png")

    monkeypatch.setattr("auscult.report.html.draw_training", draw)
    write_report(run)
    write_report(run)
    assert drawn == [run]
    _change(run, update=300)
    write_report(run)
    assert drawn == [run, run]


def test_the_picture_is_of_the_saved_files(run: Path) -> None:
    training = read_training(run)
    with house_style():
        figure, tables = separation_examples.draw(training, training.judged[0])
    assert len(figure.axes) == 15
    samples, _ = soundfile.read(run / "listening" / "test" / "3-estimate-2.wav")
    row = next(row for row in tables["levels"] if (row["place"], row["sound"]) == ("best", "estimate 2"))
    assert row["peak_as_saved"] == pytest.approx(abs(samples).max())
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[0].startswith("worst, -2.")
    assert titles[0].endswith("row13@SER\na  Mixture")
    assert "b  Source 1" in titles


def test_a_damaged_sound_is_named(run: Path) -> None:
    (run / "listening" / "test" / "1-mixture.wav").write_bytes(b"no sound at all")
    training = read_training(run)
    with pytest.raises(UserError, match=r"1-mixture\.wav: cannot be read .*evaluate the run again"), house_style():
        separation_examples.draw(training, training.judged[0])


def test_other_records_with_sounds_get_players_and_no_picture_of_mixtures(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [json.loads(line) for line in (run / "items" / "test.jsonl").read_text().splitlines()]
    (run / "items" / "test.jsonl").write_text("".join(json.dumps({"id": line["id"], "error": 1.0}) + "\n" for line in lines))
    _undrawn(monkeypatch)
    source = write_report(run).read_text()
    assert source.count("<audio") == 15
    assert drawings(read_training(run).judged[0]) == {}
    assert "separation_examples_test" not in source
