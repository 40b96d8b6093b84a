"""Who is who: the overlap decides where anybody is heard in it, what speakers sound like where nobody is, and nothing is made up."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from auscult.audio.reading import read_audio
from auscult.audio.resampling import resample
from auscult.errors import UserError
from auscult.serving.separation_order import OrderKeeper, OrderRules, overlap_scores
from auscult.serving.separation_profile import SpeakerProfiles
from auscult.testing.known_separation import RATE, known_voices

LONG, SHORT = 24_000, 8_000


def keeper(sources: int = 2, rules: OrderRules | None = None) -> OrderKeeper:
    return OrderKeeper(sources, RATE, rules if rules is not None else OrderRules())


def voices(sources: int, seed: int = 0, samples: int = LONG) -> NDArray[np.float64]:
    return 0.1 * np.random.default_rng(seed).standard_normal((sources, samples))


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_overlap_tells_the_order(order: tuple[int, ...]) -> None:
    said = voices(3)
    join = keeper(3).join(said[:, :SHORT], said[np.argsort(order)], 0.01)
    assert join.order == order
    assert join.decided_by == "overlap"
    assert join.swapped == (order != (0, 1, 2))


@given(st.integers(0, 1000), st.floats(-20.0, 20.0), st.booleans())
@settings(max_examples=20)
def test_noise_and_levels_do_not_move_it(seed: int, decibels: float, swapped: bool) -> None:
    said = voices(2, seed) * np.array([[1.0], [10 ** (decibels / 20)]])
    again = said + 0.3 * said.std(axis=1, keepdims=True) * np.random.default_rng(seed + 1).standard_normal(said.shape)
    join = keeper().join(said[:, :SHORT], again[::-1] if swapped else again, float((said**2).mean()))
    assert join.order == ((1, 0) if swapped else (0, 1))


def test_a_residue_of_the_only_voice_does_not_cancel_the_decision() -> None:
    """Each pair normalised by itself gives four correlations of one here; the residue must weigh as little as it is loud."""
    voice = voices(1)[0]
    before, after = np.stack([voice, 0.18 * voice]), np.stack([0.2 * voice, voice])
    pairs = [[float(np.corrcoef(one, other)[0, 1]) for other in after] for one in before]
    assert np.allclose(pairs, 1.0)
    join = keeper().join(before[:, :SHORT], after, 0.01)
    assert join.order == (1, 0)
    assert join.margin > 0.5


def test_the_order_stays_unless_another_is_better_by_the_margin() -> None:
    one, other = voices(2)
    mixed = np.stack([one + 0.93 * other, 0.93 * one + other])  # the swapped order is worse by little
    before = np.stack([one, other])[:, :SHORT]
    order = keeper(rules=OrderRules(margin=0.2))
    first = order.join(before, np.stack([other, one]), 0.01)
    assert first.order == (1, 0)
    assert order.join(before, mixed, 0.01).order == (1, 0)
    assert order.join(before, mixed, 0.01).decided_by == "nothing"
    assert keeper(rules=OrderRules(margin=0.0)).join(before, mixed, 0.01).decided_by == "overlap"


def test_a_silent_overlap_is_neutral() -> None:
    """Noise at -80 dB correlates as perfectly as speech does, and says nothing."""
    hiss = 1e-5 * voices(2)
    assert not overlap_scores(hiss, hiss[::-1], 0.01).any()
    window = voices(2, 1)
    window[:, :SHORT] = hiss[::-1, :SHORT]
    join = keeper().join(hiss[:, :SHORT], window, 0.01)
    assert (join.order, join.decided_by, join.margin) == ((0, 1), "nothing", 0.0)


def test_after_silence_the_sound_of_the_voices_decides() -> None:
    said = known_voices(30.0, 1).astype(np.float64)
    order, silence = keeper(), np.zeros((2, SHORT))
    order.profiles.learn(said[:, : 10 * RATE], 0.01)
    both, alone = said[::-1, 12 * RATE : 15 * RATE], said[::-1, 12 * RATE : 15 * RATE] * np.array([[1.0], [0.0]])
    assert order.join(silence, both, 0.01).order == (1, 0)
    assert order.join(silence, alone, 0.01).order == (1, 0)
    assert order.join(silence, alone, 0.01).decided_by == "profile"


def test_crosstalk_of_a_voice_is_not_learned_as_another_speaker() -> None:
    said = known_voices(30.0, 4).astype(np.float64)
    order = keeper()
    order.profiles.learn(said[:, : 5 * RATE], 0.01)
    for _ in range(5):
        order.profiles.learn(np.stack([said[0, : 5 * RATE], 0.18 * said[0, : 5 * RATE]]), 0.01)
    window = np.stack([said[1], 0.18 * said[1]])[:, 12 * RATE : 15 * RATE]
    assert order.join(np.zeros((2, SHORT)), window, 0.01).order == (1, 0)


def test_a_voice_that_is_unlike_the_only_known_one_is_the_other_speaker() -> None:
    said = known_voices(30.0, 2).astype(np.float64)
    order, silence = keeper(), np.zeros((2, SHORT))
    order.profiles.learn(said[:, : 10 * RATE] * np.array([[1.0], [0.0]]), 0.01)
    window = said[::-1, 12 * RATE : 15 * RATE] * np.array([[1.0], [0.0]])  # the second voice, at the first output
    assert order.join(silence, window, 0.01).order == (1, 0)


def test_a_silent_window_leaves_everything_as_it_is() -> None:
    order = keeper()
    order.join(voices(2)[:, :SHORT], voices(2)[::-1], 0.01)
    join = order.join(voices(2)[:, :SHORT], np.zeros((2, LONG)), 0.01)
    assert (join.order, join.decided_by, join.swapped) == ((1, 0), "silence", False)


def test_one_source_has_one_order() -> None:
    join = keeper(1).join(voices(1)[:, :SHORT], voices(1), 0.01)
    assert (join.order, join.decided_by) == ((0,), "overlap")


def test_more_sources_than_orders_can_be_compared_are_refused() -> None:
    with pytest.raises(UserError, match="at most 5"):
        keeper(6)
    with pytest.raises(UserError, match="0 to 2"):
        OrderRules(margin=3.0)


def test_old_speech_counts_less_and_level_does_not_count() -> None:
    said = known_voices(60.0, 3).astype(np.float64)
    profiles = SpeakerProfiles(1, RATE)
    profiles.learn(said[:1, : 5 * RATE], 0.01)
    before = profiles.likeness(said[1:, : 3 * RATE], 0.01)[0, 0]
    for _ in range(12):
        profiles.learn(said[1:, : 10 * RATE], 0.01)
    assert before < 0.0 < 0.8 < profiles.likeness(100 * said[1:, 20 * RATE : 23 * RATE], 100.0)[0, 0]


def test_recorded_voices_are_told_apart_after_three_seconds_each(data_pack) -> None:  # type: ignore[no-untyped-def]
    """Of pairs of LibriSpeech readers; a coin would be right in half of them, so the bar is far from chance and from perfect."""
    said = []
    for path in sorted((data_pack / "librispeech_1utt").glob("*.flac"))[:40]:
        samples = resample(*read_audio(path), RATE).astype(np.float64)
        if len(samples) >= 7 * RATE:
            said.append(samples / samples.std())
    right = []
    for one, other in zip(said[::2], said[1::2], strict=False):
        profiles = SpeakerProfiles(2, RATE)
        profiles.learn(np.stack([one[: 3 * RATE], other[: 3 * RATE]]), 1.0)
        likeness = profiles.likeness(np.stack([one[-3 * RATE :], other[-3 * RATE :]]), 1.0)
        right.append(likeness[0, 0] + likeness[1, 1] > likeness[0, 1] + likeness[1, 0])
    assert len(right) >= 15
    assert np.mean(right) >= 0.85
