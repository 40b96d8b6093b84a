"""Figure 5 of a check: every number of the run on one page, under the words that it is no result.

R0 headlined "99.98 % improvement" over three sentences learned by heart. A check has no held-out data, so this figure has no
improvement, no average error rate and no score: it states whether each threshold was truly reached, and why each one stopped.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from auscult.report.check_record import Check, Overfit
from auscult.report.check_words import Words, words_of
from auscult.report.figure import COLOURS, GOOD, INK, OUTSIDE, SMOKE, WARNING, Row, blank_panel, new_figure, not_available
from auscult.report.panels import CROWD, draw_distribution, draw_table, line_style, log_scale, shorten

Floats = NDArray[np.float64]


def draw(check: Check) -> tuple[Figure, dict[str, list[Row]]]:
    """Return the figure and the rows behind its panels."""
    shown = min(len(check.utterances), CROWD)
    figure = new_figure("Performance dashboard", check.subtitle, 8.6 + 0.16 * max(0, shown - 5), tag=SMOKE)
    grid = figure.add_gridspec(3, 3, height_ratios=[0.75 + 0.11 * shown, 1.15, 0.85])
    _draw_metrics(figure.add_subplot(grid[0, :]), check)
    tables = {
        "metrics": [metrics_row(utterance, words_of(check)) for utterance in check.utterances],
        "convergence": _draw_convergence(figure.add_subplot(grid[1, 0]), check),
        "gradient": _draw_gradient(figure.add_subplot(grid[1, 1]), check),
        "efficiency": _draw_efficiency(figure.add_subplot(grid[1, 2]), check),
    }
    facts = summary(check)
    _draw_summary(figure.add_subplot(grid[2, :]), facts)
    tables["summary"] = [{"what": key, "value": value} for key, value in facts]
    return figure, tables


def metrics_row(utterance: Overfit, words: Words) -> Row:
    """Return every number of an utterance, for the table and its CSV."""
    start = ("input_frames", "output_frames", "symbols", "uniform_loss", "initial_loss", "threshold")
    return {
        "utterance": utterance.id,
        **{key: utterance.number_of(key) for key in start},
        "last_loss": utterance.result("loss"),
        "updates": utterance.result("update"),
        "stop_reason": utterance.stop_reason,
        "right": utterance.right,
        **{measure.key: utterance.result(measure.key) for measure in words.ends},
        "seconds": utterance.result("seconds"),
    }


def summary(check: Check) -> list[tuple[str, str]]:
    """Return what can be said of the run as a whole, each as a fact with its count."""
    total = len(check.utterances)
    reached = sum(utterance.reached for utterance in check.utterances)
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in check.stop_reasons().items())
    words = words_of(check)
    exact = sum(utterance.right is True for utterance in check.utterances)
    told = sum(utterance.right is not None for utterance in check.utterances)
    independence = check.independence
    leak = (
        "not run"
        if not independence
        else f"{'passed' if independence.get('passed') else 'FAILED'} (largest leak {float(independence['max_leak']):.3g})"
    )
    verdict = str(check.end.get("verdict", f"not finished ({check.state})"))
    return [
        ("verdict of the check", "; ".join([verdict, *map(str, check.end.get("reasons", []))])),
        ("threshold reached", f"{reached:,} of {total:,}, by the loss of the last update"),
        ("stopped by", reasons),
        (
            f"{words.output} right",
            f"{exact:,} of {total:,} (on the very {words.item} that was learned)" if told else "the task cannot tell",
        ),
        ("batch independence", leak),
        ("updates, seconds", f"{np.nansum(check.results('update')):,.0f} updates in {np.nansum(check.results('seconds')):,.0f} s"),
        ("held-out data", f"none: nothing here says {words.quality}"),
    ]


def _number(value: float, pattern: str) -> str:
    return format(value, pattern) if np.isfinite(value) else "–"


def _columns(check: Check) -> list[tuple[str, float, list[str]]]:
    """Return header, width and cells of each column of the table; sizes that no item has are left out."""
    words, items = words_of(check), check.utterances
    columns: list[tuple[str, float, list[str]]] = [(words.item, 2.0, [f"{one.number} · {shorten(one.id, 20)}" for one in items])]
    for key, header in (("input_frames", "T"), ("output_frames", "T'"), ("symbols", "L")):
        if np.isfinite(check.column(key)).any():
            columns.append((header, 0.55, [_number(one.number_of(key), ".0f") for one in items]))
    for key, header in (("uniform_loss", "uniform" if words.baseline.startswith("uniform") else "theory"), ("initial_loss", "initial")):
        if np.isfinite(check.column(key)).any():
            columns.append((header, 0.8, [_number(one.number_of(key), ".3f") for one in items]))
    columns.append(("last loss", 1.0, [_number(one.result("loss"), f".{words.digits}f") for one in items]))
    columns.append(("updates", 0.8, [_number(one.result("update"), ".0f") for one in items]))
    columns.append(("stopped by", 1.1, [one.stop_reason for one in items]))
    for measure in words.ends:
        if any(np.isfinite(one.result(measure.key)) for one in items):
            columns.append((measure.short, 0.95, [_number(one.result(measure.key), measure.pattern) for one in items]))
    columns.append(("right", 0.6, [{True: "yes", False: "NO", None: "–"}[one.right] for one in items]))
    return columns


def _draw_metrics(axes: Axes, check: Check) -> None:
    blank_panel(axes)
    words = words_of(check)
    remark = f"(loss {f'in {words.unit} ' if words.unit else ''}per {words.per}; all of them on the learned {words.item} itself)"
    if len(check.utterances) <= CROWD:
        axes.set_title(f"a  Per {words.item} {remark}")
        columns = _columns(check)
        rows = list(zip(*(cells for _, _, cells in columns), strict=True))
        draw_table(axes, [header for header, _, _ in columns], rows, [width for _, width, _ in columns], size=9)
        return
    axes.set_title(f"a  Quantiles over {len(check.utterances):,} {words.items} {remark}")
    starts = ("input_frames", "output_frames", "symbols", "uniform_loss", "initial_loss")
    named = {key.replace("_", " "): check.column(key) for key in starts}
    named |= {"last loss": check.results("loss"), "updates": check.results("update"), "seconds": check.results("seconds")}
    named |= {measure.short: check.results(measure.key) for measure in words.ends}
    lines = []
    for name, values in named.items():
        known = values[np.isfinite(values)]
        if known.size:
            lines.append([name, *(f"{value:.4g}" for value in np.quantile(known, [0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0]))])
    draw_table(axes, ("", "least", "5 %", "25 %", "median", "75 %", "95 %", "most"), lines, (1.6, *[1.0] * 7), size=9)


def _draw_convergence(axes: Axes, check: Check) -> list[Row]:
    axes.set_title("b  Loss, from initial to last")
    initial, last, threshold = check.column("initial_loss"), check.results("loss"), check.column("threshold")
    rows: list[Row] = [
        {"utterance": u.label, "initial_loss": a, "last_loss": b, "threshold": c, "stop_reason": u.stop_reason, "reached": u.reached}
        for u, a, b, c in zip(check.utterances, initial, last, threshold, strict=True)
    ]
    if len(check.utterances) > CROWD:
        _draw_last(axes, check, last, threshold)
        return rows
    digits, aside = words_of(check).digits, (8 if check.signed else 0, 8)  # beside the threshold's line, not on it
    for position, utterance in enumerate(check.utterances):
        colour = GOOD if utterance.reached else WARNING
        axes.plot([initial[position], last[position]], [position, position], color=colour, linewidth=2, alpha=0.5)
        axes.plot(initial[position], position, "|", color=INK, markersize=12)
        axes.plot(last[position], position, "o" if utterance.reached else "X", color=colour, markersize=8)
        if len(check.utterances) <= 6:
            said = f"{last[position]:.{digits}f}"
            axes.annotate(said, (last[position], position), aside, textcoords="offset points", ha="left", fontsize=8.5)
    for value in sorted(set(threshold[np.isfinite(threshold)])):
        axes.axvline(value, color=WARNING, linewidth=1.1, linestyle=(0, (4, 2)))
    if not check.signed:
        log_scale(axes, "x", initial, last, threshold)
    _number_rows(axes, check)
    axes.set_xlabel(f"loss per {words_of(check).per} (|: initial, ●: below threshold, ✕: not)")
    return rows


def _draw_last(axes: Axes, check: Check, last: Floats, threshold: Floats) -> None:
    """Draw how the last losses of many are spread: over powers of ten, or over dB."""
    axes.set_title("b  Last loss")
    known = last[np.isfinite(last) & (check.signed | (last > 0))]
    name = words_of(check).loss_axis if check.signed else "log10 of the last loss"
    draw_distribution(axes, [u.label for u in check.utterances], known if check.signed else np.log10(known), name, "", 2, check.noun)
    axes.set_xlabel(name)
    middle = np.nanmedian(threshold)
    axes.axvline(middle if check.signed else np.log10(middle), color=WARNING, linewidth=1.2)


def _draw_gradient(axes: Axes, check: Check) -> list[Row]:
    axes.set_title("c  Gradient norm: first, largest, last")
    rows: list[Row] = []
    for utterance in check.utterances:
        norms = utterance.steps["gradient_norm"]
        known = norms[np.isfinite(norms)]
        values = (known[0], known.max(), np.median(known), known[-1]) if known.size else (np.nan,) * 4
        rows.append(
            {
                "utterance": utterance.label,
                **dict(zip(("first", "largest", "median", "last"), values, strict=True)),
                "not_finite": int((~np.isfinite(norms)).sum()),
            }
        )
    if not any(np.isfinite(row["last"]) for row in rows):
        not_available(axes, "no gradient norm in the log")
        return rows
    if len(rows) > CROWD:
        for key, colour in (("first", COLOURS[0]), ("largest", COLOURS[1]), ("last", COLOURS[2])):
            logs = np.log10([max(row[key], 1e-30) for row in rows if np.isfinite(row[key])])
            counts, edges = np.histogram(logs, 30)
            axes.stairs(counts, edges, fill=True, alpha=0.45, color=colour, label=f"{key}: median {10 ** np.median(logs):.3g}")
        axes.legend(loc="upper center")
        axes.set(xlabel="log10 of the L2 norm", ylabel=f"{check.noun}s")
        axes.set_ylim(0, axes.get_ylim()[1] * 1.45)
        return rows
    for key, marker in (("first", "|"), ("largest", "^"), ("last", "o")):
        for position, row in enumerate(rows):
            size, edge = (11, 2) if marker == "|" else (7, 0)
            axes.plot(row[key], position, marker, color=line_style(position)["color"], markersize=size, markeredgewidth=edge)
    log_scale(axes, "x", [row["largest"] for row in rows])
    axes.xaxis.set_minor_formatter(FuncFormatter(_two_or_five))
    axes.tick_params(axis="x", which="minor", labelsize=7.5)
    _number_rows(axes, check)
    axes.set_xlabel("L2 norm (|: first, ▲: largest, ●: last)")
    return rows


def _two_or_five(value: float, place: int | None = None) -> str:
    """Name every third tick between powers of ten: in a narrow panel the others run into one another."""
    return f"{value:g}" if f"{value:e}"[0] in "25" else ""


def _draw_efficiency(axes: Axes, check: Check) -> list[Row]:
    axes.set_title("d  Updates per second")
    rates = np.array([utterance.updates_per_second for utterance in check.utterances])
    draw_distribution(axes, [utterance.label for utterance in check.utterances], rates, "updates per second", "", 2, check.noun)
    return [
        {"utterance": u.label, "updates_per_second": rate, "seconds": u.result("seconds")}
        for u, rate in zip(check.utterances, rates, strict=True)
    ]


def _number_rows(axes: Axes, check: Check) -> None:
    axes.set_yticks(range(len(check.utterances)), [str(utterance.number) for utterance in check.utterances])
    axes.set_ylim(len(check.utterances) - 0.5, -0.7)
    axes.set_ylabel(check.noun)
    axes.grid(axis="y", visible=False)


def _draw_summary(axes: Axes, facts: list[tuple[str, str]]) -> None:
    axes.set_title("e  Summary")
    blank_panel(axes)
    for position, (key, value) in enumerate(facts):
        middle = 1.0 - (position + 0.7) / (len(facts) + 0.4)
        axes.text(0.012, middle, key, va="center", fontsize=9, color=OUTSIDE)
        axes.text(0.19, middle, shorten(value, 118), va="center", fontsize=9)
