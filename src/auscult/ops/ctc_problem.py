"""What a call of CTC is about once its arguments are understood: every way to say targets and lengths, reduced to one checked record.

Problem: the native function takes targets in two layouts and lengths as tensors, lists or tuples, and answers bad ones with a crash of the
process (pytorch #193794, #78151), a loss of nothing in particular, or an index error without an index. Choice: small NumPy arrays on the
CPU, checked before any kernel runs; kernels trust the record. Rejected: checks inside the kernels, one set for each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from auscult.errors import UserError

Integers = NDArray[np.int64]
Lengths = Tensor | Sequence[int]


class CtcProblem(NamedTuple):
    """Targets and lengths of a batch, on the CPU.

    Attributes:
        rows: (batch, symbols) int64, contiguous; what is beyond a target is the blank.
        frames: (batch,) int64, frames of each utterance.
        symbols: (batch,) int64, symbols of each target.
        blank: index of the blank.
    """

    rows: Integers
    frames: Integers
    symbols: Integers
    blank: int

    def select(self, indices: Integers) -> CtcProblem:
        """Return some of the utterances."""
        return CtcProblem(self.rows[indices], self.frames[indices], self.symbols[indices], self.blank)

    def feasible(self) -> NDArray[np.bool_]:
        """Return which targets fit into their frames: symbols and adjacent repeats together, (batch,)."""
        pairs = np.arange(1, max(self.rows.shape[1], 1)) < self.symbols[:, None]
        repeats = ((self.rows[:, 1:] == self.rows[:, :-1]) & pairs).sum(1)
        return np.asarray(self.frames >= self.symbols + repeats)


def read_problem(shape: Sequence[int], targets: Tensor, input_lengths: Lengths, target_lengths: Lengths, blank: int) -> CtcProblem:
    """Return the checked record for scores of a shape (frames, batch, classes); errors as `auscult.ops.ctc.ctc_loss`."""
    most, batch, classes = shape
    if not 0 <= blank < classes:
        raise UserError(f"blank of the CTC loss is {blank}; expected a class, 0 to {classes - 1}")
    frames = _lengths(input_lengths, "input_lengths", batch, most, "the frames of log_probs")
    if targets.is_floating_point() or targets.is_complex() or targets.dim() not in (1, 2):
        raise UserError(
            f"targets of the CTC loss are {targets.dtype} {tuple(targets.shape)}; expected integers, (batch, symbols) or all end to end"
        )
    given = np.array(targets.tolist(), dtype=np.int64).reshape(targets.shape)  # `numpy()` is refused under function transforms
    if given.ndim == 2:
        if len(given) != batch:
            raise UserError(f"targets of the CTC loss have {len(given)} rows; log_probs have a batch of {batch}")
        symbols = _lengths(target_lengths, "target_lengths", batch, given.shape[1], "the columns of targets")
    else:
        symbols = _lengths(target_lengths, "target_lengths", batch, given.size, "the number of targets")
        given = _split(given, symbols)
    return CtcProblem(_checked_rows(given, symbols, classes, blank), frames, symbols, blank)


def _lengths(given: Lengths, name: str, batch: int, most: int, limit: str) -> Integers:
    values = given.tolist() if isinstance(given, Tensor) else given
    values = list(values) if isinstance(values, Sequence) else [values]
    if len(values) != batch:
        raise UserError(f"{name} of the CTC loss are {len(values)}; expected one for each of {batch} utterances")
    try:
        found: Integers = np.array([index(value) for value in values], dtype=np.int64)
    except TypeError:
        raise UserError(f"{name} of the CTC loss are {values}; expected integers") from None
    if min(values) < 0 or max(values) > most:
        row = int(np.argmax((found < 0) | (found > most)))
        raise UserError(f"{name}[{row}] of the CTC loss is {found[row]}; expected 0 to {most}, {limit}")
    return found


def _split(given: Integers, symbols: Integers) -> Integers:
    """(all symbols,) -> (batch, longest)."""
    if int(symbols.sum()) != given.size:
        raise UserError(f"targets of the CTC loss are {given.size} symbols end to end, but target_lengths add up to {int(symbols.sum())}")
    if len(symbols) == 1:
        return given[None]
    rows = np.zeros((len(symbols), int(symbols.max(initial=0))), dtype=np.int64)
    rows[np.arange(rows.shape[1]) < symbols[:, None]] = given
    return rows


def _checked_rows(given: Integers, symbols: Integers, classes: int, blank: int) -> Integers:
    longest = max(symbols.tolist())
    rows: Integers = np.ascontiguousarray(given[:, :longest])
    inside = None
    if len(symbols) > 1 and longest and int(symbols.min()) < longest:
        inside = np.arange(longest) < symbols[:, None]
        rows[~inside] = blank
    offends = (rows.view(np.uint64) >= classes) | (rows == blank)  # a negative number is a large one without sign
    if inside is not None:
        offends &= inside
    if offends.any():
        row, column = (int(one[0]) for one in np.nonzero(offends))
        value = int(rows[row, column])
        why = "the blank, which is never written in a target" if value == blank else f"outside the classes 0 to {classes - 1}"
        raise UserError(f"symbol {column} of target {row} of the CTC loss is {value}, {why}")
    return rows
