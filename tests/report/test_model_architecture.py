from collections.abc import Callable
from pathlib import Path

from auscult.report import model_architecture
from auscult.report.check_record import read_check
from auscult.report.figure import house_style
from auscult.report.model_architecture import boxes_of, cut


def test_boxes_hold_every_parameter_once(check_run: Path) -> None:
    check = read_check(check_run)
    boxes = boxes_of(check.model["parts"])
    assert sum(box.parameters for box in boxes) == check.model["parameters"] == 41_754_368
    assert [box.name for box in boxes if box.type == "GRU"] == [f"rnn.{n}" for n in range(5)]
    assert "dropout" not in [box.name for box in boxes]


def test_running_order_wins_over_definition() -> None:
    parts = [
        {"name": "norm", "type": "Norm", "parameters": 4, "output_shape": [1], "depth": 1, "order": 1},
        {"name": "conv", "type": "Conv", "parameters": 9, "output_shape": [1], "depth": 1, "order": 0},
    ]
    assert [box.name for box in cut(parts, 1)] == ["conv", "norm"]


def test_specification_states_size_and_frame(check_run: Path) -> None:
    with house_style():
        _, tables = model_architecture.draw(read_check(check_run))
    stated = {row["what"]: row["value"] for row in tables["specification"]}
    assert stated["parameters"] == "41,754,368"
    assert stated["float32 weights"] == "167.0 MB"
    assert stated["output frame"] == "40 ms (25 per second)"


def _deep(blocks: int) -> list[dict[str, object]]:
    parts: list[dict[str, object]] = [
        {"name": "front_end", "type": "LogMel", "parameters": 0, "output_shape": [1, 400, 80], "depth": 1},
        {"name": "front_end.short_time", "type": "ShortTime", "parameters": 0, "output_shape": None, "depth": 2},
        {"name": "blocks", "type": "ModuleList", "parameters": 100 * blocks, "output_shape": None, "depth": 1},
    ]
    for number in range(blocks):
        parts.append({"name": f"blocks.{number}", "type": "Block", "parameters": 100, "output_shape": [1, 9, 8], "depth": 2})
        for name, size in (("depthwise", 30), ("norm", 10), ("widen", 60)):
            shape = [1, 8, 9 + size]
            parts.append({"name": f"blocks.{number}.{name}", "type": name, "parameters": size, "output_shape": shape, "depth": 3})
        parts.append({"name": f"blocks.{number}.dropout", "type": "Dropout", "parameters": 0, "output_shape": None, "depth": 3})
    return parts


def test_the_deepest_level_that_fits_is_shown() -> None:
    assert [box.name for box in boxes_of(_deep(1))] == ["front_end", "blocks.0.depthwise", "blocks.0.norm", "blocks.0.widen"]
    assert [box.name for box in boxes_of(_deep(8))] == ["front_end", *(f"blocks.{n}" for n in range(8))]
    front_end, blocks = boxes_of(_deep(50))
    assert front_end.name == "front_end"
    assert blocks.shape == (1, 9, 8)
    assert (blocks.name, blocks.type, blocks.count, blocks.parameters) == ("blocks.0 … blocks.49", "Block", 50, 5000)


def test_parameters_that_no_box_owns_are_shown(check_builder: Callable[..., Path]) -> None:
    check = read_check(check_builder(count=1))
    check.model["parameters"] += 500
    with house_style():
        _, tables = model_architecture.draw(check)
    assert tables["modules"][-1]["parameters"] == 500
    assert sum(row["parameters"] for row in tables["modules"]) == check.model["parameters"]
