"""Levels, clipping, redraws and crops of single mixtures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from auscult.audio.plate_reverb import Plate
from auscult.corpora.generation import mixing
from auscult.corpora.generation.mixing import CLIP, PEAK, Mixture, draw_mixture, mix, quantised
from auscult.corpora.generation.plan import make_plan
from auscult.corpora.generation.scene_classes import DrawnRoom
from auscult.corpora.generation.settings import GeneratorSettings
from auscult.errors import UserError

RATE = 8000
NAMES = ("speaker1", "speaker2", "scene", "event")
Make = Callable[..., GeneratorSettings]
Voice = Callable[..., None]


def sources(level: float = 0.02, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {name: level * random.standard_normal(4000) for name in NAMES}


def decibels(first: np.ndarray, second: np.ndarray) -> float:
    return float(20 * np.log10(np.linalg.norm(first) / np.linalg.norm(second)))


@given(st.integers(-5, 5), st.floats(-14, 0))
def test_drawn_levels(ratio: int, level: float) -> None:
    layers, offset = mix(sources(), ratio, level, None, RATE)
    assert decibels(layers["speaker1"], layers["speaker2"]) == pytest.approx(ratio)
    assert decibels(layers["scene"], layers["speaker1"] + layers["speaker2"]) == pytest.approx(level)
    assert decibels(layers["scene"], sources()["scene"]) == pytest.approx(level + offset)


def test_plus_five_means_that_the_second_speaker_is_weaker() -> None:
    layers, _ = mix(sources(), 5, 0.0, None, RATE)
    assert 20 * np.log10(np.linalg.norm(layers["speaker1"]) / np.linalg.norm(layers["speaker2"])) == pytest.approx(5)


def test_first_speaker_and_event_stay_as_they_were_recorded() -> None:
    layers, _ = mix(sources(), 3, -7.0, None, RATE)
    for name in ("speaker1", "event"):
        np.testing.assert_array_equal(layers[name], sources()[name])


def test_room_adds_the_tails_of_both_speakers_and_the_event_and_changes_nothing_dry() -> None:
    room = DrawnRoom(Plate(15_000, 0.5, 0.5, 0.3), (0.05, 0.04, 0.1))
    dry, _ = mix(sources(), 3, -7.0, None, RATE)
    wet, _ = mix(sources(), 3, -7.0, room, RATE)
    assert list(wet) == [*NAMES, "reverb1", "reverb2", "event_reverb"]
    for name in NAMES:
        np.testing.assert_array_equal(wet[name], dry[name])
    for name, delay in (("reverb1", 400), ("reverb2", 320), ("event_reverb", 800)):
        assert not wet[name][:delay].any()
        assert wet[name][delay:].any()
    again, _ = mix({**sources(), "speaker2": 4 * sources()["speaker2"]}, 3, -7.0, room, RATE)
    np.testing.assert_allclose(
        again["reverb2"], wet["reverb2"], atol=1e-9, err_msg="the tail is that of the speaker at his level in the mixture"
    )


def test_layers_are_clipped() -> None:
    layers, _ = mix(sources(level=1.0), 0, 0.0, None, RATE)
    assert all(np.abs(layer).max() == CLIP for layer in layers.values())


def test_loud_recordings_are_drawn_again_until_the_sum_fits(make: Make, tmp_path: Path, write_voice: Voice) -> None:
    for path in (tmp_path / "voices").glob("*/0.wav"):
        write_voice(path, level=0.4)
    plan = make_plan(make(draw="file"))
    made = [draw_mixture(plan, "train", index) for index in range(20)]
    assert sum(one.redraws["peak"] for one in made) > 0
    assert all(np.abs(one.total).max() < PEAK and np.abs(quantised(one.total)).max() / 32768 < PEAK for one in made)


def test_a_peak_that_is_rounded_onto_the_limit_counts_as_reached() -> None:
    """0.999895 is below 0.9999 and is stored as 32765 / 32768, which is not."""
    quiet = np.full(10, 1e-3)
    layers = dict.fromkeys(NAMES[1:], quiet) | {"speaker1": np.full(10, 0.999895 - 3e-3)}
    mixture = Mixture(layers, {}, 0, 0.0, 0.0, None, {})
    assert np.abs(mixture.total).max() < PEAK
    assert mixing._problem(mixture) == "peak"


def test_mixture_that_always_clips_is_named(make: Make, tmp_path: Path) -> None:
    for path in (tmp_path / "voices").glob("*/*.wav"):
        soundfile.write(path, np.sign(np.random.default_rng(1).standard_normal(12_000)) * 0.99, RATE)
    with pytest.raises(UserError, match=r"mixture 7 of val was drawn again .* times because of peak.*leave the loudest out"):
        draw_mixture(make_plan(make(scenes=[{"built_in": 1, "only": ["beach"]}], events=[{"built_in": 1, "only": ["birdsong"]}])), "val", 7)


def test_silence_in_any_layer_is_drawn_again(make: Make, tmp_path: Path) -> None:
    """An event of one click is silent in most crops, and its tail where the pre-delay is longer than what is left."""
    click = np.zeros(RATE * 4)
    click[100:120] = 0.3
    (tmp_path / "events" / "click").mkdir(parents=True)
    for number in range(3):
        soundfile.write(tmp_path / "events" / "click" / f"{number}.wav", click, RATE)
    settings = make(events=[{"folder": str(tmp_path / "events")}], matches={"*": ["*"]}, event_disjoint=False)
    plan = make_plan(settings)
    for index in range(6):
        mixture = draw_mixture(plan, "train", index)
        assert all(quantised(layer).any() for layer in mixture.layers.values())


def test_crops_are_mono_resampled_and_as_long_as_a_mixture(make: Make, tmp_path: Path, write_voice: Voice) -> None:
    for path in (tmp_path / "voices").glob("*/*.wav"):
        write_voice(path, rate=11_025, channels=2)
    mixture = draw_mixture(make_plan(make()), "train", 0)
    crop = mixture.crops["speaker1"]
    assert all(layer.shape == (RATE // 2,) for layer in mixture.layers.values())
    assert crop.end - crop.start == pytest.approx(0.5 * 11_025, abs=1)
    original, _ = soundfile.read(tmp_path / crop.label)
    expected = original[crop.start : crop.end].mean(axis=1)
    assert np.sqrt(np.mean(crop.samples**2)) < np.sqrt(np.mean(expected**2))
    assert np.corrcoef(np.interp(np.arange(4000) * 11_025 / RATE, np.arange(len(expected)), expected), crop.samples)[0, 1] > 0.6


def test_short_recordings_of_a_speaker_are_joined_if_asked_for(make: Make, tmp_path: Path, write_voice: Voice) -> None:
    for path in (tmp_path / "voices").glob("*/*.wav"):
        write_voice(path, seconds=0.2)
    with pytest.raises(UserError, match="join_short: true"):
        make_plan(make())
    crop = draw_mixture(make_plan(make(join_short=True)), "train", 0).crops["speaker1"]
    labels = crop.label.split("|")
    assert len(labels) == 3
    assert {label.split("/")[1] for label in labels} == {crop.group}
    assert (crop.start, crop.end, len(crop.samples)) == (0, 4000, 4000)
    assert crop.samples.any()
