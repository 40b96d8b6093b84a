"""Mixtures of single speakers: different speakers, stated levels, the same ones for the same seed, whatever the order of the cuts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse.cut import MonoCut

from auscult.corpora.folder import Folder
from auscult.data.layers import layer_names, read_layers, root_mean_square, source_speakers
from auscult.data.mixtures import simulate_mixtures
from auscult.data.store import AudioStore
from auscult.errors import UserError
from auscult.recipe.fields import Mixtures

RATE = 8000


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[MonoCut]:
    """Five speakers with three recordings each, 0.6 to 3 s."""
    folder, random = tmp_path_factory.mktemp("recordings"), np.random.default_rng(0)
    rows = []
    for speaker in range(5):
        for number, seconds in enumerate((0.6, 1.5, 3.0)):
            name = f"s{speaker}_{number}.wav"
            soundfile.write(folder / name, 0.1 * random.standard_normal(round(RATE * seconds)).clip(-3, 3), RATE, subtype="PCM_16")
            rows.append(json.dumps({"audio": name, "speaker": f"s{speaker}"}))
    (folder / "manifest.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return list(Folder(str(folder / "manifest.jsonl")).splits()["all"])


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """A folder with a recording of noise that is shorter than a mixture."""
    soundfile.write(tmp_path / "hum.wav", 0.05 * np.sin(np.arange(3000) / 7), RATE, subtype="PCM_16")
    return tmp_path


def test_the_same_generator_makes_the_same_mixtures_of_cuts_in_any_order(recordings: list[MonoCut]) -> None:
    settings = Mixtures(counts={"train": 1}, seconds=1.0)
    one = simulate_mixtures(recordings, 9, settings, np.random.default_rng(3))
    other = simulate_mixtures(recordings[::-1], 9, settings, np.random.default_rng(3))
    assert [cut.to_dict() for cut in one] == [cut.to_dict() for cut in other]
    assert [cut.id for cut in one] != [cut.id for cut in simulate_mixtures(recordings, 9, settings, np.random.default_rng(4))]


def test_speakers_differ_and_take_turns(recordings: list[MonoCut]) -> None:
    mixtures = simulate_mixtures(recordings, 20, Mixtures(counts={"train": 1}, seconds=1.0, speakers=3), np.random.default_rng(0))
    heard = [source_speakers(cut) for cut in mixtures]
    assert all(len(set(speakers)) == 3 for speakers in heard)
    counts = np.unique([name for speakers in heard for name in speakers], return_counts=True)[1]
    assert counts.tolist() == [12] * 5


def test_levels_are_those_of_the_stretch_that_is_heard(recordings: list[MonoCut]) -> None:
    settings = Mixtures(counts={"train": 1}, seconds=1.0, ratio=(5.0, 5.0))
    for cut in simulate_mixtures(recordings, 6, settings, np.random.default_rng(0)):
        layers = read_layers(cut, layer_names(cut), AudioStore(RATE, 10))
        first, second = (root_mean_square(samples[samples != 0]) for samples in layers.values())
        assert 20 * np.log10(first / second) == pytest.approx(5.0, abs=0.01)


def test_noise_lasts_as_long_as_the_mixture(recordings: list[MonoCut], noise: Path) -> None:
    settings = Mixtures(counts={"train": 1}, seconds=1.0, noise=str(noise), snr=(10.0, 10.0))
    for cut in simulate_mixtures(recordings, 5, settings, np.random.default_rng(0)):
        assert layer_names(cut) == ("source1", "source2", "scene")
        scene = read_layers(cut, ["scene"], AudioStore(RATE, 10))["scene"]
        assert len(scene) == RATE
        assert 20 * np.log10(root_mean_square(scene)) == pytest.approx(-36.0, abs=0.1)
        assert np.abs(scene[-50:]).max() > 0


def test_too_few_speakers_are_refused(recordings: list[MonoCut]) -> None:
    with pytest.raises(UserError, match=r"data\.mixtures\.speakers: 6 different speakers .* have 5; select more"):
        simulate_mixtures(recordings, 1, Mixtures(counts={"train": 1}, speakers=6), np.random.default_rng(0))
