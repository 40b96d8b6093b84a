"""Windows cover every evaluated region once, and move only in training and only inside it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from lhotse.cut import MonoCut

from auscult.data.windows import Windows


def make(make_cut: Callable[..., MonoCut], seconds: float, regions: list[list[float]] | None = None, length: int = 8000) -> Windows:
    cut = make_cut("meeting", samples=round(seconds * 8000))
    cut.custom = {"evaluated": regions} if regions else None
    return Windows([cut], length / 8000, 8000)


def test_equal_windows_tile_the_recording(make_cut) -> None:  # type: ignore[no-untyped-def]
    windows = list(make(make_cut, 7.3, length=16000))
    assert [window.start for window in windows] == [0, 14600, 29200, 43800]
    assert sum(window.count for window in windows) == 58400
    assert max(window.count for window in windows) <= 16000
    assert len(make(make_cut, 30.0000625, length=80_000)) == 3, "a sample too many is no window"


def test_windows_lie_in_the_evaluated_regions(make_cut) -> None:  # type: ignore[no-untyped-def]
    windows = make(make_cut, 10.0, [[1.0, 3.0], [5.5, 6.0]])
    assert [(window.start, window.count) for window in windows] == [(8000, 8000), (16000, 8000), (44000, 4000)]
    assert [cut.id for cut in windows.cuts] == ["meeting@1.000", "meeting@2.000", "meeting@5.500"]
    assert [round(cut.duration, 6) for cut in windows.cuts] == [1.0, 1.0, 0.5]
    assert windows["meeting@2.000"].source.id == "meeting"


def test_shifts_stay_inside_and_follow_the_generator(make_cut) -> None:  # type: ignore[no-untyped-def]
    first, second, short = list(make(make_cut, 10.0, [[1.0, 3.0], [5.5, 6.0]]))
    starts = [first.shifted(np.random.default_rng(seed)) for seed in range(300)]
    assert min(starts) >= 8000
    assert max(starts) <= 12000
    assert len(set(starts)) > 100
    assert starts[5] == first.shifted(np.random.default_rng(5))
    assert all(12000 <= second.shifted(np.random.default_rng(seed)) <= 16000 for seed in range(100))
    assert short.shifted(np.random.default_rng(0)) == 44000
