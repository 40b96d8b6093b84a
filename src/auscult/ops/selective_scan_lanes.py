# ruff: noqa: N803, N806
# numba adds the typing context to a call of an intrinsic, and compiled functions have no Python types
# mypy: disable-error-code="call-arg,var-annotated,no-untyped-def,no-untyped-call"
"""The compiled loops of the selective scan on a CPU: explicit vectors, because a compiler left to find them finds half the speed.

Problem: the loop over channels and states that numba vectorises by itself reloads its accumulators, checks at every entry whether
its dozen arrays overlap, and calls a scalar `exp`. Choice: a vector type of 64 bytes (16 float32 or 8 float64 channels) whose
operations are single instructions of the compiler's intermediate language, and an `exp2` that is a polynomial and a shift of bits.
A machine with narrower registers gets two or four instructions for one. Rejected: C, which a user would have to compile.

Everything here is in one file because numba's cache of compiled code is renewed when the file of a function changes, and not when a
file changes that the function takes vectors from.

Arrays are flat. A and states lie as (channels / lanes, states, lanes), everything else as in `ScanInputs`; the number of channels is a
multiple of the lanes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic, models, overload, register_model

BYTES = 64
CONTRACT = ("contract",)
"""Products and sums may fuse; nothing else is relaxed, so that NaN and infinity stay what they are."""

# (2**f - 1) / f on [-0.5, 0.5], least largest relative error of 2**f: 9e-8 and 8e-18
POLYNOMIALS = {
    32: (0.69314697759682, 0.24022242081615006, 0.055507337450305894, 0.009671512884699845, 0.0013264727392078726),
    64: (
        *(0.6931471805599453, 0.24022650695910097, 0.0555041086648216, 0.009618129107606888, 0.0013333558146416936),
        *(0.0001540353044173605, 1.525273382983612e-05, 1.321544258792169e-06, 1.0178062445845774e-07, 7.072585949269223e-09),
        4.4549605981865186e-10,
    ),
}
FRACTION_BITS = {32: 23, 64: 52}
LARGEST_EXPONENT = {32: 127, 64: 1023}


class Lanes(types.Type):
    """The numba type of one vector of neighbouring channels."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        self.count = 8 * BYTES // dtype.bitwidth
        super().__init__(name=f"Lanes({dtype})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        super().__init__(manager, lanes, _vector(lanes))


def _vector(lanes: Lanes) -> Any:
    return ir.VectorType(ir.FloatType() if lanes.dtype.bitwidth == 32 else ir.DoubleType(), lanes.count)


def _constant(kind: Any, value: float) -> Any:
    return ir.Constant(kind, [value] * kind.count)


def _place(context: Any, builder: Any, array_type: Any, array: Any, index: Any, vector: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


@intrinsic
def load(typing_context: Any, array: Any, index: Any) -> Any:
    """(flat array, first index) -> vector."""
    lanes = Lanes(array.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _place(context, builder, array, *arguments, _vector(lanes))
        return builder.load(place, align=lanes.dtype.bitwidth // 8)

    return lanes(array, types.intp), generate


@intrinsic
def store(typing_context: Any, array: Any, index: Any, value: Any) -> Any:
    """Write a vector to a flat array from an index on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _place(context, builder, array, *arguments[:2], _vector(value))
        builder.store(arguments[2], place, align=value.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@intrinsic
def zeros(typing_context: Any, array: Any) -> Any:
    """(array) -> vector of zeros of its dtype."""
    lanes = Lanes(array.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _constant(_vector(lanes), 0.0)

    return lanes(array), generate


@intrinsic
def splat(typing_context: Any, scalar: Any) -> Any:
    """(number) -> vector that holds it in every lane."""
    lanes = Lanes(scalar)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector, whole = _vector(lanes), ir.IntType(32)
        undefined = ir.Constant(vector, ir.Undefined)
        first = builder.insert_element(undefined, arguments[0], ir.Constant(whole, 0))
        return builder.shuffle_vector(first, undefined, _constant(ir.VectorType(whole, vector.count), 0))

    return lanes(scalar), generate


@intrinsic
def total(typing_context: Any, lanes: Any) -> Any:
    """(vector) -> sum over its lanes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = _vector(lanes)
        name = f"llvm.vector.reduce.fadd.v{lanes.count}f{lanes.dtype.bitwidth}"
        function = builder.module.globals.get(name)
        if function is None:
            function = ir.Function(builder.module, ir.FunctionType(vector.element, [vector.element, vector]), name)
        return builder.call(function, [ir.Constant(vector.element, -0.0), arguments[0]], fastmath=("reassoc",))

    return lanes.dtype(lanes), generate


@intrinsic
def exp2(typing_context: Any, lanes: Any) -> Any:
    """(vector) -> 2 to its power, relative error 2e-7 (5e-16 in float64); results below 2**-126.5 are zero, above 2**127.5 infinite."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = lanes.dtype.bitwidth
        vector, whole = _vector(lanes), ir.VectorType(ir.IntType(bits), lanes.count)
        largest = LARGEST_EXPONENT[bits]
        power = arguments[0]
        # in this order a NaN passes both; 2 ** (largest + 1) comes out as infinity, 2 ** -largest as zero
        for order, limit in (("<", _constant(vector, largest + 1.0)), (">", _constant(vector, -float(largest)))):
            power = builder.select(builder.fcmp_ordered(order, limit, power), limit, power)
        # adding 1.5 * 2 ** fraction_bits rounds to a whole number, which then stands in the last bits
        magic = _constant(vector, 1.5 * 2.0 ** FRACTION_BITS[bits])
        shifted = builder.fadd(power, magic)
        fraction = builder.fsub(power, builder.fsub(shifted, magic))
        *others, result = (_constant(vector, float(np.dtype(f"f{bits // 8}").type(one))) for one in (1.0, *POLYNOMIALS[bits]))
        for coefficient in reversed(others):
            result = builder.fadd(builder.fmul(result, fraction, flags=CONTRACT), coefficient, flags=CONTRACT)
        exponent = builder.add(builder.bitcast(shifted, whole), _constant(whole, largest))
        scale = builder.bitcast(builder.shl(exponent, _constant(whole, FRACTION_BITS[bits])), vector)
        return builder.fmul(result, scale, flags=CONTRACT)

    return lanes(lanes), generate


def _teach(operation: Callable[[Any, Any], Any], instruction: str) -> None:
    """Give the vector type one of Python's operators."""

    @intrinsic
    def single(typing_context: Any, one: Any, other: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return getattr(builder, instruction)(*arguments, flags=CONTRACT)

        return one(one, other), generate

    @overload(operation)
    def typed(one, other):  # numba compares the signatures of the two functions, annotations included
        if isinstance(one, Lanes) and isinstance(other, Lanes):
            return lambda one, other: single(one, other)
        return None


for _operation, _instruction in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
    _teach(_operation, _instruction)


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Compile at the first call, and keep the result on disk where a folder can be written."""
    try:
        return njit(function, nogil=True, error_model="numpy", cache=True)  # type: ignore[no-any-return]
    except RuntimeError:  # numba found no folder for its cache
        return njit(function, nogil=True, error_model="numpy")  # type: ignore[no-any-return]


def _forward(u, dt, A, B, C, D, y, carries, state, shape, part, segment, reverse):
    """Write y, and the state before every segment; `state` is scratch of width * states * lanes.

    shape is (rows, length, channels, states); A is multiplied by log2(e); part is (first row, end, first vector of channels, end, width):
    vectors that walk through time together.
    """
    rows, length, channels, states = shape
    row_begin, row_end, vector_begin, vector_end, width = part
    lanes = BYTES // u.itemsize
    for row in range(row_begin, row_end):
        for left in range(vector_begin, vector_end, width):
            right = min(left + width, vector_end)
            for i in range((right - left) * states):
                store(state, i * lanes, zeros(u))
            for step in range(length):
                if step % segment == 0:
                    kept = ((step // segment * rows + row) * (channels // lanes) + left) * states * lanes
                    for i in range((right - left) * states):
                        store(carries, kept + i * lanes, load(state, i * lanes))
                now = row * length + (length - 1 - step if reverse else step)
                for vector in range(left, right):
                    at = now * channels + vector * lanes
                    size, value = load(dt, at), load(u, at)
                    result = value * load(D, vector * lanes)
                    value = size * value
                    first, local = vector * states * lanes, (vector - left) * states * lanes
                    for n in range(states):
                        decay = exp2(size * load(A, first + n * lanes))
                        after = decay * load(state, local + n * lanes) + value * splat(B[now * states + n])
                        store(state, local + n * lanes, after)
                        result = result + after * splat(C[now * states + n])
                    store(y, at, result)


def _recompute(u, dt, A, B, decays, history, shape, window, segment_steps, reverse):
    """Write the decays and states of a segment; history[0] holds the state before it."""
    _, length, channels, states = shape
    row, left, right = window
    begin, end = segment_steps
    lanes = BYTES // u.itemsize
    block = (right - left) * states * lanes
    for step in range(begin, end):
        now = row * length + (length - 1 - step if reverse else step)
        for vector in range(left, right):
            at = now * channels + vector * lanes
            size = load(dt, at)
            value = size * load(u, at)
            first = vector * states * lanes
            local = (step - begin) * block + (vector - left) * states * lanes
            for n in range(states):
                decay = exp2(size * load(A, first + n * lanes))
                store(decays, local + n * lanes, decay)
                after = decay * load(history, local + n * lanes) + value * splat(B[now * states + n])
                store(history, local + block + n * lanes, after)


def _adjoint_step(inputs, outputs, scratch, shape, window, now, offset):
    """Gradients of one step: adds to those of A, B, C, D, writes those of u and dt, and moves the gradient of the state one step back."""
    gradient, u, dt, A, B, C, D = inputs
    of_u, of_dt, of_A, of_B, of_C, of_D = outputs
    decays, history, carried, sums_B, sums_C = scratch
    _, _, channels, states = shape
    _, left, right = window
    lanes = BYTES // u.itemsize
    block = (right - left) * states * lanes
    log_of_2 = splat(u.dtype.type(0.6931471805599453))
    for i in range(states):
        store(sums_B, i * lanes, zeros(u))
        store(sums_C, i * lanes, zeros(u))
    for vector in range(left, right):
        at, first = now * channels + vector * lanes, vector * states * lanes
        local, kept = (vector - left) * states * lanes, offset + (vector - left) * states * lanes
        size, value, of_y = load(dt, at), load(u, at), load(gradient, at)
        scaled = size * value
        of_scaled, of_size = zeros(u), zeros(u)
        for n in range(states):
            i = n * lanes
            into, out_of = splat(B[now * states + n]), splat(C[now * states + n])
            after, decay, rate = load(history, kept + block + i), load(decays, kept + i), load(A, first + i)
            adjoint = load(carried, local + i) + of_y * out_of
            flow = adjoint * decay
            of_exponent = flow * load(history, kept + i)  # not after - scaled * into, which is all rounding where the decay vanishes
            of_scaled = of_scaled + adjoint * into
            of_size = of_size + of_exponent * rate
            store(sums_C, i, load(sums_C, i) + of_y * after)
            store(sums_B, i, load(sums_B, i) + adjoint * scaled)
            store(of_A, first + i, load(of_A, first + i) + of_exponent * size)
            store(carried, local + i, flow)
        store(of_u, at, of_scaled * size + of_y * load(D, vector * lanes))
        store(of_dt, at, of_scaled * value + of_size * log_of_2)
        store(of_D, vector * lanes, load(of_D, vector * lanes) + of_y * value)
    for n in range(states):
        of_B[now * states + n] += total(load(sums_B, n * lanes))
        of_C[now * states + n] += total(load(sums_C, n * lanes))


def _backward(inputs, carries, outputs, scratch, shape, part, segment, reverse):
    """Write the gradients of u and dt; add those of A, B, C, D. The tuples hold what `_adjoint_step` takes out of them."""
    _, u, dt, A, B, _, _ = inputs
    decays, history, carried, _, _ = scratch
    rows, length, channels, states = shape
    row_begin, row_end, vector_begin, vector_end, width = part
    lanes = BYTES // u.itemsize
    for row in range(row_begin, row_end):
        for left in range(vector_begin, vector_end, width):
            window = (row, left, min(left + width, vector_end))
            block = (window[2] - left) * states * lanes
            for i in range(0, block, lanes):
                store(carried, i, zeros(u))
            for number in range((length - 1) // segment, -1, -1):
                begin, end = number * segment, min(number * segment + segment, length)
                kept = ((number * rows + row) * (channels // lanes) + left) * states * lanes
                for i in range(0, block, lanes):
                    store(history, i, load(carries, kept + i))
                recompute(u, dt, A, B, decays, history, shape, window, (begin, end), reverse)
                for step in range(end - 1, begin - 1, -1):
                    now = row * length + (length - 1 - step if reverse else step)
                    adjoint_step(inputs, outputs, scratch, shape, window, now, (step - begin) * block)


forward = _compiled(_forward)
recompute = _compiled(_recompute)
adjoint_step = _compiled(_adjoint_step)
backward = _compiled(_backward)
