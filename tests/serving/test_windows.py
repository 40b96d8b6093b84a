"""Windows on one grid: they cover everything, nothing is counted off by one, and overlapping answers average."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auscult.errors import UserError
from auscult.serving.windows import FrameGrid, cut_windows, overlap_average, whole_frames, window_starts

SIZES = st.tuples(st.integers(1, 2000), st.integers(1, 40), st.integers(1, 20), st.integers(1, 40))


@given(SIZES)
def test_windows_cover_every_sample_and_start_on_the_grid(sizes: tuple[int, int, int, int]) -> None:
    samples, window_frames, step, hop = sizes
    window, hop = window_frames * step, min(hop, window_frames)
    starts = window_starts(samples, window, hop, step)
    assert starts[0] == 0
    assert (np.diff(starts) > 0).all()
    assert (np.diff(starts) <= hop).all()
    covered = np.zeros(samples, dtype=bool)
    windows, lengths = cut_windows(np.arange(samples, dtype=np.float32), starts, window, step)
    for start, row, length in zip(starts.tolist(), windows, lengths.tolist(), strict=True):
        assert row[:length].tolist() == list(range(start * step, start * step + length))
        assert not row[length:].any()
        covered[start * step : start * step + length] = True
    assert covered.all()
    assert lengths[:-1].tolist() == [window] * (len(starts) - 1)
    assert lengths[-1] > window - step or samples < window


def test_a_recording_as_long_as_a_window_has_one() -> None:
    assert window_starts(80, 80, 2, 4).tolist() == [0]
    assert window_starts(81, 80, 2, 4).tolist() == [0, 1]


def test_a_hop_longer_than_the_window_is_refused() -> None:
    with pytest.raises(UserError, match="hop"):
        window_starts(100, 20, 6, 4)


@given(st.integers(1, 6), st.integers(1, 7), st.integers(1, 3), st.integers(0, 10_000))
def test_the_average_of_windows_cut_from_one_truth_is_the_truth(hop: int, width: int, columns: int, seed: int) -> None:
    """Whatever the weights; a frame that lands one place off would show."""
    random = np.random.default_rng(seed)
    hop = min(hop, width)
    truth = random.random((int(random.integers(1, 40)), columns))
    starts = window_starts(len(truth), width, hop, 1)
    lengths = np.minimum(width, len(truth) - starts)
    values = np.full((len(starts), width, columns), np.nan)
    for row, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
        values[row, :length] = truth[start : start + length]
    for shape in (None, random.uniform(0.1, 1.0, width)):
        assert np.allclose(overlap_average(values, starts, lengths, len(truth), shape), truth, rtol=1e-12)


def test_the_average_equals_a_loop_over_frames() -> None:
    random = np.random.default_rng(1)
    values, starts, lengths = random.random((4, 5, 2)), np.array([0, 2, 4, 5]), np.array([5, 5, 5, 3])
    shape = np.hamming(5)
    expected = np.zeros((11, 2))
    for frame in range(11):
        seen = [(row, frame - start) for row, start in enumerate(starts) if 0 <= frame - start < lengths[row]]
        if seen:
            expected[frame] = sum(shape[place] * values[row, place] for row, place in seen) / sum(shape[place] for _, place in seen)
    assert np.allclose(overlap_average(values, starts, lengths, 11, shape), expected)


def test_boundaries_lie_half_way_between_centres() -> None:
    grid = FrameGrid(16000, 320, 0.0)
    centres = grid.centres(4, start=2)
    assert [grid.boundary(frame) for frame in (3, 4, 5)] == pytest.approx(((centres[1:] + centres[:-1]) / 2).tolist())
    assert grid.boundary(0) == 0.0
    assert whole_frames(0.001, grid) == 1
    assert whole_frames(0.5, grid) == 25
