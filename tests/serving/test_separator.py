"""A run in a person's hands: any file, any rate, any length, one clear sentence where it cannot work."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from auscult.audio.reading import AudioError, read_audio
from auscult.audio.resampling import resample
from auscult.errors import UserError
from auscult.serving.separation_files import check_outputs
from auscult.serving.separator import RunSeparator, load_separator
from auscult.specification import Specification
from auscult.testing.known_separation import RATE, KnownSeparator, known_voices
from auscult.testing.separation_runs import fresh_separation_run
from auscult.training.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fresh_separation_run(tmp_path_factory.mktemp("runs"), seconds=2.0)


@pytest.fixture
def exact() -> RunSeparator:
    return RunSeparator(KnownSeparator(), 2, RATE)


def test_a_loaded_network_is_the_one_of_the_run(run: Path) -> None:
    separator = load_separator(run)
    assert (separator.sources, separator.sample_rate) == (2, 8000)
    assert separator.layout.window == 16_000  # what the recipe trained on
    mixture = known_voices(1.5, 1).sum(axis=0)  # as long as one window keeps: one call, and nothing to join
    found = separator.separate(mixture)
    network = separator.network
    assert isinstance(network, torch.nn.Module)
    assert not network.training
    with torch.inference_mode():
        extended = np.pad(mixture, 2000, mode="reflect")
        raw = network(torch.from_numpy(extended)[None])[0, :, 2000:-2000].numpy()
    gains = (found * raw).sum(axis=1) / (raw**2).sum(axis=1)
    assert np.allclose(found, raw * gains[:, None], atol=1e-5)


def test_windows_are_as_long_as_asked_for_or_four_seconds(run: Path, tmp_path: Path) -> None:
    assert load_separator(run, seconds=8.0).layout.window == 64_000
    assert load_separator(fresh_separation_run(tmp_path, seconds=None)).layout.window == 32_000


def test_runs_that_cannot_separate_are_refused(run: Path, tmp_path: Path) -> None:
    moved = tmp_path / run.name
    shutil.copytree(run, moved)
    path = moved / "checkpoints" / "best.pt"
    save_checkpoint(path, load_checkpoint(path)["model"], Specification("verification", 8000), update=1)
    with pytest.raises(UserError, match="verification"):
        load_separator(moved)
    with pytest.raises(UserError, match="best-9"):
        load_separator(run, checkpoint="best-9")
    with pytest.raises(UserError, match="no such run"):
        load_separator(tmp_path / "nowhere")


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_a_file_of_any_rate_and_channels_gives_the_voices(tmp_path: Path, exact: RunSeparator, rate: int, ending: str) -> None:
    voices = known_voices(9.0, 2)
    mixture = resample(voices.sum(axis=0), RATE, rate)
    soundfile.write(tmp_path / f"talk.{ending}", np.stack([0.9 * mixture, 1.1 * mixture], axis=1), rate)
    heard: list[float] = []
    record = exact.separate_file(tmp_path / f"talk.{ending}", tmp_path / "out", "float32", heard.append)
    assert sum(heard) == pytest.approx(9.0)
    assert record["seconds"] == pytest.approx(9.0)
    assert record["windows"] == 4
    found = np.stack([read_audio(path)[0] for path in record["outputs"]])
    assert read_audio(record["outputs"][0])[1] == RATE
    error = min(float(np.abs(one - voices)[:, 200:-200].max()) for one in (found, found[::-1]))
    assert error < (1e-4 if rate == RATE else 5e-3)  # 16 bits, and the resampler's edge at 4 kHz


def test_the_file_and_the_array_give_the_same(tmp_path: Path, exact: RunSeparator) -> None:
    mixture = known_voices(13.0, 3).sum(axis=0)
    soundfile.write(tmp_path / "talk.wav", mixture, RATE, subtype="FLOAT")
    record = exact.separate_file(tmp_path / "talk.wav", tmp_path, "float32")
    found, report = exact.separate_with_report(mixture)
    assert all(np.array_equal(read_audio(path)[0], one) for path, one in zip(record["outputs"], found, strict=True))
    assert {key: record[key] for key in report.to_dict()} == report.to_dict()


def test_notes_say_what_to_beware_of(tmp_path: Path, exact: RunSeparator) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(5 * RATE, np.float32), RATE)
    assert "digital silence" in exact.separate_file(tmp_path / "silent.wav", tmp_path)["notes"][0]
    soundfile.write(tmp_path / "narrow.wav", known_voices(2.0, 1).sum(axis=0)[::2], 4000)
    assert "resampled to 8000 Hz" in exact.separate_file(tmp_path / "narrow.wav", tmp_path)["notes"][0]
    soundfile.write(tmp_path / "loud.wav", 4 * known_voices(6.0, 1).sum(axis=0), RATE, subtype="FLOAT")
    record = exact.separate_file(tmp_path / "loud.wav", tmp_path)
    assert "quieter by" in record["notes"][0]
    assert record["gain"] < 1.0
    copies = RunSeparator(lambda mixture: torch.stack([mixture, mixture], dim=1), 2, RATE)
    soundfile.write(tmp_path / "talk.wav", known_voices(9.0, 1).sum(axis=0), RATE)
    assert "at 3 of 3 joins" in copies.separate_file(tmp_path / "talk.wav", tmp_path)["notes"][0]


def test_files_that_cannot_be_separated_leave_nothing(tmp_path: Path, exact: RunSeparator) -> None:
    values = known_voices(20.0, 1).sum(axis=0)
    values[150_000] = np.nan
    soundfile.write(tmp_path / "nan.wav", values, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, np.float32), RATE)
    for name in ("nan.wav", "empty.wav", "gone.wav"):
        with pytest.raises(AudioError, match=name):
            exact.separate_file(tmp_path / name, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))
    with pytest.raises(UserError, match="one channel"):
        exact.separate(np.zeros((2, 100), np.float32))
    with pytest.raises(UserError, match="nothing to separate"):
        exact.separate(np.zeros(0, np.float32))


def test_results_never_replace_one_another_or_a_recording(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="would both become"):
        check_outputs([tmp_path / "a" / "talk.wav", tmp_path / "b" / "talk.flac"], tmp_path, 2)
    (tmp_path / "talk-speaker1.wav").write_bytes(b"a recording")
    with pytest.raises(UserError, match="would be replaced"):
        check_outputs([tmp_path / "talk.wav", tmp_path / "talk-speaker1.wav"], tmp_path, 2)
    check_outputs([tmp_path / "talk.wav", tmp_path / "talk-speaker1.wav"], tmp_path / "out", 2)
