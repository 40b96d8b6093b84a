from pathlib import Path

import pytest

from auscult.report import model_architecture
from auscult.report.check_record import read_check
from auscult.report.figure import house_style
from auscult.report.model_architecture import Box, fold, leaves


def test_boxes_hold_every_parameter_once(check_run: Path) -> None:
    check = read_check(check_run)
    boxes = leaves(check.model["parts"])
    assert sum(box.parameters for box in boxes) == check.model["parameters"] == 41_754_368
    assert [box.name for box in boxes if box.type == "GRU"] == [f"rnn.{n}" for n in range(5)]
    assert "dropout" not in [box.name for box in boxes]


def test_running_order_wins_over_definition() -> None:
    parts = [
        {"name": "norm", "type": "Norm", "parameters": 4, "output_shape": [1], "order": 1},
        {"name": "conv", "type": "Conv", "parameters": 9, "output_shape": [1], "order": 0},
    ]
    assert [box.name for box in leaves(parts)] == ["conv", "norm"]


@pytest.mark.parametrize("layers", [3, 40, 400])
def test_folding_keeps_the_parameters_and_fits(layers: int) -> None:
    boxes = [Box(f"block.{n}.{kind}", kind, size, (1, 8)) for n in range(layers) for kind, size in (("Conv1d", 10), ("Norm", 2))]
    folded = fold([*boxes, Box("head", "Linear", 5, (1, 29))])
    assert sum(box.parameters for box in folded) == 12 * layers + 5
    assert sum(box.count for box in folded) == 2 * layers + 1
    assert len(folded) <= model_architecture.MOST_BOXES


def test_equal_neighbours_fold_before_groups_do() -> None:
    boxes = [Box(f"rnn.{n}", "GRU", 7, (5, 8)) for n in range(30)]
    (only,) = fold(boxes)
    assert (only.name, only.type, only.count, only.parameters) == ("rnn.0 … rnn.29", "GRU", 30, 210)


def test_specification_states_size_and_frame(check_run: Path) -> None:
    with house_style():
        _, tables = model_architecture.draw(read_check(check_run))
    stated = {row["what"]: row["value"] for row in tables["specification"]}
    assert stated["parameters"] == "41,754,368"
    assert stated["float32 weights"] == "167.0 MB"
    assert stated["output frame"] == "40 ms (25 per second)"
