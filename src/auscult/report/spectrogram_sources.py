"""Figure 2 of a check of separation: the mixture that was heard, and each source above what the model made of it.

An estimate has no gain of its own, since scale-invariant losses leave it free; it is shown at the gain that brings it nearest to its
source. An estimate that has nothing to do with the source is then as faint as it deserves, instead of as bright as its peak.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from auscult.report.check_record import Check, Overfit
from auscult.report.figure import Row
from auscult.report.panels import note_box, shorten
from auscult.report.sound_picture import draw_spectrum, loudest_of, spectrum

Floats = NDArray[np.float64]
Chosen = Sequence[tuple[Overfit, dict[str, NDArray[Any]]]]


def draw_sources(figure: Figure, check: Check, chosen: Chosen) -> dict[str, list[Row]]:
    """Draw a column per mixture; return levels and distances of every estimate.

    Args:
        chosen: arrays with mixture (time,), sources (source, time), estimates (source, time) in the order of the sources, sample_rate.
    """
    most = max(len(arrays["sources"]) for _, arrays in chosen)
    grid = figure.subplots(1 + 2 * most, len(chosen), squeeze=False, sharex="col")
    rows: list[Row] = []
    for column, (utterance, arrays) in enumerate(chosen):
        rate = float(arrays["sample_rate"])
        named = sounds(arrays)
        pictures = [spectrum(samples, rate) for _, samples, _ in named]
        loudest = loudest_of(pictures)
        for place, ((name, samples, note), picture) in enumerate(zip(named, pictures, strict=True)):
            axes = grid[place, column]
            draw_spectrum(axes, picture, len(samples) / rate, rate, loudest)
            title = f"{'abcdefghijk'[place]}  {name}" if column == 0 else ""
            axes.set_title(f"{utterance.number} · {shorten(utterance.id, 26)}\n{title}" if place == 0 else title)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
            axes.set_ylabel("kHz" if column == 0 else "")
            if note:
                axes.text(0.985, 0.94, note, transform=axes.transAxes, ha="right", va="top", fontsize=8, bbox=note_box())
        for axes in grid[len(named) :, column]:
            axes.set_visible(False)
        grid[len(named) - 1, column].set_xlabel("seconds")
        rows += table(utterance.id, arrays)
    return {"estimates": rows}


def sounds(arrays: dict[str, NDArray[Any]]) -> list[tuple[str, Floats, str]]:
    """Return what is drawn of a mixture, top to bottom: name, samples, and a remark."""
    mixture = arrays["mixture"].astype(np.float64)
    named: list[tuple[str, Floats, str]] = [("Mixture", mixture, "")]
    for number, (source, estimate) in enumerate(zip(arrays["sources"], arrays["estimates"], strict=True), start=1):
        target = source.astype(np.float64)
        found, distance = nearest(target, estimate.astype(np.float64))
        named.append((f"Source {number}", target, "silent" if not target.any() else ""))
        named.append((f"Estimate {number}, at its best gain", found, f"SI-SDR {distance:.1f} dB" if target.any() else ""))
    return named


def nearest(source: Floats, estimate: Floats) -> tuple[Floats, float]:
    """Return an estimate (time,) at the gain that brings it nearest to the source, and its SI-SDR in dB; both without their means.

    With g = <s, e> / <e, e>, what is left is g e - s, and |s|^2 / |g e - s|^2 = 1 + SI-SDR as a ratio (Le Roux et al. 2019, eq. 3 to 5).

    >>> _, distance = nearest(np.array([1.0, -1.0, 1.0, -1.0]), np.array([3.0, -1.0, 1.0, -3.0]))
    >>> round(distance, 2)
    6.02
    """
    source, estimate = source - source.mean(), estimate - estimate.mean()
    power, cross = float(estimate @ estimate), float(source @ estimate)
    if power == 0.0 or not source.any():
        return np.zeros_like(estimate), float("-inf")
    gain = cross / power
    left = float(np.sum((gain * estimate - source) ** 2))
    whole = float(source @ source)
    return gain * estimate, 10.0 * float(np.log10(max(whole - left, 1e-300) / max(left, 1e-300)))


def table(name: str, arrays: dict[str, NDArray[Any]]) -> list[Row]:
    """Return one row per source: level of source and estimate in dB of full scale, and the SI-SDR of the estimate."""
    rows: list[Row] = []
    for number, (source, estimate) in enumerate(zip(arrays["sources"], arrays["estimates"], strict=True), start=1):
        true, found = source.astype(np.float64), estimate.astype(np.float64)
        row = {"mixture": name, "source": number, "source_db": level(true), "estimate_db": level(found)}
        rows.append({**row, "si_sdr": nearest(true, found)[1] if true.any() else None})
    return rows


def level(samples: Floats) -> float:
    """Return the root mean square of a sound in dB of full scale."""
    return 10.0 * float(np.log10(max(float(np.mean(samples**2)), 1e-20)))
