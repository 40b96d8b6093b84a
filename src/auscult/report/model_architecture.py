"""Figure 3 of a check: the real module tree with output shapes and parameter shares, never a drawing made by hand.

The boxes are the modules in the log's "model" event. They stand in the order in which the model ran them where the log has it
("order"), otherwise in the order of definition, and the figure says which. A model with more modules than fit is folded:
runs of equal neighbours become one box with a count, and where that is not enough, a shallower level of the tree is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from auscult.report.check_record import Check
from auscult.report.figure import COLOURS, FAINT, OUTSIDE, PALE, SMOKE, Row, blank_panel, new_figure, not_available
from auscult.report.panels import shorten

MOST_BOXES = 20


@dataclass(frozen=True)
class Box:
    """One module, or several equal ones.

    Attributes:
        name: path in the module tree, or "first … last" of several.
        type: class name.
        parameters: of all modules in the box.
        shape: of the output, with batch and frames as the log measured them; None where the module was not called by itself.
        count: modules in the box.
        order: place in the forward pass, where the log has it.
    """

    name: str
    type: str
    parameters: int
    shape: tuple[int, ...] | None
    count: int = 1
    order: int | None = None

    @property
    def group(self) -> str:
        """First part of the name."""
        return self.name.split(".")[0]


def draw(check: Check) -> tuple[Figure, dict[str, list[Row]]]:
    """Return the figure and the rows behind its panels."""
    boxes = boxes_of(check.model.get("parts", []))
    figure = new_figure("Model architecture", check.subtitle, float(np.clip(4.0 + 0.35 * len(boxes), 6.8, 9.4)), tag=SMOKE)
    if not boxes:
        not_available(figure.subplots(), "the log has no module tree")
        return figure, {"modules": []}
    total = int(check.model.get("parameters") or sum(box.parameters for box in boxes))
    rest = total - sum(box.parameters for box in boxes)
    if rest > 0:  # held by a module that has children as well, so that no box owns them
        boxes.append(Box("between the boxes", "Parameter", rest, None))
    grid = figure.add_gridspec(2, 2, width_ratios=[1.25, 1.0], height_ratios=[1.2, 1.0])
    _draw_boxes(figure.add_subplot(grid[:, 0]), boxes, total)
    _draw_bars(figure.add_subplot(grid[0, 1]), boxes, total)
    specification = _specification(check, total)
    _draw_specification(figure.add_subplot(grid[1, 1]), specification)
    rows: list[Row] = [
        {
            "module": b.name,
            "type": b.type,
            "modules": b.count,
            "parameters": b.parameters,
            "share": b.parameters / max(total, 1),
            "output_shape": _shape(b.shape),
        }
        for b in boxes
    ]
    return figure, {"modules": rows, "specification": [{"what": key, "value": value} for key, value in specification]}


def boxes_of(parts: Sequence[dict[str, Any]], most: int = MOST_BOXES) -> list[Box]:
    """Return the modules of the deepest level of the tree that fits (at worst the top one), equal neighbours as one if they must."""
    boxes: list[Box] = []
    for depth in range(max((int(part["depth"]) for part in parts), default=0), 0, -1):
        boxes = fold(cut(parts, depth), most)
        if len(boxes) <= most:
            break
    return boxes


def cut(parts: Sequence[dict[str, Any]], depth: int) -> list[Box]:
    """Return the modules at a depth and the childless ones above it, in running order where the log has it.

    What neither was called nor has parameters (idle dropout, helpers inside a front-end) is left out.
    """
    seen = [part for part in parts if part["parameters"] or part.get("output_shape")]
    parents = {str(part["name"]).rpartition(".")[0] for part in seen}
    chosen = [part for part in seen if part["depth"] == depth or (part["depth"] < depth and part["name"] not in parents)]
    boxes = [
        Box(
            str(p["name"]),
            str(p["type"]),
            int(p["parameters"]),
            tuple(p["output_shape"]) if p.get("output_shape") else None,
            1,
            p.get("order"),
        )
        for p in chosen
    ]
    return sorted(boxes, key=lambda box: box.order or 0) if all(box.order is not None for box in boxes) else boxes


def fold(boxes: list[Box], most: int = MOST_BOXES) -> list[Box]:
    """Return the boxes as they are where they fit, otherwise with each run of equal neighbours as one box."""
    if len(boxes) <= most:
        return boxes
    folded: list[Box] = []
    for box in boxes:
        if folded and _equal(folded[-1], box):
            before = folded[-1]
            folded[-1] = replace(
                box,
                name=f"{before.name.split(' … ')[0]} … {box.name}",
                parameters=before.parameters + box.parameters,
                count=before.count + box.count,
            )
        else:
            folded.append(box)
    return folded


def _equal(one: Box, other: Box) -> bool:
    per_module = one.parameters * other.count == other.parameters * one.count
    return one.group == other.group and one.type == other.type and one.shape == other.shape and per_module


def _colours(boxes: Sequence[Box]) -> dict[str, str]:
    groups = list(dict.fromkeys(box.group for box in boxes))
    return {group: COLOURS[position % len(COLOURS)] for position, group in enumerate(groups)}


def _draw_boxes(axes: Axes, boxes: Sequence[Box], total: int) -> None:
    ordered = all(box.order is not None for box in boxes)
    axes.set_title("a  Modules in running order" if ordered else "a  Module tree, in order of definition")
    blank_panel(axes)
    rows = max(len(boxes), 7)
    colours = _colours(boxes)
    height = 1.0 / (rows + 0.3)
    size = float(np.clip(150.0 / rows, 6.5, 9.5))
    for position, box in enumerate(boxes):
        middle = 1.0 - (position + 0.65) * height
        body = height * (0.70 if ordered else 0.78)
        colour = colours[box.group]
        axes.add_patch(
            FancyBboxPatch(
                (0.025, middle - body / 2), 0.95, body, boxstyle="round,pad=0,rounding_size=0.008", facecolor=PALE, edgecolor=FAINT
            )
        )
        share = box.parameters / max(total, 1)
        axes.add_patch(FancyBboxPatch((0.025, middle - body / 2), 0.012, body, boxstyle="square,pad=0", facecolor=colour, edgecolor="none"))
        axes.add_patch(
            FancyBboxPatch(
                (0.79, middle - body / 2), 0.185 * share, body, boxstyle="square,pad=0", facecolor=colour, alpha=0.35, edgecolor="none"
            )
        )
        count = f" × {box.count}" if box.count > 1 else ""
        axes.text(0.05, middle, f"{shorten(box.type, 17)}{count}", va="center", fontsize=size, fontweight="bold")
        room = min(17, max(8, 30 - len(_shape(box.shape))))  # letters before the shape begins
        axes.text(0.335, middle, shorten(box.name, room), va="center", fontsize=size - 1, color=OUTSIDE)
        axes.text(0.775, middle, _shape(box.shape), va="center", ha="right", fontsize=size)
        axes.text(0.968, middle, _percent(share) if box.parameters else "–", va="center", ha="right", fontsize=size)
        if ordered and position:
            axes.annotate(
                "",
                (0.5, middle + body / 2),
                (0.5, middle + height - body / 2),
                arrowprops={"arrowstyle": "-|>", "color": OUTSIDE, "lw": 1.0, "shrinkA": 0, "shrinkB": 0},
            )
    axes.set_xlabel("class, name, output shape (as measured on a probe), share of the parameters")


def _draw_bars(axes: Axes, boxes: Sequence[Box], total: int) -> None:
    axes.set_title("b  Parameters by layer")
    shown = [box for box in boxes if box.parameters]
    positions = np.arange(len(shown))
    colours = _colours(boxes)
    axes.barh(positions, [box.parameters for box in shown], color=[colours[box.group] for box in shown], height=0.7)
    for position, box in zip(positions, shown, strict=True):
        axes.annotate(
            f"{box.parameters:,}",
            (box.parameters, position),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8 if len(shown) < 16 else 7,
        )
    axes.set_yticks(positions, [shorten(box.name, 20) for box in shown], fontsize=8 if len(shown) < 16 else 7)
    axes.set_xscale("log")
    most = max((box.parameters for box in shown), default=1)
    axes.set_xlim(max(1.0, min((box.parameters for box in shown), default=1) / 3.0), most**1.0 * 40.0)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlabel(f"parameters (log scale; {total:,} in all)")
    axes.grid(axis="y", visible=False)


def _specification(check: Check, total: int) -> list[tuple[str, str]]:
    model = check.model
    facts = [
        ("model", str(check.start.get("model", "not stated"))),
        ("parameters", f"{total:,}"),
        ("float32 weights", f"{total * 4 / 1e6:,.1f} MB"),
        ("multiply-adds", _macs(model.get("macs_per_second"))),
        (
            "output frame",
            f"{check.frame_step * 1000:g} ms ({1 / check.frame_step:.4g} per second)" if check.frame_step > 0 else "not stated",
        ),
    ]
    facts += [(f"front-end {key}".replace("_", " "), str(value)) for key, value in model.get("front_end", {}).items()]
    optimizer = check.start.get("recipe", {}).get("optimizer", {}) if isinstance(check.start.get("recipe"), dict) else {}
    facts += [(f"optimizer {key}", str(value)) for key, value in optimizer.items() if not isinstance(value, dict | list)]
    return facts


def _macs(value: Any) -> str:
    return f"{value / 1e9:,.3g} G per second of audio" if isinstance(value, int | float) else "not measured"


def _draw_specification(axes: Axes, facts: Sequence[tuple[str, str]]) -> None:
    axes.set_title("c  Specification")
    blank_panel(axes)
    rows = max(len(facts), 9)
    for position, (key, value) in enumerate(facts):
        middle = 1.0 - (position + 0.7) / (rows + 0.4)
        axes.text(0.03, middle, key, va="center", fontsize=9, color=OUTSIDE)
        axes.text(0.46, middle, shorten(value, 36), va="center", fontsize=9)


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.0005 else "< 0.1%"


def _shape(shape: tuple[int, ...] | None) -> str:
    return " × ".join(str(size) for size in shape) if shape else ""
