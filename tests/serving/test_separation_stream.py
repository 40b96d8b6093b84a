"""Long recordings: exact with an exact separator, the same bits in any blocks, a state that does not grow."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from auscult.errors import UserError
from auscult.serving.separation_order import OrderKeeper
from auscult.serving.separation_stream import SeparationReport, SeparationStream
from auscult.serving.separation_windows import WindowLayout, cut_reflected
from auscult.testing.known_separation import RATE, KnownSeparator, known_voices


def run(
    mixture: NDArray[np.float32], separator: object = None, sizes: Sequence[int] = (RATE,), batch: int = 8
) -> tuple[NDArray[np.float32], SeparationReport]:
    stream = SeparationStream(separator or KnownSeparator(), 2, RATE, batch=batch)  # type: ignore[arg-type]
    parts, place, turn = [], 0, 0
    while place < len(mixture):
        size = sizes[turn % len(sizes)]
        parts.append(stream.push(mixture[place : place + size]))
        place, turn = place + size, turn + 1
    parts.append(stream.finish())
    return np.concatenate(parts, axis=1), stream.report


def error(found: NDArray[np.float32], voices: NDArray[np.float32]) -> float:
    """Largest error of the better of the two names for the whole recording: a single change of places in it counts fully."""
    return min(float(np.abs(found - voices).max()), float(np.abs(found[::-1] - voices).max()))


SILENCES: dict[str, dict[int, list[tuple[float, float]]]] = {
    "nobody": {},
    "one for three seconds, on the grid of the windows": {1: [(8.0, 11.0)]},
    "one for three seconds, off the grid": {0: [(9.3, 12.3)]},
    "one, then the other": {0: [(8.0, 11.0)], 1: [(20.0, 23.0)]},
    "one for the first half, the other for the second": {1: [(0.0, 15.0)], 0: [(15.0, 31.0)]},
    "both for less than an overlap": {0: [(8.2, 9.0)], 1: [(8.2, 9.0)]},
    "both for longer than a window": {0: [(8.0, 16.0)], 1: [(8.0, 16.0)]},
    "both, and only one comes back": {0: [(8.0, 16.0)], 1: [(8.0, 24.0)]},
}


@pytest.mark.parametrize("silent", SILENCES.values(), ids=SILENCES.keys())
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_exact_separator_with_any_order_and_levels_gives_the_voices(silent: dict[int, list[tuple[float, float]]], seed: int) -> None:
    voices = known_voices(31.37, seed, silent)
    found, report = run(voices.sum(axis=0))
    assert found.shape == voices.shape
    assert error(found, voices) < 1e-5
    assert report.swaps > 0  # the separator did change the order; the result did not
    assert report.joins == report.windows - 1 == 15


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_crosstalk_and_turns_with_common_silences_between_do_not_confuse_it(seed: int) -> None:
    """Only what the voices sound like tells them apart here, and what is heard of each is in both outputs; all three were lost once."""
    begin = float(np.random.default_rng(seed).uniform(9, 20))
    voices = known_voices(40.0, seed, {0: [(begin, begin + 10)], 1: [(begin - 8, begin + 2), (begin + 8, begin + 18)]})

    def separate(mixture: Tensor) -> Tensor:
        found = KnownSeparator(levels=False)(mixture)
        return found + 0.18 * found.flip(1)

    found, _ = run(voices.sum(axis=0), separate)
    halves = np.array_split(np.arange(voices.shape[1]), 80)
    leaning = [float((found[:, half] * (voices - voices[::-1])[:, half]).sum()) for half in halves]
    heard = [value > 0 for value in leaning if abs(value) > 1.0]
    assert len(heard) > 60
    assert len(set(heard)) == 1


class _ForgetfulOrder(OrderKeeper):
    def join(self, before: NDArray[np.float64], window: NDArray[np.float64], reference: float):  # type: ignore[no-untyped-def]
        self._current = 0
        return self._decide(0, 1.0, "overlap")


def test_without_an_order_the_same_recording_is_cut_into_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bug of every overlap-add without re-ordering, planted: the check above sees it."""
    monkeypatch.setattr("auscult.serving.separation_stream.OrderKeeper", _ForgetfulOrder)
    voices = known_voices(31.37, 1)
    assert error(run(voices.sum(axis=0))[0], voices) > 0.1


def test_without_gains_the_same_recording_pumps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auscult.serving.separation_stream.fit_gains", lambda mixture, estimates: (np.ones(2), np.ones(2)))
    voices = known_voices(31.37, 1)
    assert error(run(voices.sum(axis=0))[0], voices) > 0.1


@given(st.lists(st.integers(500, 40_000), min_size=1, max_size=20))
@settings(max_examples=6)
def test_blocks_of_any_size_give_the_same_bits(sizes: list[int]) -> None:
    mixture = known_voices(21.3, 4, {1: [(5.0, 9.0)]}).sum(axis=0)
    whole, report = run(mixture, sizes=[len(mixture)])
    found, other = run(mixture, sizes=[1, *sizes])
    assert np.array_equal(found, whole)
    assert other == report


def test_groups_of_any_size_give_the_same_signals() -> None:
    mixture = known_voices(21.3, 4).sum(axis=0)
    one, many = run(mixture, batch=1)[0], run(mixture, batch=100)[0]
    assert np.abs(one - many).max() < 1e-6


@pytest.mark.parametrize("samples", [1, 2, 100, RATE, 23_999, 24_000, 24_001, 27_999, 28_000, 28_001, 44_000, 44_001, 60_000])
def test_every_length_comes_back_whole(samples: int) -> None:
    """One sample, less than a window, and everything around the lengths at which another window begins."""
    separator = KnownSeparator(shuffled=False, levels=False)
    mixture = known_voices(10.0, 5).sum(axis=0)[:samples]
    found, report = run(mixture, separator)
    assert found.shape == (2, samples)
    assert np.abs(found.sum(axis=0) - mixture).max() < 1e-6
    expected = 1 if samples <= 24_000 else 1 + -(-(samples - 24_000) // 16_000)
    assert report.windows == expected
    assert {shape[1] for shape in separator.calls} <= {32_000, min(samples, 24_000) + 8_000}


def test_ends_are_reflected_and_not_silent() -> None:
    seen: list[Tensor] = []

    def separate(mixture: Tensor) -> Tensor:
        seen.extend(mixture)
        return torch.stack([mixture, 0 * mixture], dim=1)

    mixture = known_voices(7.0, 6).sum(axis=0) + 0.01
    run(mixture, separate)
    assert np.array_equal(seen[0][:4000].numpy(), mixture[4000:0:-1])
    assert np.array_equal(seen[-1][-4000:].numpy(), mixture[-2:-4002:-1])
    assert cut_reflected(np.array([7.0], np.float32), -2, 3).tolist() == [7.0] * 5


def test_what_windows_throw_away_never_reaches_the_result() -> None:
    def separate(mixture: Tensor) -> Tensor:
        spoilt = torch.full_like(mixture, 1e6)
        spoilt[:, 4000:-4000] = mixture[:, 4000:-4000]
        return torch.stack([spoilt, 0 * spoilt], dim=1)

    mixture = known_voices(15.0, 7).sum(axis=0)
    assert np.abs(run(mixture, separate)[0][0] - mixture).max() < 1e-6


def test_the_state_does_not_grow() -> None:
    stream = SeparationStream(KnownSeparator(), 2, RATE, batch=2)
    block, sizes = known_voices(10.0, 8).sum(axis=0), []
    for _ in range(20):
        stream.push(block)
        separate, stream.separate = stream.separate, None  # type: ignore[assignment]
        sizes.append(len(pickle.dumps(stream)))
        stream.separate = separate
    assert max(sizes[10:]) <= max(sizes[2:10])


def test_what_is_final_comes_before_the_end() -> None:
    stream, voices = SeparationStream(KnownSeparator(), 2, RATE, batch=1), known_voices(20.0, 9)
    given, got = 0, 0
    for block in np.array_split(voices.sum(axis=0), 40):
        given, got = given + len(block), got + stream.push(block).shape[1]
        assert given - got <= 2 * 16_000 + 12_000 + 4_000  # two hops, the overlap with the margin, and the block


def test_digital_silence_does_not_reach_the_network() -> None:
    def separate(mixture: Tensor) -> Tensor:
        assert bool(mixture.any(dim=1).all())
        return KnownSeparator()(mixture / mixture.std(dim=1, keepdim=True)) * mixture.std(dim=1)[:, None, None]

    voices = known_voices(40.0, 10)
    voices[:, 8 * RATE : 30 * RATE] = 0.0
    found, report = run(voices.sum(axis=0), separate)
    assert report.silent_windows > 5
    assert np.abs(found[:, 9 * RATE : 29 * RATE]).max() < 1e-12
    silent, report = run(np.zeros(5 * RATE, np.float32), separate)
    assert not silent.any()
    assert report.silent_windows == report.windows == 2
    assert report.low_margin_joins == 0


def test_one_speaker_is_one_voice_and_near_silence() -> None:
    voices = known_voices(20.0, 11, {1: [(0.0, 20.0)]})
    found, report = run(voices.sum(axis=0))
    assert error(found, voices) < 1e-5
    assert report.low_margin_joins == 0


def test_a_doubtful_join_is_listed() -> None:
    """Two copies of one voice: nothing tells them apart, and the report says where."""
    found, report = run(known_voices(9.0, 12).sum(axis=0), lambda mixture: torch.stack([mixture, mixture], dim=1) / 7)
    assert report.low_margin_joins == report.joins == 3
    assert [one.seconds for one in report.doubtful] == [2.0, 4.0, 6.0]
    assert report.swaps == 0
    assert report.to_dict()["doubtful"][0]["decided_by"] == "nothing"
    assert np.allclose(found[0], found[1], atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none_are_refused(value: float) -> None:
    stream = SeparationStream(KnownSeparator(), 2, RATE)
    with pytest.raises(UserError, match="finite"):
        stream.push(np.array([0.0, value], np.float32))
    with pytest.raises(UserError, match="nothing to separate"):
        stream.finish()
    with pytest.raises(UserError, match=r"window at 2\.00 s"):
        run(known_voices(7.0, 1).sum(axis=0), _spoil)


def _spoil(mixture: Tensor) -> Tensor:
    found = torch.stack([mixture, 0 * mixture], dim=1)
    found[1:] = torch.nan
    return found


def test_a_separator_that_answers_another_shape_is_named() -> None:
    with pytest.raises(UserError, match="batch, sources, time"):
        run(known_voices(5.0, 1).sum(axis=0), lambda mixture: mixture[:, None])
    with pytest.raises(UserError, match="batch 0"):
        SeparationStream(KnownSeparator(), 2, RATE, batch=0)


def test_windows_that_cannot_be_joined_are_refused() -> None:
    with pytest.raises(UserError, match="longer windows"):
        WindowLayout(window=100, margin=50, overlap=10)
    with pytest.raises(UserError, match="longer windows"):
        WindowLayout(window=100, margin=10, overlap=60)
