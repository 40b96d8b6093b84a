"""Drawing all figures of a run from its directory; no model, no data and no torch needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from auscult.report import (
    attack_figure,
    attack_heard_figure,
    attack_page,
    data_flow,
    learning_curves,
    model_architecture,
    performance_dashboard,
    spectrogram_analysis,
    sweep_figure,
    sweep_page,
    training_progress,
)
from auscult.report.attack_record import read_attack
from auscult.report.check_record import read_check
from auscult.report.figure import house_style, save
from auscult.report.item_kinds import drawings
from auscult.report.sweep_record import read_sweep
from auscult.report.train_record import read_training

CHECK_FIGURES = {
    "training_progress": training_progress.draw,
    "spectrogram_analysis": spectrogram_analysis.draw,
    "model_architecture": model_architecture.draw,
    "data_flow": data_flow.draw,
    "performance_dashboard": performance_dashboard.draw,
}
FORMATS = ("png", "svg")


def draw_check(run_path: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Draw the five figures of a check run into its `figures` folder, with the CSV behind each panel.

    Args:
        run_path: a run directory of `auscult check`.
        formats: "png" (300 dots per inch), "svg", "pdf"; all with a transparent background.

    Returns:
        Every picture written.

    Raises:
        UserError: the path is no check run, has no utterance yet, or cannot be written.
    """
    check = read_check(run_path)
    written: list[Path] = []
    with house_style():
        for name, draw in CHECK_FIGURES.items():
            figure, tables = draw(check)
            written += save(figure, check.run.figures_folder, name, tables, formats)
    return written


def draw_training(run_path: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Draw `learning_curves`, and a figure for every judged split, into a training run's `figures` folder.

    The figure of a split is `errors_<split>` for transcripts, `trials_<split>` for trials, `windows_<split>` for windows and
    `mixtures_<split>` for mixtures, with `separation_examples_<split>` where sounds were kept; records of a kind nobody has drawn have
    none.

    Args:
        run_path: a run directory of `auscult train`.
        formats: as for `draw_check`.

    Returns:
        Every picture written.

    Raises:
        UserError: the path is no training run, its items are damaged, or the folder cannot be written.
    """
    training = read_training(run_path)
    written: list[Path] = []
    with house_style():
        figure, tables = learning_curves.draw(training)
        written += save(figure, training.run.figures_folder, "learning_curves", tables, formats)
        for judged in training.judged:
            for name, draw in drawings(judged).items():
                figure, tables = draw(training, judged)
                written += save(figure, training.run.figures_folder, name, tables, formats)
    return written


def draw_attack(run_path: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Draw `attack_reconstructions`, `attack_heard` and `attack_course`, where there is something to show, into a run's `figures` folder.

    Args:
        run_path: a run directory of `auscult attack`.
        formats: as for `draw_check`.

    Returns:
        Every picture written.

    Raises:
        UserError: the path is no run, its files are damaged, or the folder cannot be written.
    """
    attack = read_attack(run_path)
    written: list[Path] = []
    drawn = {attack_page.RECONSTRUCTIONS: attack_figure.draw_reconstructions, attack_page.COURSE: attack_figure.draw_course}
    drawn[attack_page.HEARD] = attack_heard_figure.draw_heard
    with house_style():
        for name in attack_page.figures_of(attack):
            figure, tables = drawn[name](attack)
            written += save(figure, attack.run.figures_folder, name, tables, formats)
    return written


def draw_sweep(run_path: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Draw `sweep_curves` and `sweep_map` of the cells that are done into the `figures` folder of a sweep.

    Args:
        run_path: a folder of `auscult attack sweep`.
        formats: as for `draw_check`.

    Returns:
        Every picture written.

    Raises:
        UserError: the path is no run, its files are damaged or contradict one another, or the folder cannot be written.
    """
    sweep = read_sweep(run_path)
    written: list[Path] = []
    drawn = {sweep_page.CURVES: sweep_figure.draw_curves, sweep_page.MAP: sweep_figure.draw_map}
    with house_style():
        for name in sweep_page.figures_of(sweep):
            figure, tables = drawn[name](sweep)
            written += save(figure, sweep.run.figures_folder, name, tables, formats)
    return written
