"""Figure 2 of a check where no symbols are aligned: sets of speakers frame by frame, or an utterance among all training speakers.

The upper two rows are those of every task: the log-mel of the waveform for the eye, and the very tensor the model received. Below stands
what came out beside what is true, on the same time axis where it has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from auscult.report.check_record import Check, Overfit
from auscult.report.figure import COLOURS, FAINT, GOOD, INK, WARNING, Row
from auscult.report.panels import draw_image, note_box, shorten

Chosen = Sequence[tuple[Overfit, dict[str, NDArray[Any]]]]
NEAREST = 12
"""Speakers shown, nearest first."""


def draw_input(panels: Sequence[Axes], check: Check, utterance: Overfit, arrays: dict[str, NDArray[Any]], first: bool) -> float:
    """Draw waveform and features of one item into two panels; return its seconds."""
    seconds = len(arrays["waveform"]) / float(arrays["sample_rate"])
    panels[0].set_title(f"{utterance.number} · {shorten(utterance.id, 26)}\n" + ("a  Waveform, log-mel" if first else ""))
    panels[1].set_title("b  Model input" if first else "")
    draw_image(panels[0], arrays["waveform_log_mel"], seconds, "mel band")
    draw_image(panels[1], arrays["features"], seconds, f"{check.model.get('front_end', {}).get('name', 'features')} bin")
    for panel in panels[:2]:
        panel.set_xlim(0.0, seconds)
        panel.xaxis.set_major_locator(MaxNLocator(nbins=5))
        if not first:
            panel.set_ylabel("")
            panel.tick_params(labelleft=False)
    return seconds


def draw_classes(figure: Figure, check: Check, chosen: Chosen) -> dict[str, list[Row]]:
    """Draw probabilities of classes over time, and the true class beside the most probable one."""
    grid = figure.subplots(4, len(chosen), squeeze=False, sharex="col", gridspec_kw={"height_ratios": [1.0, 1.0, 1.1, 1.1]})
    tables: dict[str, list[Row]] = {"probabilities": [], "classes": []}
    for column, (utterance, arrays) in enumerate(chosen):
        first = column == 0
        panels = list(grid[:, column])
        seconds = draw_input(panels, check, utterance, arrays, first)
        labels = [str(label) for label in arrays["labels"]]
        probabilities, true = arrays["probabilities"].astype(np.float64), arrays["classes"].astype(int)
        step = check.frame_step if check.frame_step > 0 else seconds / max(len(true), 1)
        times = (seconds - (len(true) - 1) * step) / 2.0 + np.arange(len(true)) * step
        extent = (times[0] - step / 2, times[-1] + step / 2, -0.5, len(labels) - 0.5)
        panels[2].imshow(
            probabilities.T, origin="lower", aspect="auto", extent=extent, cmap="Blues", vmin=0, vmax=1, interpolation="nearest"
        )
        found = probabilities.argmax(axis=1)
        wrong = found != true
        panels[3].step(times, true, where="mid", color=FAINT, linewidth=5.5, label="true")
        panels[3].step(times, found, where="mid", color=COLOURS[0], linewidth=1.2, label="most probable")
        panels[3].plot(
            times[wrong], found[wrong], "x", color=WARNING, markersize=4, label=f"wrong: {int(wrong.sum())} of {len(true)} frames"
        )
        panels[2].set_title("c  Class probabilities" if first else "")
        panels[3].set_title("d  True and most probable class" if first else "")
        for panel in panels[2:]:
            panel.set_yticks(range(len(labels)), labels if first else [], fontsize=8 if len(labels) <= 8 else 6.5)
            panel.set_xlim(0.0, seconds)
            panel.grid(False)
        panels[3].set_ylim(-0.5, len(labels) + 1.9)
        panels[3].legend(loc="upper right", ncols=1, fontsize=7.5)
        panels[3].set_xlabel("seconds")
        for frame, moment in enumerate(times.tolist()):
            row = {"window": utterance.id, "seconds": moment}
            tables["classes"].append({**row, "true": labels[true[frame]], "found": labels[found[frame]]})
            tables["probabilities"].append({**row, **dict(zip(labels, probabilities[frame].tolist(), strict=True))})
    return tables


def draw_nearest(figure: Figure, check: Check, chosen: Chosen) -> dict[str, list[Row]]:
    """Draw the cosines of each utterance to the nearest training speakers, the true one marked; to none where the loss has no classes."""
    grid = figure.add_gridspec(3, len(chosen), height_ratios=[1.0, 1.0, 1.7])
    rows: list[Row] = []
    for column, (utterance, arrays) in enumerate(chosen):
        panels = [figure.add_subplot(grid[row, column]) for row in range(3)]
        draw_input(panels, check, utterance, arrays, column == 0)
        panels[1].set_xlabel("seconds")
        axes = panels[2]
        axes.set_title("c  Nearest training speakers" if column == 0 else "")
        if "cosines" not in arrays:
            axes.set(xticks=[], yticks=[])
            axes.text(
                0.5, 0.5, "the loss compares within a batch\nand keeps no speakers", ha="center", va="center", transform=axes.transAxes
            )
            continue
        cosines, labels, target = arrays["cosines"].astype(np.float64), arrays["labels"], int(arrays["target"])
        order = np.argsort(-cosines, kind="stable")
        rank = int(np.flatnonzero(order == target)[0])
        shown = order[:NEAREST] if rank < NEAREST else np.append(order[: NEAREST - 1], target)
        colours = [(GOOD if rank == 0 else WARNING) if one == target else FAINT for one in shown]
        axes.barh(range(len(shown)), cosines[shown], color=colours, height=0.7)
        for place, one in enumerate(shown.tolist()):
            said = f"{cosines[one]:.3f}" + (f"  own speaker, {'nearest' if rank == 0 else f'rank {rank + 1}'}" if one == target else "")
            axes.annotate(said, (max(cosines[one], 0.0), place), (4, 0), textcoords="offset points", va="center", fontsize=8)
        axes.set_yticks(range(len(shown)), [shorten(str(labels[one]), 14) for one in shown], fontsize=8)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlim(min(0.0, 1.1 * float(cosines[shown].min())), 1.6 * max(float(cosines.max()), 0.1))
        axes.axvline(0.0, color=INK, linewidth=0.8)
        axes.set_xlabel("cosine to the speaker's weights, without the margin")
        axes.grid(axis="y", visible=False)
        text = f"{len(cosines):,} training speakers"
        axes.text(0.97, 0.03, text, transform=axes.transAxes, ha="right", va="bottom", fontsize=8, bbox=note_box())
        rows += [
            {"utterance": utterance.id, "rank": place + 1, "speaker": str(labels[one]), "cosine": float(cosines[one]), "own": one == target}
            for place, one in enumerate(order.tolist())
        ]
    return {"nearest": rows}
