"""Score anybody's verification system: one file of scores and labels in, error rates with intervals out (`auscult score eer`).

Problem: tools write `score label`, `1 id id score`, `id id score target` or `id*id score label`; reading one as another gives a
plausible wrong number. Choice: every known order of columns is tried on the whole file; exactly one must fit, and the result says
which. A file that fits none, or several, is refused with the line.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from auscult.errors import UserError
from auscult.metrics.detection import PROTOCOL, detection_metrics, inverted_scores_alarm
from auscult.metrics.trial_bootstrap import bootstrap_detection
from auscult.metrics.trial_lines import LABELS, Line, PairLedger, read_lines

ORDERS = ("score label", "label score", "id*id score label", "label id id score", "id id label score", "id id score label")
"""Orders of columns that are understood."""

_JOINED = "id*id"
_ENOUGH_VOICES = 5  # with fewer target speakers, resampling speakers has hardly anything to draw from


class ScoredTrials(NamedTuple):
    """Scores (trials,) float64, target (trials,) bool, pairs of ids or None, the order of columns, and the file's line numbers."""

    scores: NDArray[np.float64]
    target: NDArray[np.bool_]
    pairs: list[tuple[str, str]] | None
    order: str
    numbers: list[int]


def score_eer(path: str | Path, speaker_separator: str | None = None, replicates: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Judge the scores of a verification system.

    Args:
        path: a UTF-8 file, one trial a line, in one of `ORDERS`; a label is 1 or target for the same speaker, 0 or nontarget.
        speaker_separator: the speaker is the part of an id before it ("/" for VoxCeleb), and the intervals resample speakers;
            None resamples trials.
        replicates: bootstrap replicates of the intervals.
        seed: of the bootstrap.

    Returns:
        eer, eer_percent, min_dcf_p01, min_dcf_p05, cllr, min_cllr, auc; trials, targets, nontargets; intervals: 95 % as [low, high] of
        eer, min_dcf_p01, min_dcf_p05 and cllr; interval_over: what was resampled; format: the order of columns that was found; protocol:
        how the figures are defined; warnings: what to look at before believing them.

    Raises:
        UserError: the file cannot be read, fits no or several orders, contradicts itself or lacks a class; the message names the line.
    """
    path = Path(path)
    read = read_scores(path)
    speakers = None if not speaker_separator else _speakers(path, read, speaker_separator)
    targets = int(read.target.sum())
    if targets in (0, len(read.target)):
        kind = "non-target trials (label 0 or nontarget)" if targets else "target trials (label 1 or target)"
        raise UserError(f"{path}: no {kind} among {len(read.target)} trials; error rates need both kinds")
    figures = detection_metrics(read.scores, read.target)
    boot = bootstrap_detection(read.scores, read.target, speakers, replicates, seed)
    return {
        **figures,
        "eer_percent": 100 * figures["eer"],
        "trials": len(read.target),
        "targets": targets,
        "nontargets": len(read.target) - targets,
        "intervals": {name: list(interval) for name, interval in boot.intervals.items()},
        "interval_over": boot.over,
        "format": read.order,
        "protocol": PROTOCOL,
        "warnings": _warnings(figures["auc"], read.target, speakers),
    }


def _warnings(area: float, target: NDArray[np.bool_], speakers: tuple[list[str], list[str]] | None) -> list[str]:
    alarm = inverted_scores_alarm(area)
    found = [] if alarm is None else [alarm]
    voices = len({name for name, is_target in zip(speakers[0], target.tolist(), strict=True) if is_target}) if speakers else _ENOUGH_VOICES
    if voices < _ENOUGH_VOICES:
        found.append(
            f"all target trials are of {voices} speaker{'s' if voices > 1 else ''}, as at the head of a longer list; "
            "neither the rates nor the intervals hold for other speakers"
        )
    return found


def read_scores(path: str | Path) -> ScoredTrials:
    """Return the trials of a score file; a trial written twice with the same score stays twice.

    Raises:
        UserError: the file cannot be read or is empty, fits no or several of `ORDERS`, has a score that is not a finite number, compares a
            file with itself, or gives a pair two labels or two scores.
    """
    path = Path(path)
    lines = read_lines(path, "score file")
    order = _order(path, lines)
    roles = order.split()
    score, label = roles.index("score"), roles.index("label")
    scores = np.array([float(columns[score]) for _, columns in lines])
    target = np.array([LABELS[columns[label]] for _, columns in lines])
    numbers = [line.number for line in lines]
    if len(lines[0].columns) == 2:
        return ScoredTrials(scores, target, None, order, numbers)
    pairs = [_pair(path, line, roles) for line in lines]
    ledger = PairLedger(path)
    given: dict[tuple[str, str], tuple[float, int]] = {}
    for number, pair, one, is_target in zip(numbers, pairs, scores.tolist(), target.tolist(), strict=True):
        ledger.add(number, *pair, is_target)
        before, line = given.setdefault(pair, (one, number))
        if before != one:
            raise UserError(f'{path}:{number}: "{pair[0]}" and "{pair[1]}" score {one:g} here and {before:g} on line {line}; keep one')
    return ScoredTrials(scores, target, pairs, order, numbers)


def _pair(path: Path, line: Line, roles: Sequence[str]) -> tuple[str, str]:
    if _JOINED not in roles:
        first = roles.index("id")
        return line.columns[first], line.columns[first + 1]
    ids = line.columns[0].split("*")
    if len(ids) != 2 or not all(ids):
        raise UserError(f'{path}:{line.number}: expected two ids joined by "*", got "{line.columns[0]}"')
    return ids[0], ids[1]


def _order(path: Path, lines: Sequence[Line]) -> str:
    """Return the one order of columns that fits all lines."""
    candidates = [one for one in ORDERS if len(one.split()) == len(lines[0].columns)]
    if not candidates:
        known = ", ".join(f"`{one}`" for one in ORDERS)
        raise UserError(f"{path}:{lines[0].number}: {len(lines[0].columns)} columns; expected one trial a line as {known}")
    misfits = {order: _first_misfit(lines, order.split()) for order in candidates}
    fitting = [order for order, misfit in misfits.items() if misfit is None]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UserError(
            f"{path}: the columns can be read as {' and as '.join(f'`{one}`' for one in fitting)}; "
            "write the labels as target and nontarget, which no score can be"
        )
    order, misfit = max(misfits.items(), key=lambda entry: entry[1][0] if entry[1] else 0)  # the order that fitted longest
    number, problem = misfit if misfit else (0, "")
    options = "" if len(candidates) == 1 else f" (nor is it one of {', '.join(f'`{one}`' for one in candidates if one != order)})"
    raise UserError(f"{path}:{number}: not `{order}`{options}: {problem}")


def _first_misfit(lines: Sequence[Line], roles: Sequence[str]) -> tuple[int, str] | None:
    """Return the number of the first line that is not in an order, and why."""
    score, label = roles.index("score"), roles.index("label")
    for number, columns in lines:
        if columns[label] not in LABELS:
            return number, f'"{columns[label]}" is no label; expected 1 or target, 0 or nontarget'
        try:
            finite = math.isfinite(float(columns[score]))
        except ValueError:
            return number, f'"{columns[score]}" is no number'
        if not finite:
            return number, f'the score "{columns[score]}" is not finite; look for embeddings that are not, or of silence'
    return None


def _speakers(path: Path, read: ScoredTrials, separator: str) -> tuple[list[str], list[str]]:
    """Return the speakers of both sides of each trial, checked against the labels."""
    if read.pairs is None:
        raise UserError(f"{path}: no ids in `{read.order}`, so no speakers to resample; leave out the speaker separator, or add the ids")
    sides: tuple[list[str], list[str]] = ([], [])
    for number, pair, is_target in zip(read.numbers, read.pairs, read.target.tolist(), strict=True):
        for side, one in zip(sides, pair, strict=True):
            if separator not in one or one.startswith(separator):
                raise UserError(f'{path}:{number}: id "{one}" names no speaker before "{separator}"')
            side.append(one.split(separator)[0])
        if (sides[0][-1] == sides[1][-1]) != is_target:
            raise UserError(
                f'{path}:{number}: labelled {int(is_target)}, but the speakers before "{separator}" are "{sides[0][-1]}" and '
                f'"{sides[1][-1]}"; the separator or the label is wrong'
            )
    return sides
