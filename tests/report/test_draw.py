import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from auscult.report import draw_check, draw_training

FIVE = ["training_progress", "spectrogram_analysis", "model_architecture", "data_flow", "performance_dashboard"]


@pytest.mark.slow
def test_five_figures_with_svg_and_csv(check_run: Path) -> None:
    pictures = draw_check(check_run, formats=("png", "svg"))
    assert [path.name for path in pictures] == [f"{name}.{ending}" for name in FIVE for ending in ("png", "svg")]
    for name in FIVE:
        assert list((check_run / "figures").glob(f"{name}.*.csv"))
        with Image.open(check_run / "figures" / f"{name}.png") as picture:
            assert picture.getpixel((1, 1))[3] == 0
            assert picture.width == 3300


def test_a_check_cut_off_in_its_first_utterance_can_be_drawn(check_builder: Callable[..., Path]) -> None:
    run = check_builder(count=1, finished=False)
    lines = (run / "events.jsonl").read_text().splitlines()
    (run / "events.jsonl").write_text("\n".join(lines[:3]) + "\n")  # start, model, utterance: not one step yet
    (run / "arrays" / "0.npz").unlink()
    assert len(draw_check(run, formats=("svg",))) == 5


@pytest.mark.slow
def test_three_thousand_utterances(check_builder: Callable[..., Path]) -> None:
    run = check_builder(count=3000)
    draw_check(run, formats=("png",))
    assert (run / "figures" / "training_progress.loss.csv").stat().st_size < 100_000


def test_training_figures(training_run: Path) -> None:
    names = [path.name for path in draw_training(training_run, formats=("svg",))]
    assert names == ["learning_curves.svg", "errors_validation.svg", "errors_test.svg"]


def test_reports_need_no_torch_and_no_pyplot() -> None:
    code = "import sys, auscult.report; print([name for name in ('torch', 'lhotse', 'matplotlib.pyplot') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
