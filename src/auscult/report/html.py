"""One self-contained page per run: `report.html`, from the store alone.

Why HTML and not a notebook or a dashboard: it opens by a double click on any machine, prints, and can be attached to a mail or an
issue without anything else. Rejected: a page that fetches its pictures (breaks when moved), scripts (nothing here needs any).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from auscult.errors import UserError
from auscult.report import attack_page, check_page, sweep_page, training_page
from auscult.report.attack_record import read_attack
from auscult.report.check_record import read_check
from auscult.report.draw import CHECK_FIGURES, draw_attack, draw_check, draw_sweep, draw_training
from auscult.report.html_parts import page
from auscult.report.item_kinds import drawings
from auscult.report.sweep_record import read_sweep
from auscult.report.train_record import read_judged, read_training
from auscult.runs.directory import RunDirectory
from auscult.runs.files import write_atomic


def write_report(run_path: Path) -> Path:
    """Write `report.html` into a run directory, drawing its figures first where they are missing or older than what they show.

    Args:
        run_path: a run directory of `auscult check`, `auscult train`, `auscult attack` or `auscult attack sweep`, in any state.

    Returns:
        The page.

    Raises:
        UserError: the path is no run, its log holds none of these, its numbers contradict one another, or the page cannot be written.
    """
    run = RunDirectory.open(run_path)
    verb = next((event.get("verb") for event in reversed(run.events.read()) if event["event"] == "start"), None)
    if verb not in PAGES:
        raise UserError(
            f"{run.path}: has nothing to report yet, its log has no check, training, attack or sweep; start it with `auscult train`, "
            "`auscult check` or `auscult attack`"
        )
    pieces = PAGES[verb](run)
    path = run.path / "report.html"
    write_atomic(path, page(run.path.name, pieces))
    return path


def _check(run: RunDirectory) -> list[str]:
    if _stale(run.path, CHECK_FIGURES, [run.events.path]):
        draw_check(run.path)
    return check_page.body(read_check(run.path))


def _training(run: RunDirectory) -> list[str]:
    results = read_judged(run)
    sources = [
        run.events.path,
        *(run.path / folder for one in results for folder in (f"items/{one.split}.jsonl", f"summary/{one.split}.json")),
        *(run.listening / f"{one.split}.json" for one in results if one.listening),
    ]
    if _stale(run.path, ["learning_curves", *(name for one in results for name in drawings(one))], sources):
        draw_training(run.path)
    return training_page.body(read_training(run.path))


def _attack(run: RunDirectory) -> list[str]:
    attack = read_attack(run.path)
    sources = [
        run.events.path,
        *filter(Path.is_file, [run.path / "summary" / "attack.json"]),
        *sorted((run.path / "arrays").glob("*.npz")),
    ]
    if _stale(run.path, attack_page.figures_of(attack), sources):
        draw_attack(run.path)
    return attack_page.body(attack)


def _sweep(run: RunDirectory) -> list[str]:
    sweep = read_sweep(run.path)
    if _stale(run.path, sweep_page.figures_of(sweep), [run.events.path, *filter(Path.is_file, [run.path / "summary" / "sweep.json"])]):
        draw_sweep(run.path)
    return sweep_page.body(sweep)


PAGES: dict[str, Callable[[RunDirectory], list[str]]] = {"check": _check, "train": _training, "attack": _attack, "sweep": _sweep}
"""The pieces of a page by the verb that a run was made with; figures that are missing or old are drawn first."""


def _stale(run: Path, figures: Iterable[str], sources: Iterable[Path]) -> bool:
    newest = max(source.stat().st_mtime_ns for source in sources)
    pictures = [run / "figures" / f"{name}.png" for name in figures]
    return any(not picture.exists() or picture.stat().st_mtime_ns < newest for picture in pictures)
