"""Figure 2 of a check: what went in, what came out, and what should have come out, on one time axis in seconds.

R0 drew these panels on three unrelated axes and called linear bins mel. Here the waveform's log-mel is only for the eye, the
second row is the very tensor the model received, and the targets stand where the model's own best alignment puts them.
Of more than three utterances with stored arrays, the shortest, the middle and the longest are shown.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from auscult.report.alignment import best_alignment
from auscult.report.check_record import Check, Overfit
from auscult.report.figure import COLOURS, FAINT, GOOD, INK, SMOKE, Row, new_figure, not_available
from auscult.report.panels import draw_image, note_box, shorten
from auscult.report.spectrogram_others import draw_classes, draw_nearest
from auscult.report.spectrogram_sources import draw_sources

Floats = NDArray[np.float64]
SHOWN = 3
LETTERS = 40
"""Most target symbols that are written one by one."""
_ROWS = ("a  Waveform, log-mel", "b  Model input", "c  Output probabilities", "d  Targets on the best alignment")


def draw(check: Check) -> tuple[Figure, dict[str, list[Row]]]:
    """Return the figure and the rows behind its panels."""
    figure = new_figure("Spectrogram analysis", check.subtitle, 10.4, tag=SMOKE)
    chosen = choose(check)
    tables: dict[str, list[Row]] = {"probabilities": [], "targets": []}
    if not chosen:
        not_available(figure.subplots(), "no arrays were stored for this run")
        return figure, tables
    if any("tokens" not in arrays for _, arrays in chosen):
        kinds = (("estimates", draw_sources), ("classes", draw_classes), ("waveform", draw_nearest))
        drawn = next(draw for key, draw in kinds if all(key in arrays for _, arrays in chosen))
        return figure, drawn(figure, check, chosen)
    grid = figure.subplots(4, len(chosen), squeeze=False, sharex="col", gridspec_kw={"height_ratios": [1.0, 1.0, 1.35, 1.0]})
    for column, (utterance, arrays) in enumerate(chosen):
        _draw_column(list(grid[:, column]), check, utterance, arrays, tables, first=column == 0)
    return figure, tables


def choose(check: Check) -> list[tuple[Overfit, dict[str, NDArray[Any]]]]:
    """Return up to three utterances that have arrays, with them: all of them, or the shortest, the middle and the longest."""
    stored = {path.stem for path in (check.run.path / "arrays").glob("*.npz")}
    having = [utterance for utterance in check.utterances if str(utterance.number - 1) in stored]
    if len(having) > SHOWN:
        by_length = sorted(having, key=lambda utterance: utterance.number_of("seconds"))
        having = [by_length[0], by_length[len(by_length) // 2], by_length[-1]]
    found = [(utterance, check.arrays(utterance)) for utterance in having]
    return [(utterance, arrays) for utterance, arrays in found if arrays is not None]


def _draw_column(
    panels: list[Axes], check: Check, utterance: Overfit, arrays: dict[str, NDArray[Any]], tables: dict[str, list[Row]], first: bool
) -> None:
    seconds = len(arrays["waveform"]) / float(arrays["sample_rate"])
    features, probabilities = arrays["features"], arrays["probabilities"].astype(np.float64)
    times = output_times(len(features), len(probabilities), _input_step(check, seconds, len(features)), check.frame_step)
    labels = [str(label) for label in arrays["labels"]]
    tokens = arrays["tokens"].astype(np.int64)
    panels[0].set_title(f"{utterance.number} · {shorten(utterance.id, 26)}\n" + (_ROWS[0] if first else ""))
    for panel, title in zip(panels[1:], _ROWS[1:], strict=True):
        panel.set_title(title if first else "")
    draw_image(panels[0], arrays["waveform_log_mel"], seconds, "mel band")
    name = check.model.get("front_end", {}).get("name", "features")
    draw_image(panels[1], features, seconds, f"{name} bin")
    order = _draw_probabilities(panels[2], probabilities, times, labels, tokens)
    frames, certainty = best_alignment(probabilities, tokens, len(labels) - 1)
    _draw_targets(panels[3], utterance, probabilities[:, -1], times, [labels[token] for token in tokens], frames, certainty)
    for panel in panels:
        panel.set_xlim(0.0, seconds)
        panel.xaxis.set_major_locator(MaxNLocator(nbins=5))
        if not first:
            panel.set_ylabel("")
            panel.tick_params(labelleft=panel is panels[2])  # each utterance has symbols of its own
    panels[-1].set_xlabel("seconds")
    for frame, moment in enumerate(times):
        row = {"utterance": utterance.id, "seconds": float(moment)}
        tables["probabilities"] += [
            {**row, "symbol": labels[symbol], "probability": float(probabilities[frame, symbol])} for symbol in order
        ]
    for token, frame, value in zip(tokens, frames, certainty, strict=False):  # frames are empty where none can spell the target
        tables["targets"].append(
            {"utterance": utterance.id, "symbol": labels[token], "seconds": float(times[frame]), "probability": float(value)}
        )


def output_times(input_frames: int, output_frames: int, input_step: float, output_step: float) -> Floats:
    """Return the second at the middle of each output frame, (output_frames,): the output is centred on the input.

    R0: 112 frames of 20 ms give 51 of 40 ms; the convolutions' middle is input frame 5, centring says 5.5.

    >>> output_times(112, 51, 0.02, 0.04)[:2].round(2).tolist()
    [0.11, 0.15]
    """
    if not output_step > 0:
        output_step = input_step * input_frames / max(output_frames, 1)
    offset = ((input_frames - 1) * input_step - (output_frames - 1) * output_step) / 2.0
    return np.asarray(offset + np.arange(output_frames) * output_step, dtype=np.float64)


def _input_step(check: Check, seconds: float, frames: int) -> float:
    step = check.model.get("front_end", {}).get("frame_step")
    return float(step) if isinstance(step, int | float) else seconds / max(frames - 1, 1)


def _draw_probabilities(axes: Axes, probabilities: Floats, times: Floats, labels: list[str], tokens: NDArray[np.int64]) -> list[int]:
    """Show the classes that matter, blank on top; returns them. The rest of the classes is left out."""
    wanted = {int(token) for token in tokens} | {int(symbol) for symbol in probabilities.argmax(axis=1)}
    blank = len(labels) - 1
    order = [*sorted(wanted - {blank}, key=lambda symbol: labels[symbol], reverse=True), blank]
    half = (times[1] - times[0]) / 2.0 if len(times) > 1 else 0.02
    axes.imshow(
        probabilities[:, order].T,
        origin="lower",
        aspect="auto",
        extent=(times[0] - half, times[-1] + half, -0.5, len(order) - 0.5),
        cmap="Blues",
        vmin=0.0,
        vmax=1.0,
        interpolation="nearest",
    )
    names = [{" ": "␣", "<blank>": "blank"}.get(labels[symbol], labels[symbol]) for symbol in order]
    axes.set_yticks(range(len(order)), names, fontsize=8 if len(order) <= 18 else 6.5)
    axes.set_ylabel("symbol")
    axes.grid(False)
    return order


def _draw_targets(
    axes: Axes, utterance: Overfit, blank: Floats, times: Floats, symbols: list[str], frames: NDArray[np.int64], certainty: Floats
) -> None:
    axes.fill_between(times, blank, color=FAINT, alpha=0.6, linewidth=0, step="mid")
    axes.vlines(
        times[frames],
        0.0,
        certainty,
        color=np.where(certainty > 0.5, GOOD, COLOURS[1]).tolist(),
        linewidth=1.4 if len(frames) < 60 else 0.6,
    )
    _label_targets(axes, times[frames], symbols)
    rate = utterance.number_of("symbols") / utterance.number_of("seconds")
    repeats = utterance.number_of("required_frames") - utterance.number_of("symbols")
    text = f"L {len(symbols)}, r {repeats:.0f}, T' {len(times)}, spare {utterance.margin:.0f}; {rate:.1f} symbols/s"
    axes.text(0.5, 0.03, text, transform=axes.transAxes, ha="center", va="bottom", fontsize=7.5, bbox=note_box())
    axes.set(yticks=[0.0, 0.5, 1.0], ylabel="probability\n(grey: blank)")


def _label_targets(axes: Axes, moments: Floats, symbols: list[str]) -> None:
    """Write symbols above their stems; words, upright, where the symbols are too many."""
    if len(symbols) <= LETTERS:
        axes.set_ylim(-0.36, 1.3)
        for symbol, moment in zip(symbols, moments, strict=False):
            label = "␣" if symbol == " " else symbol
            axes.text(moment, 1.06, label, ha="center", va="bottom", fontsize=8.5 if len(symbols) <= 24 else 7.5, color=INK)
        return
    axes.set_ylim(-0.45, 2.05)
    place = 0
    for word in "".join(symbols).split(" "):
        inside = moments[place : place + len(word)]
        if inside.size:
            axes.text(float(inside.mean()), 1.06, word, ha="center", va="bottom", rotation=90, fontsize=6.5, color=INK)
        place += len(word) + 1
