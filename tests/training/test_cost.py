from __future__ import annotations

from pathlib import Path

import pytest

from auscult.audio.front_ends.log_spectrogram import LogSpectrogram
from auscult.models.deepspeech2 import DeepSpeech2
from auscult.recipe import Recipe
from auscult.specification import Specification
from auscult.testing.recipes import toy_recipe
from auscult.training.cost import describe_model, inspect_recipe

SPECIFICATION = Specification("recognition", 16000, tuple("abcdefghijklmnopqrstuvwxyz' "), 28)


def test_r2_cost_is_printed() -> None:
    """DeepSpeech 2 at 112 frames costs 2.76 G multiply-accumulates (GRUs 77 %); counted from the code that runs."""
    model = DeepSpeech2(SPECIFICATION, LogSpectrogram(sample_rate=16000), [])
    seconds = 111 * 0.02
    described = describe_model(model, SPECIFICATION, seconds=seconds)
    assert described["output_frames"] == 51
    assert described["macs_per_second"] * seconds == pytest.approx(2.76e9, rel=0.02)
    assert described["parameters"] == 41_754_368
    assert sum(described["parameters_by_part"].values()) == described["parameters"]
    shapes = {part["name"]: part["output_shape"] for part in described["parts"]}
    assert any(shape and shape[-1] == 29 for shape in shapes.values())


def test_inspect_measures_a_recipe(tmp_path: Path) -> None:
    value = inspect_recipe(Recipe.from_dict(toy_recipe(tmp_path)), seconds=1.0)
    assert value["real_time_factor"] > 0
    assert value["memory"]["weights"] >= 4 * value["parameters"]
