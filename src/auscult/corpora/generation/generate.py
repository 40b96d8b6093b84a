"""A whole corpus of the PolSESS kind, by as many processes as wanted.

Problem: 128,000 mixtures take hours, are killed in between, and must be the same whatever number of processes made them. Choice: every
mixture is a function of seed, split and index (`mixing.py`), so processes share nothing but the plan, and the one that hands out the work
puts the rows in their order. The corpus is filled as a draft and renamed at its end, so nothing that was interrupted can be taken for
a corpus; a second start begins again, which costs time and no doubt about what the first had finished. Processes are started afresh and
not forked: a fork of a program that has threads can hang.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from auscult import __version__
from auscult.corpora.drafts import draft_folder
from auscult.corpora.generation.mixing import draw_mixture
from auscult.corpora.generation.plan import Plan, make_plan
from auscult.corpora.generation.settings import GeneratorSettings
from auscult.corpora.generation.writing import Written, make_folders, table, write_mixture
from auscult.corpora.polsess_columns import COLUMNS, SPEAKER_TABLE, table_name
from auscult.errors import UserError
from auscult.runs.files import write_atomic

GENERATION = "generation.json"
"""File of a generated corpus that says what it was made from and what it holds."""
SHARE_OF_WORK = 8
"""Mixtures that a process is given at a time."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class GeneratedCorpus:
    """What was made.

    Attributes:
        folder: absolute path.
        description: the content of `generation.json`: generator, settings, short (recordings left out), splits (mixtures, hours,
            speakers, indoor, same_speaker, redraws by reason, residual).
    """

    folder: Path
    description: dict[str, Any]


def generate_polsess(settings: GeneratorSettings, output: Path | str, jobs: int = 1, progress: Progress | None = None) -> GeneratedCorpus:
    """Make a corpus.

    Args:
        settings: everything that decides a sample.
        output: folder to make; a corpus generated there earlier is replaced. Its name is part of the tables' names.
        jobs: processes; they change nothing but the time.
        progress: called with the mixtures done and their total.

    Raises:
        UserError: something is missing, a mixture clips however often it is drawn, or the folder holds something else or cannot be
            written; the folder is then as it was.
    """
    output = Path(output).expanduser().absolute()
    if output.exists() and not (output / GENERATION).is_file() and not (output.is_dir() and not any(output.iterdir())):
        raise UserError(f"{output} exists and is no generated corpus; choose another output folder, or remove it")
    if jobs < 1:
        raise UserError(f"jobs is {jobs}; expected 1 or more processes")
    plan = make_plan(settings)
    work = [(split, index) for split in settings.splits for index in range(settings.counts[split])]
    with draft_folder(output, "the generated corpus") as draft:
        for split in settings.splits:
            make_folders(draft, split)
        written: dict[str, list[Written]] = {split: [] for split in settings.splits}
        with _workers(plan, draft, min(jobs, len(work))) as results:
            for done, (split, one) in enumerate(zip((split for split, _ in work), results(work), strict=True), start=1):
                written[split].append(one)
                if progress is not None:
                    progress(done, len(work))
        description = _finish(draft, output.name, plan, written)
    return GeneratedCorpus(output, description)


def _finish(draft: Path, name: str, plan: Plan, written: dict[str, list[Written]]) -> dict[str, Any]:
    """Write the tables and the description, and return the description."""
    settings = plan.settings
    speakers = {path: who for rows in written.values() for one in rows for path, who in one.speakers.items()}
    write_atomic(
        draft / SPEAKER_TABLE, table(("path", "speaker"), ({"path": path, "speaker": speakers[path]} for path in sorted(speakers))).decode()
    )
    for split, rows in written.items():
        write_atomic(draft / split / table_name(name, split), table(COLUMNS, (one.row for one in rows)).decode())
    description = {
        "generator": f"auscult {__version__} polsess",
        "settings": settings.stated(),
        "short": plan.short,
        "splits": {
            split: _summary(rows, settings, plan.splits[split].speech.expected_same_speaker_rate()) for split, rows in written.items()
        },
    }
    write_atomic(draft / GENERATION, json.dumps(description, ensure_ascii=False, indent=2) + "\n")
    return description


def _summary(rows: Sequence[Written], settings: GeneratorSettings, expected: float) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "mixtures": len(rows),
        "hours": round(len(rows) * settings.seconds / 3600, 6),
        "speakers": len({who for one in rows for who in one.speakers.values()}),
        "indoor": sum(one.indoor for one in rows),
        "same_speaker": sum(one.same_speaker for one in rows),
        "redraws": {reason: sum(one.redraws[reason] for one in rows) for reason in ("peak", "silence")},
        "residual": max(one.residual for one in rows),
    }
    if settings.same_speaker and settings.draw == "file":
        summary["expected_same_speaker"] = expected
    return summary


Results = Callable[[Sequence[tuple[str, int]]], Iterator[Written]]


@contextmanager
def _workers(plan: Plan, draft: Path, jobs: int) -> Iterator[Results]:
    """Give a function that makes mixtures and returns what is left of them in order."""
    if jobs == 1:
        yield lambda work: (_make(plan, draft, split, index) for split, index in work)
        return
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_start, initargs=(plan, draft))
    try:
        yield lambda work: pool.map(_make_there, work, chunksize=SHARE_OF_WORK)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _make(plan: Plan, draft: Path, split: str, index: int) -> Written:
    mixture = draw_mixture(plan, split, index)
    return write_mixture(draft, split, index, plan.settings.seed, plan.settings.rate, mixture)


_given: list[tuple[Plan, Path]] = []
"""What a process of the pool works on."""


def _start(plan: Plan, draft: Path) -> None:
    _given[:] = [(plan, draft)]


def _make_there(place: tuple[str, int]) -> Written:
    plan, draft = _given[0]
    try:
        return _make(plan, draft, *place)
    except UserError as error:  # its subclasses cannot be rebuilt from their text on the other side
        raise UserError(str(error)) from None
