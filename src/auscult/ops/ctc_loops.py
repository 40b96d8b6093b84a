# mypy: disable-error-code="no-untyped-def,no-untyped-call,no-any-return"
"""The compiled loops of CTC on a CPU: alignment, gradient and Hessian product, one utterance at a time.

Problem: a loop over states that alternates between blanks and symbols is not vectorised by the compiler, and `exp` per state costs more
than the recursion. Choice: blanks and symbols lie in separate rows, filled up to whole vectors with states that are never possible, so
that a frame is one loop without branches or leftovers; `exp` is called once per frame and distinct symbol. Floats may be summed in
another order and fused; nothing else is relaxed, so NaN stays what it is.

Layout, with `width` = `padded_width` of the longest target; everything is float64:

    state (batch, 5, frames, width): sums forward of blank i, and of symbol i (at i + 1); sums backward of blank i, and of symbol i
        (at i); weight exp(score - peak) of symbol i
    aux (batch, 4, frames): weight of the blank; sum over the forward states; the same backward; posterior level of the frame
    shape (batch, 5, width): whether symbol i - 1 is a predecessor of symbol i; first and last frame of blank i; of symbol i
    result (batch, 4): forward log-likelihood; log-likelihood of the turned-round problem; posterior probability of raised states; whether
        these are trusted

The rules of raising and trusting are those of `auscult.ops.ctc_rescaled` and `auscult.ops.ctc_certified`. Scores come as one flat array
with strides (frame, utterance, class). Everything compiled is in this file because numba renews its cache when the file of a
function changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numba import njit

FAST = {"contract", "reassoc", "nsz"}
LANES = 8
"""States in a row are a multiple of this."""
FACTORIALS = tuple(1.0 / math.factorial(k) for k in range(13, -1, -1))
"""Coefficients of exp on [-0.35, 0.35], highest first: error 1e-17."""
LN_2, LOG2_E = math.log(2), 1 / math.log(2)
ROUND = 1.5 * 2.0**52
"""Added to a double, it leaves the nearest integer in the lowest bits."""
NEVER = 1e18
"""A frame that does not come."""


def padded_width(symbols: int) -> int:
    """Return the length of the rows for targets of up to so many symbols: one more than whole vectors hold the blanks."""
    return (symbols // LANES + 1) * LANES + 1


def _compiled(function: Callable[..., Any], relaxed: set[str] = FAST) -> Callable[..., Any]:
    """Compile at the first call, and keep the result on disk where a folder can be written."""
    try:
        return njit(function, nogil=True, error_model="numpy", fastmath=relaxed, cache=True)
    except RuntimeError:  # numba found no folder for its cache
        return njit(function, nogil=True, error_model="numpy", fastmath=relaxed)


@_compiled
def _measure(target, symbols, frames, count, shape):
    """Write which states can be where; return whether a path exists."""
    jump, blank_from, blank_to, symbol_from, symbol_to = shape[0], shape[1], shape[2], shape[3], shape[4]
    for i in range(symbols, count + 1):
        jump[i], blank_from[i], blank_to[i], symbol_from[i], symbol_to[i] = 0.0, NEVER, frames - 1, NEVER, -1.0
    first = -1
    for i in range(symbols):
        jump[i] = 1.0 if i > 0 and target[i] != target[i - 1] else 0.0
        blank_from[i] = first + 1
        first += 1 if i == 0 or jump[i] > 0.0 else 2
        symbol_from[i] = first
    blank_from[symbols] = first + 1
    last = frames
    for i in range(symbols - 1, -1, -1):
        last -= 1 if i == symbols - 1 or jump[i + 1] > 0.0 else 2
        symbol_to[i] = last
        blank_to[i] = last - 1
    return first < frames


@partial(_compiled, relaxed={"contract"})
def _exponentials(values, count, peak, powers, power_bits, scales, scale_bits):
    """Overwrite values with exp(value - peak), all at most 0, right to rounding; below -708 it is that of -708.

    The loops are apart so that each is vectorised: `power_bits` and `scale_bits` are `powers` and `scales` seen as integers. Sums keep
    their order: reassociated, adding and subtracting `ROUND` would cancel.
    """
    for j in range(count):
        powers[j] = max(values[j] - peak, -708.0) * LOG2_E + ROUND
    for j in range(count):
        scale_bits[j] = (power_bits[j] + 1023) << 52
    for j in range(count):
        power = powers[j] - ROUND
        rest = max(values[j] - peak, -708.0) - power * LN_2
        total = FACTORIALS[0]
        for k in range(1, len(FACTORIALS)):
            total = total * rest + FACTORIALS[k]
        values[j] = total * scales[j]


@_compiled
def _weigh(x, offset, strides, target, symbols, frames, count, blank, slots, scratch, integers, weights, blank_weights):
    """Write exp(score - peak) of every symbol and of the blank; return the sum of the peaks, NaN if a score is not finite.

    `slots` (classes,) and `scratch` (5, width) with its view `integers` hold distinct symbols, their scores, and where each finds its own.
    """
    places, own = integers[3], integers[4]
    distinct = 0
    for i in range(symbols):
        slots[target[i]] = -1
    for i in range(symbols):
        if slots[target[i]] < 0:
            slots[target[i]] = distinct
            places[distinct] = target[i] * strides[2]
            distinct += 1
        own[i] = slots[target[i]]
    places[distinct] = blank * strides[2]
    values, total = scratch[0], 0.0
    values[:] = 0.0
    for t in range(frames):
        start = offset + t * strides[0]
        peak, spread = np.float64(x[start + places[distinct]]), 0.0
        for j in range(distinct + 1):
            score = np.float64(x[start + places[j]])
            values[j] = score
            spread += score - score  # 0, or NaN once a score is infinite or NaN
            peak = max(peak, score)
        total += peak + spread
        _exponentials(values, (distinct // LANES + 1) * LANES, peak, scratch[1], integers[1], scratch[2], integers[2])
        blank_weights[t] = values[distinct]
        for i in range(symbols):
            weights[t, i] = values[own[i]]
        weights[t, symbols : count + 1] = 0.0
    return total


@_compiled
def _forward(one, extra, shape, start, symbols, frames, count, floor):
    """Write the sums of all beginnings; return their log-likelihood without peaks."""
    jump, blank_from, blank_to, symbol_from, symbol_to = shape[0], shape[1], shape[2], shape[3], shape[4]
    start[:] = 0.0
    start[0, 0] = 1.0
    before_blanks, before_labels = start[0], start[1]
    divide, log_likelihood, total = 1.0, 0.0, 1.0
    for t in range(frames):
        now_blanks, now_labels, weight = one[0, t], one[1, t], one[4, t]
        log_likelihood += np.log(total)
        of_blank, time, total = extra[0, t] * divide, np.float64(t), 0.0
        now_labels[0] = 0.0
        for i in range(count):
            blank, label = before_blanks[i], before_labels[i]
            first = max(of_blank * (blank + label), floor)
            first = first if blank_from[i] <= time and time <= blank_to[i] else 0.0
            other = max(weight[i] * divide * (before_labels[i + 1] + blank + jump[i] * label), floor)
            other = other if symbol_from[i] <= time and time <= symbol_to[i] else 0.0
            now_blanks[i] = first
            now_labels[i + 1] = other
            total += first + other
        extra[1, t] = total
        divide = 1.0 / total
        before_blanks, before_labels = now_blanks, now_labels
    return log_likelihood + np.log(before_blanks[symbols] + before_labels[symbols])


@_compiled
def _backward(one, extra, shape, after, symbols, frames, count, floor):
    """Write the sums of all endings, without the score of their own frame; return their log-likelihood without peaks."""
    jump, blank_from, blank_to, symbol_from, symbol_to = shape[0], shape[1], shape[2], shape[3], shape[4]
    after[:] = 0.0
    after[0, symbols] = 1.0
    after_blanks, after_labels, weight, of_blank = after[0], after[1], after[1], 1.0
    log_likelihood, total = 0.0, 1.0
    for t in range(frames - 1, -1, -1):
        now_blanks, now_labels = one[2, t], one[3, t]
        log_likelihood += np.log(total)
        divide, time = 1.0 / total, np.float64(t)
        of_blank, total = of_blank * divide, 0.0
        for i in range(count):  # what the next frame weighs is multiplied again rather than stored: stores are what this loop waits for
            label = weight[i] * after_labels[i] * divide
            first = max(of_blank * after_blanks[i] + label, floor)
            first = first if blank_from[i] <= time and time <= blank_to[i] else 0.0
            next_label = jump[i + 1] * divide * weight[i + 1] * after_labels[i + 1]
            other = max(label + of_blank * after_blanks[i + 1] + next_label, floor)
            other = other if symbol_from[i] <= time and time <= symbol_to[i] else 0.0
            now_blanks[i] = first
            now_labels[i] = other
            total += first + other
        extra[2, t] = total
        now_blanks[count], now_labels[count] = 0.0, 0.0
        after_blanks, after_labels, weight, of_blank = now_blanks, now_labels, one[4, t], extra[0, t]
    return log_likelihood + np.log(of_blank * after_blanks[0] + weight[0] * after_labels[0])


@_compiled
def _join(one, levels, frames, count, floor):
    """Write the posterior level of each frame; return the share of raised states, infinite where it cannot be told."""
    raised = 0.0
    for t in range(frames):
        blanks, labels, end_blanks, end_labels = one[0, t], one[1, t], one[2, t], one[3, t]
        level, suspect = 0.0, 0.0
        for i in range(count):
            first, other = blanks[i] * end_blanks[i], labels[i + 1] * end_labels[i]
            level += first + other
            suspect += first if min(blanks[i], end_blanks[i]) <= floor else 0.0
            suspect += other if min(labels[i + 1], end_labels[i]) <= floor else 0.0
        levels[t] = level
        raised += suspect / level if level >= floor else np.inf
    return raised


@_compiled
def align(x, strides, rows, frames, symbols, blank, limits, weights, state, aux, shape, result, found):
    """Align every utterance and return how many are not trusted; limits: floor, largest share raised, largest relative difference.

    Writes -weight * gamma of trusted utterances by class into `found` (frames, batch, classes), which is zero, unless it is empty.
    """
    floor, most_raised, most_apart = limits
    width, doubtful = state.shape[3], 0
    slots, by_class = np.empty(found.shape[2], np.int64), np.zeros(found.shape[2])
    values, scratch = np.empty((5, width)), np.empty((2, width))
    integers = values.view(np.int64)
    for b in range(len(frames)):
        length, count = frames[b], (symbols[b] // LANES + 1) * LANES
        result[b, 0], result[b, 1], result[b, 2], result[b, 3] = 0.0, 0.0, np.inf, 0.0
        if not _measure(rows[b], symbols[b], length, count, shape[b]):
            doubtful += 1
            continue
        one, extra = state[b], aux[b]
        if length > 0:
            peaks = _weigh(x, b * strides[1], strides, rows[b], symbols[b], length, count, blank, slots, values, integers, one[4], extra[0])
            result[b, 0] = peaks + _forward(one, extra, shape[b], scratch, symbols[b], length, count, floor)
            result[b, 1] = peaks + _backward(one, extra, shape[b], scratch, symbols[b], length, count, floor)
        result[b, 2] = _join(one, extra[3], length, count, floor)
        apart = abs(result[b, 0] - result[b, 1])
        if result[b, 2] <= most_raised and apart <= most_apart * max(1.0, abs(result[b, 0])):
            result[b, 3] = 1.0
            _occupy(one, extra[3], rows[b], symbols[b], length, b, blank, -weights[b], by_class, found)
        else:
            doubtful += 1
    return doubtful


@_compiled
def _occupy(one, levels, target, symbols, frames, b, blank, factor, by_class, found):
    """Write factor * gamma of one utterance by class; nothing if found has no frames."""
    for t in range(min(frames, found.shape[0])):
        blanks, labels, end_blanks, end_labels = one[0, t], one[1, t], one[2, t], one[3, t]
        of_blank = 0.0
        for i in range(symbols + 1):
            of_blank += blanks[i] * end_blanks[i]
        for i in range(symbols):
            by_class[target[i]] += labels[i + 1] * end_labels[i]
        _write(found[t, b], target, symbols, blank, by_class, of_blank, factor / levels[t])


@_compiled
def _write(row, target, symbols, blank, by_class, of_blank, factor):
    """Write the sums of the classes of a target times a factor, and clear them."""
    for i in range(symbols):
        row[target[i]] = factor * by_class[target[i]]
    for i in range(symbols):
        by_class[target[i]] = 0.0
    row[blank] = factor * of_blank


@_compiled
def _forward_tangent(one, extra, shape, by_label, by_blank, changes, start, symbols, frames, count):
    """Write the derivative of the sums of beginnings in the direction of the cotangent; return its mean over all paths."""
    jump, blank_from, blank_to, symbol_from, symbol_to = shape[0], shape[1], shape[2], shape[3], shape[4]
    start[:] = 0.0
    before_blanks, before_labels = start[0], start[1]
    divide = 1.0
    for t in range(frames):
        blanks, labels, weight, value = one[0, t], one[1, t], one[4, t], by_label[t]
        now_blanks, now_labels = changes[0, t], changes[1, t]
        of_blank, here, time = extra[0, t] * divide, by_blank[t], np.float64(t)
        now_labels[0] = 0.0
        for i in range(count):
            blank, label = before_blanks[i], before_labels[i]
            first = blanks[i] * here + of_blank * (blank + label)
            now_blanks[i] = first if blank_from[i] <= time and time <= blank_to[i] else 0.0
            other = labels[i + 1] * value[i] + weight[i] * divide * (before_labels[i + 1] + blank + jump[i] * label)
            now_labels[i + 1] = other if symbol_from[i] <= time and time <= symbol_to[i] else 0.0
        divide = 1.0 / extra[1, t]
        before_blanks, before_labels = now_blanks, now_labels
    whole = one[0, frames - 1, symbols] + one[1, frames - 1, symbols]
    return (before_blanks[symbols] + before_labels[symbols]) / whole


@_compiled
def _backward_tangent(one, extra, shape, by_label, by_blank, changes, scratch, mean, frames, count):
    """Overwrite changes (2, frames, width) with (Hessian of the log-likelihood) cotangent of blank i and of symbol i (at i + 1)."""
    jump, blank_from, blank_to, symbol_from, symbol_to = shape[0], shape[1], shape[2], shape[3], shape[4]
    scratch[:] = 0.0
    divide = 1.0
    for t in range(frames - 1, -1, -1):
        blanks, labels, end_blanks, end_labels, weight = one[0, t], one[1, t], one[2, t], one[3, t], one[4, t]
        found_blanks, found_labels, value = changes[0, t], changes[1, t], by_label[t]
        after_blanks, after_labels = scratch[t % 2 * 2], scratch[t % 2 * 2 + 1]
        now_blanks, now_labels = scratch[2 - t % 2 * 2], scratch[3 - t % 2 * 2]
        of_blank, here, time, level = extra[0, t], by_blank[t], np.float64(t), 1.0 / extra[3, t]
        for i in range(count):
            first = (after_blanks[i] + after_labels[i]) * divide
            first = first if blank_from[i] <= time and time <= blank_to[i] else 0.0
            other = (after_labels[i] + after_blanks[i + 1] + jump[i + 1] * after_labels[i + 1]) * divide
            other = other if symbol_from[i] <= time and time <= symbol_to[i] else 0.0
            found_blanks[i] = (found_blanks[i] * end_blanks[i] + blanks[i] * (first - mean * end_blanks[i])) * level
            found_labels[i + 1] = (found_labels[i + 1] * end_labels[i] + labels[i + 1] * (other - mean * end_labels[i])) * level
            now_blanks[i] = of_blank * (first + here * end_blanks[i])
            now_labels[i] = weight[i] * (other + value[i] * end_labels[i])
        divide = 1.0 / extra[2, t]


@_compiled
def curvature(rows, frames, symbols, blank, weights, state, aux, shape, result, cotangent, means, found):
    """Write -weight * mean of the cotangent over all paths, and weight * (Hessian of the loss) cotangent; both outputs are zero."""
    most, width = state.shape[2], state.shape[3]
    by_label, by_blank = np.zeros((most, width)), np.empty(most)
    changes, scratch, by_class = np.empty((2, most, width)), np.empty((4, width)), np.zeros(found.shape[2])
    for b in range(len(frames)):
        if result[b, 3] == 0.0 or frames[b] == 0:
            continue
        target, length, count = rows[b], frames[b], (symbols[b] // LANES + 1) * LANES
        for t in range(length):
            by_blank[t] = cotangent[t, b, blank]
            for i in range(symbols[b]):
                by_label[t, i] = cotangent[t, b, target[i]]
        mean = _forward_tangent(state[b], aux[b], shape[b], by_label, by_blank, changes, scratch, symbols[b], length, count)
        _backward_tangent(state[b], aux[b], shape[b], by_label, by_blank, changes, scratch, mean, length, count)
        means[b] = -weights[b] * mean
        for t in range(length):
            of_blank = 0.0
            for i in range(symbols[b] + 1):
                of_blank += changes[0, t, i]
            for i in range(symbols[b]):
                by_class[target[i]] += changes[1, t, i + 1]
            _write(found[t, b], target, symbols[b], blank, by_class, of_blank, -weights[b])


@_compiled
def check(rows, frames, symbols, blank, most, classes):
    """Return the length of the longest target, or -1 if any length or symbol is not what it has to be."""
    longest = 0
    for b in range(len(frames)):
        if frames[b] < 0 or frames[b] > most or symbols[b] < 0 or symbols[b] > rows.shape[1]:
            return -1
        longest = max(longest, symbols[b])
        for i in range(symbols[b]):
            if rows[b, i] < 0 or rows[b, i] >= classes or rows[b, i] == blank:
                return -1
    return longest
