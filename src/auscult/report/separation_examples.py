"""The figure of what was kept to listen to: mixture, sources and estimates of a few mixtures, as a person hears them.

Drawn from the saved files, so picture and player show the same thing; all sounds of a mixture share their gain and so one scale of
colours, in which an estimate that is too quiet stays dark.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from auscult.errors import UserError
from auscult.report.figure import FAINT, Row, new_figure, not_available
from auscult.report.panels import shorten
from auscult.report.sound_picture import draw_spectrum, loudest_of, spectrum
from auscult.report.train_record import Judged, Training

SHOWN = 3
"""Columns: the worst, the middle and the best of what was kept."""
MOST_SECONDS = 20.0
Sound = tuple[str, NDArray[np.float64], int]


def draw(training: Training, judged: Judged) -> tuple[Figure, dict[str, list[Row]]]:
    """Return the figure of a split's sounds, and their levels.

    Raises:
        UserError: a saved sound cannot be read.
    """
    items = [item for item in judged.listening.get("items", ()) if item.get("sounds")]
    items = items if len(items) <= SHOWN else [items[0], items[len(items) // 2], items[-1]]
    columns = [_sounds(training.run.path / "listening" / judged.split, item) for item in items]
    names = list(dict.fromkeys(name for column in columns for name, _, _ in column))
    figure = new_figure(f"Sounds of {judged.split}", f"{training.subtitle}  ·  as saved to listen to", 1.2 + 1.85 * max(len(names), 1))
    if not names:
        not_available(figure.subplots(), "no sounds were kept")
        return figure, {"levels": []}
    grid = figure.subplots(len(names), len(items), squeeze=False, sharex="col")
    rows: list[Row] = []
    for place, (item, column) in enumerate(zip(items, columns, strict=True)):
        _draw_column(list(grid[:, place]), item, column, names, first=place == 0)
        rows += [{"id": item["id"], "place": item.get("place"), "sound": name, **_levels(samples)} for name, samples, _ in column]
    return figure, {"levels": rows}


def _draw_column(panels: list[Axes], item: Mapping[str, Any], column: list[Sound], names: list[str], first: bool) -> None:
    pictures = {name: (spectrum(samples, rate), len(samples) / rate, rate) for name, samples, rate in column}
    loudest = loudest_of([picture for picture, _, _ in pictures.values()])
    gain = f", {item['si_sdri']:+.1f} dB" if isinstance(item.get("si_sdri"), int | float) else ""
    for place, (axes, name) in enumerate(zip(panels, names, strict=True)):
        title = f"{'abcdefghijklmnopqrstuvwxyz'[place % 26]}  {name[:1].upper()}{name[1:]}" if first else ""
        axes.set_title(f"{item.get('place', '')}{gain}\n{shorten(str(item['id']), 28)}\n{title}" if place == 0 else title)
        if name in pictures:
            picture, seconds, rate = pictures[name]
            draw_spectrum(axes, picture, seconds, rate, loudest)
        else:
            axes.set_facecolor(FAINT)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.set_ylabel("kHz" if first else "")
    panels[-1].set_xlabel("seconds")


def _sounds(folder: Path, item: Mapping[str, Any]) -> list[Sound]:
    found: list[Sound] = []
    for sound in item["sounds"]:
        path = folder / Path(str(sound["file"])).name
        if not path.is_file():
            continue
        try:
            rate = soundfile.info(path).samplerate
            samples, _ = soundfile.read(path, frames=round(MOST_SECONDS * rate), dtype="float64", always_2d=True)
        except (OSError, RuntimeError) as error:
            raise UserError(f"{path}: cannot be read ({error}); evaluate the run again") from error
        if len(samples):
            found.append((str(sound["name"]), samples[:, 0], rate))
    return found


def _levels(samples: NDArray[np.float64]) -> dict[str, float]:
    power = max(float(np.mean(samples**2)), 1e-20)
    return {"rms_db_as_saved": 10 * float(np.log10(power)), "peak_as_saved": float(np.abs(samples).max())}
