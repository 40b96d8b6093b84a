"""The figure of judged mixtures: what was gained over the mixture itself, in which variant, from which level, for whom.

Everything is beside the unprocessed mixture: a bar starts at 0 dB, where nothing would have been done; the line of no gain is drawn
through the scatter; mixtures that are worse than before are counted and marked, because a mean of 8 dB is compatible with a tenth of the
mixtures made unintelligible.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from auscult.report.figure import COLOURS, FAINT, INK, WARNING, Row, new_figure, not_available
from auscult.report.mixture_groups import Group, Item, by_level, by_speaker, by_variant, gains, measured
from auscult.report.panels import alarm_row, note_box, shorten
from auscult.report.train_record import Judged, Training

MOST_SPEAKERS = 12
_MARKERS = "osD^vP"


def draw(training: Training, judged: Judged) -> tuple[Figure, dict[str, list[Row]]]:
    """Return the figure of one split and the rows behind its panels."""
    items = measured(judged.items)
    speakers = len({str(name) for item in items for name in item.get("speakers") or ()})
    silent = f", {len(judged.items) - len(items):,} without a level" if len(items) < len(judged.items) else ""
    count = f"{len(judged.items):,} mixtures of {speakers:,} speakers{silent}"
    figure = new_figure(f"Mixtures of {judged.split}", f"{training.subtitle}  ·  {count}", 11.4)
    axes = [figure.add_subplot(cell) for cell in alarm_row(figure, judged.alarms, 3, [0.95, 1.1, 1.0])]
    groups = by_variant(judged)
    return figure, {
        "by_variant": _draw_gains(axes[0], groups),
        "levels": _draw_levels(axes[1], groups),
        "mixtures": _draw_scatter(axes[2], items, groups),
        "gains": _draw_histogram(axes[3], items),
        "by_level": _draw_by_level(axes[4], items),
        "by_speaker": _draw_speakers(axes[5], items),
    }


def _named(axes: Axes, groups: Sequence[Group]) -> None:
    axes.set_yticks(range(len(groups)), [f"{group.name} ({group.count:,})" for group in groups])
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)


def _draw_gains(axes: Axes, groups: Sequence[Group]) -> list[Row]:
    axes.set_title("a  Improvement over the mixture, by variant")
    if not groups:
        not_available(axes, "no mixture has a level")
        return []
    for place, group in enumerate(groups):
        reach = np.nan_to_num([[group.gain - group.low], [group.high - group.gain]])
        colour = COLOURS[0] if group.gain >= 0 else WARNING
        axes.barh(place, group.gain, xerr=np.maximum(reach, 0.0), height=0.62, color=colour, alpha=0.85 if place == 0 else 0.55,
                  error_kw={"elinewidth": 1.1, "ecolor": INK, "capsize": 2.5})  # fmt: skip
        end = max(group.gain, 0.0 if np.isnan(group.high) else group.high, 0.0)
        failed = f";  {group.failed:,} worse" if group.failed else ""
        axes.annotate(f"{group.gain:+.1f} dB{failed}", (end, place), (6, 0), textcoords="offset points", va="center", fontsize=8.5)
    axes.axvline(0.0, color=INK, linewidth=1.0)
    _named(axes, groups)
    ends = [value for group in groups for value in (group.gain, group.low, group.high, 0.0) if np.isfinite(value)]
    span = max(ends) - min(ends)
    axes.set_xlim(min(ends) - 0.04 * span * (min(ends) < 0), max(ends) + 0.38 * span + 0.1)
    axes.set_xlabel("SI-SDRi (dB), 95 % interval; 0 = the mixture itself")
    names = ("variant", "mixtures", "si_sdri", "low", "high", "median", "worse")
    return [dict(zip(names, (g.name, g.count, g.gain, g.low, g.high, g.median, g.failed), strict=True)) for g in groups]


def _draw_levels(axes: Axes, groups: Sequence[Group]) -> list[Row]:
    axes.set_title("b  From the mixture to the estimates")
    if not groups:
        not_available(axes, "no mixture has a level")
        return []
    for place, group in enumerate(groups):
        colour = COLOURS[0] if group.gain >= 0 else WARNING
        axes.annotate("", (group.after, place), (group.before, place),
                      arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.8, "shrinkA": 0, "shrinkB": 5})  # fmt: skip
        axes.plot(group.before, place, "|", color=INK, markersize=13, markeredgewidth=2)
        axes.plot(group.after, place, "o", color=colour, markersize=7)
        for value, side in ((group.before, -1), (group.after, 1)):
            side = side if group.gain >= 0 else -side
            axes.annotate(f"{value:.1f}", (value, place), (9 * side, 0), textcoords="offset points", va="center", fontsize=8.5,
                          ha="left" if side > 0 else "right")  # fmt: skip
    _named(axes, groups)
    axes.margins(x=0.16)
    axes.set_xlabel("SI-SDR (dB), means  (|: the mixture itself, ●: the estimates)")
    return [{"variant": group.name, "mixture_si_sdr": group.before, "si_sdr": group.after} for group in groups]


def _draw_scatter(axes: Axes, items: Sequence[Item], groups: Sequence[Group]) -> list[Row]:
    axes.set_title("c  Every mixture, before and after")
    if not items:
        not_available(axes, "no mixture has a level")
        return []
    before, after = (np.array([float(item[key]) for item in items]) for key in ("input_si_sdr", "si_sdr"))
    kinds = [group.name for group in groups[1:]][: len(COLOURS)] if len(groups) > 1 else []
    variants = np.array([str(item["variant"]) if str(item["variant"]) in kinds else "" for item in items])
    size = float(np.clip(900 / np.sqrt(len(items)) / 12, 2.5, 6))
    for place, name in enumerate(kinds or [""]):
        mine = variants == name
        axes.plot(before[mine], after[mine], _MARKERS[place], color=COLOURS[place], markersize=size, alpha=0.65, markeredgewidth=0,
                  label=name, rasterized=len(items) > 2000)  # fmt: skip
    if kinds and (variants == "").any():
        axes.plot(before[variants == ""], after[variants == ""], ".", color=FAINT, markersize=size, label="others")
    low, high = min(before.min(), after.min()), max(before.max(), after.max())
    ends = np.array([low, high]) + (high - low + 1) * np.array([-0.05, 0.05])
    sides = np.array([before.min() - 1, before.max() + 1])
    axes.plot(sides, sides, color=INK, linewidth=1.1, linestyle=(0, (4, 2)))
    axes.fill_between(sides, sides, min(ends[0], sides[0]), color=WARNING, alpha=0.07, linewidth=0)
    axes.set(xlim=sides, ylim=ends)
    axes.text(0.98, 0.03, "below the line: worse than the mixture", transform=axes.transAxes, ha="right", va="bottom", fontsize=8.5,
              color="#9a3c00", bbox=note_box())  # fmt: skip
    axes.set(xlabel="SI-SDR of the mixture (dB)", ylabel="SI-SDR of the estimates (dB)")
    if kinds:
        axes.legend(loc="upper left", ncols=min(3, len(kinds)), handletextpad=0.3, columnspacing=0.9)
    return [
        {"id": item["id"], "variant": item["variant"], "input_si_sdr": x, "si_sdr": y, "same_speaker": item.get("same_speaker")}
        for item, x, y in zip(items, before.tolist(), after.tolist(), strict=True)
    ]


def _draw_histogram(axes: Axes, items: Sequence[Item]) -> list[Row]:
    axes.set_title("d  Improvement per mixture")
    if not items:
        not_available(axes, "no mixture has a level")
        return []
    gain = gains(items)
    width = max(0.25, np.ceil((gain.max() - gain.min()) / 36 * 4) / 4)
    edges = np.arange(np.floor(gain.min() / width), np.ceil(gain.max() / width) + 1.5) * width  # 0 is an edge
    counts, edges = np.histogram(gain, edges)
    axes.stairs(counts, edges, fill=True, color=COLOURS[0], alpha=0.75)
    worse = edges[:-1] < 0
    if worse.any():
        axes.stairs(counts[worse], edges[: worse.sum() + 1], fill=True, color=WARNING, alpha=0.9)
    axes.axvline(0.0, color=INK, linewidth=1.0)
    axes.axvline(float(np.median(gain)), ymax=0.74, color=INK, linewidth=1.2, linestyle=(0, (4, 2)))
    failed = int((gain < 0).sum())
    text = f"median {np.median(gain):.1f} dB (dashed)\n{failed:,} of {len(gain):,} below 0 dB ({failed / len(gain):.1%})"
    same = np.array([bool(item.get("same_speaker")) for item in items])
    if same.any():
        rest = f", others {gain[~same].mean():.1f} dB" if not same.all() else ""
        text += f"\none speaker twice: {same.sum():,}, mean {gain[same].mean():.1f} dB{rest}"
    axes.text(0.98, 0.95, text, transform=axes.transAxes, ha="right", va="top", fontsize=8.5, bbox=note_box())
    axes.set(xlabel="SI-SDRi (dB)", ylabel="mixtures")
    axes.set_ylim(0, 1.45 * counts.max())
    axes.grid(axis="x", visible=False)
    return [{"from": a, "to": b, "mixtures": int(n)} for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)]


def _draw_by_level(axes: Axes, items: Sequence[Item]) -> list[Row]:
    axes.set_title("e  Improvement by the level of the mixture")
    groups = by_level(items)
    if not groups:
        not_available(axes, "too few mixtures, or all at one level")
        return []
    places = np.arange(len(groups))
    values = np.array([group.gain for group in groups])
    reach = np.nan_to_num(np.array([[g.gain - g.low for g in groups], [g.high - g.gain for g in groups]]))
    axes.errorbar(places, values, yerr=np.maximum(reach, 0.0), fmt="o-", color=COLOURS[0], ecolor=INK, elinewidth=1.1, capsize=2.5,
                  label="mean, 95 % interval")  # fmt: skip
    axes.plot(places, [group.median for group in groups], "D", color=COLOURS[4], markersize=5, label="median")
    axes.axhline(0.0, color=INK, linewidth=1.0)
    axes.set_xticks(places, [f"{group.name}\n({group.count:,})" for group in groups], fontsize=8)
    axes.set(
        xlabel="SI-SDR of the mixture (dB), groups of about equal size (mixtures)", ylabel="SI-SDRi (dB)", xlim=(-0.5, len(groups) - 0.5)
    )
    axes.margins(y=0.22)
    axes.legend(loc="upper right", ncols=2)
    return [
        {"si_sdr_of_the_mixture": g.name, "mixtures": g.count, "si_sdri": g.gain, "low": g.low, "high": g.high, "median": g.median}
        for g in groups
    ]


def _draw_speakers(axes: Axes, items: Sequence[Item]) -> list[Row]:
    voices = by_speaker(items)
    shown = voices[:MOST_SPEAKERS]
    rest = f", least {len(shown)} of {len(voices)}" if len(shown) < len(voices) else ""
    axes.set_title(f"f  Improvement by speaker, own source{rest}")
    if not voices:
        not_available(axes, "the records name no speakers, or their sources have no levels")
        return []
    places = np.arange(len(shown))
    axes.barh(
        places, [one.gain for one in shown], height=0.7, color=[COLOURS[0] if one.gain >= 0 else WARNING for one in shown], alpha=0.85
    )
    mean = float(np.average([one.gain for one in voices], weights=[one.sources for one in voices]))
    axes.axvline(mean, color=INK, linewidth=1.2, linestyle=(0, (4, 2)), label=f"all sources: {mean:.1f} dB")
    axes.axvline(0.0, color=INK, linewidth=1.0)
    axes.set_yticks(places, [f"{shorten(one.speaker, 20)} ({one.sources:,})" for one in shown], fontsize=8)
    axes.set_ylim(1.11 * len(shown) + 0.5, -0.6)
    axes.set_xlabel("SI-SDRi of the source (dB); speaker (sources)")
    axes.grid(axis="y", visible=False)
    axes.legend(loc="lower right")
    return [{"speaker": one.speaker, "sources": one.sources, "si_sdri": one.gain, "worse": one.failed} for one in voices]
