"""`auscult diarize` and `auscult evaluate --reference` as a user runs them: any file, one clear sentence where it cannot work."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from auscult.cli import main
from auscult.losses.powerset import Powerset
from auscult.metrics.rttm import read_rttm
from auscult.recipe import Recipe
from auscult.runs.directory import RunDirectory
from auscult.runs.identity import Identity
from auscult.runs.state import State
from auscult.specification import Specification
from auscult.training.checkpoint import save_checkpoint

RATE = 16000
DATA = {"corpus": {"name": "folder", "source": "not/needed"}, "sample_rate": RATE, "train": ["train"], "batch": {"items": 4}}
FRONT_END = {"name": "log_mel", "mel_bins": 20}
SEGMENTATION = {"name": "powerset_segmentation", "channels": 8, "blocks": 1, "attention": 1, "heads": 2, "front_end": FRONT_END}
ENCODER = {"name": "small_tdnn", "channels": 8, "blocks": 1, "wide": 8, "dimensions": 4, "front_end": FRONT_END}


def make_run(root: Path, name: str, task: dict[str, Any], model: dict[str, Any], specification: Specification, prefix: str = "") -> Path:
    """Leave a finished run with fresh weights: what is tested here is everything around them."""
    recipe = Recipe.from_dict(
        {"task": task, "data": {**DATA, "sample_rate": specification.sample_rate}, "model": model, "budget": {"updates": 1}}
    )
    run = RunDirectory.create(root, name, recipe.to_yaml(), Identity.current(recipe.hash, "none"), None, "train")
    torch.manual_seed(0)
    network = recipe.model.build(specification=specification, sample_rate=specification.sample_rate)
    if task["name"] == "diarization":
        torch.nn.init.normal_(network.fc.weight, std=1.0)
    run.checkpoint("best").parent.mkdir()
    save_checkpoint(run.checkpoint("best"), {prefix + key: value for key, value in network.state_dict().items()}, specification, update=1)
    run.set_state(State.COMPLETE)
    return run.path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("runs")
    segmentation = make_run(
        root,
        "segmentation",
        {"name": "diarization", "window": 2.0},
        SEGMENTATION,
        Specification("diarization", RATE, Powerset(3, 2).labels),
    )
    voices = make_run(root, "voices", {"name": "verification"}, ENCODER, Specification("verification", RATE, ("a", "b")), "encoder.")
    scores = ((0.95, True), (0.9, True), (0.75, True), (0.8, False), (0.7, False), (0.6, False))
    items = [
        {
            "id": f"{place}",
            "score": score,
            "target": target,
            "enrol_seconds": 3.0,
            "test_seconds": 3.0,
            "enrol_speaker": "a",
            "test_speaker": "a" if target else "b",
        }
        for place, (score, target) in enumerate(scores)
    ]
    RunDirectory.open(voices).write_items("validation", items)
    return {"root": root, "segmentation": segmentation, "voices": voices}


def sound(path: Path, seconds: float, rate: int = RATE, channels: int = 1, level: float = 0.1) -> Path:
    samples = level * np.random.default_rng(0).standard_normal((round(seconds * rate), channels))
    soundfile.write(path, samples.astype(np.float32), rate)
    return path


def answer(capsys: pytest.CaptureFixture[str], *words: str | Path) -> Any:
    capsys.readouterr()
    assert main([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def complaint(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    capsys.readouterr()
    assert main([*map(str, words)]) == 2
    streams = capsys.readouterr()
    assert not streams.out
    assert len(streams.err.strip().splitlines()) == 1, streams.err
    return streams.err


def test_rttm_is_printed_or_written_whole(runs: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    first, second = sound(tmp_path / "one.wav", 3.0), sound(tmp_path / "two.flac", 1.5)
    capsys.readouterr()
    assert main(["diarize", str(runs["segmentation"]), str(first), str(second)]) == 0
    streams = capsys.readouterr()
    assert {line.split()[1] for line in streams.out.splitlines()} == {"one", "two"}
    assert "voices by voices" in streams.err
    output = tmp_path / "out" / "both.rttm"
    assert main(["diarize", str(runs["segmentation"]), str(first), str(second), "-o", str(output)]) == 0
    assert output.read_text() == streams.out
    assert "speaker1" in capsys.readouterr().out
    turns = read_rttm(output).turns["one"]
    assert all(0 <= turn.confidence <= 1 for turn in turns if turn.confidence is not None)
    assert [path.name for path in output.parent.iterdir()] == ["both.rttm"]


def test_json(runs: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    value = answer(
        capsys, "diarize", runs["segmentation"], sound(tmp_path / "one.wav", 3.0), "--embedding", runs["voices"], "--speakers", "1"
    )
    [record] = value["recordings"]
    assert record["seconds"] == 3.0
    assert record["speakers"] == ["speaker1"]
    assert set(record["turns"][0]) == {"start", "end", "speaker", "confidence"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("seconds", "rate", "channels", "level"), [(3.0, 8000, 1, 0.1), (3.0, 44100, 2, 0.1), (0.1, RATE, 1, 0.1), (2.5, RATE, 1, 0.0)]
)
def test_files_of_any_kind(
    seconds: float,
    rate: int,
    channels: int,
    level: float,
    stream: bool,
    runs: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    path = sound(tmp_path / "Señor Müller – café.wav", seconds, rate, channels, level)
    value = answer(capsys, "diarize", runs["segmentation"], path, *(["--stream"] if stream else []))
    [record] = value["recordings"]
    assert record["seconds"] == pytest.approx(seconds, abs=0.01)
    assert all(0 <= turn["start"] < turn["end"] <= record["seconds"] + 1e-6 for turn in record["turns"])
    assert any("nothing above 4000 Hz" in note for note in record["notes"]) == (rate == 8000)
    assert main(["diarize", str(runs["segmentation"]), str(path)]) == 0
    assert all(line.split()[1] == "Señor_Müller_–_café" for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize("samples", [1, 100, 199])
@pytest.mark.parametrize("stream", [[], ["--stream"]])
def test_too_short_for_a_frame(
    samples: int, stream: list[str], runs: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = sound(tmp_path / "short.wav", samples / RATE)
    assert "the model needs at least" in complaint(capsys, "diarize", runs["segmentation"], path, *stream)


@pytest.mark.parametrize("milliseconds", [24, 25, 26, 100])
def test_around_one_frame(milliseconds: int, runs: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    value = answer(capsys, "diarize", runs["segmentation"], sound(tmp_path / "short.wav", milliseconds / 1000))
    assert value["recordings"][0]["seconds"] == milliseconds / 1000


def test_files_that_are_none(runs: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "holds no samples" in complaint(capsys, "diarize", runs["segmentation"], sound(tmp_path / "empty.wav", 0.0))
    assert "nowhere.wav" in complaint(capsys, "diarize", runs["segmentation"], tmp_path / "nowhere.wav")
    (tmp_path / "text.wav").write_text("hello")
    assert "text.wav" in complaint(capsys, "diarize", runs["segmentation"], tmp_path / "text.wav")


def test_what_contradicts_is_one_sentence(runs: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = sound(tmp_path / "one.wav", 3.0)
    (tmp_path / "again").mkdir()
    again = sound(tmp_path / "again" / "one.wav", 1.0)
    segmentation, voices = runs["segmentation"], runs["voices"]
    assert "contradict" in complaint(capsys, "diarize", segmentation, path, "--min-speakers", "3", "--max-speakers", "2")
    assert 'both "one"' in complaint(capsys, "diarize", segmentation, path, again)
    assert "a diarization run is needed" in complaint(capsys, "diarize", voices, path)
    assert "verification" in complaint(capsys, "diarize", segmentation, path, "--embedding", segmentation)
    assert "--reference" in complaint(capsys, "diarize", segmentation, path, "--figure", tmp_path / "x.png")
    assert "no such run" in complaint(capsys, "diarize", tmp_path / "gone", path)
    assert "best-9" in complaint(capsys, "diarize", segmentation, path, "--checkpoint", "best-9")
    assert "--reference" in complaint(capsys, "evaluate", segmentation, "--uem", tmp_path / "x.uem")


def test_without_voices_a_long_file_needs_them(runs: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    alone = tmp_path / "alone" / "segmentation"
    shutil.copytree(runs["segmentation"], alone)
    assert "--embedding RUN" in complaint(capsys, "diarize", alone, sound(tmp_path / "long.wav", 3.0))
    assert "--embedding RUN" in complaint(capsys, "diarize", alone, sound(tmp_path / "short.wav", 1.0), "--stream")
    assert answer(capsys, "diarize", alone, tmp_path / "short.wav")["recordings"][0]["seconds"] == 1.0


def test_two_verification_runs_beside_are_one_too_many(runs: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root = tmp_path / "runs"
    shutil.copytree(runs["root"], root)
    shutil.copytree(root / "voices", root / "voices2")
    path = sound(tmp_path / "long.wav", 3.0)
    assert "--embedding RUN" in complaint(capsys, "diarize", root / "segmentation", path)
    assert answer(capsys, "diarize", root / "segmentation", path, "--embedding", root / "voices2")["recordings"]


def test_sample_rates_must_agree(runs: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    low = make_run(tmp_path, "low", {"name": "verification"}, ENCODER, Specification("verification", 8000, ("a", "b")), "encoder.")
    assert "same sample rate" in complaint(capsys, "diarize", runs["segmentation"], sound(tmp_path / "a.wav", 3.0), "--embedding", low)


def test_a_figure_beside_the_reference(runs: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path, reference = sound(tmp_path / "one.wav", 3.0), tmp_path / "one.rttm"
    reference.write_text("SPEAKER one 1 0.5 1.5 <NA> <NA> anna <NA> <NA>\n")
    value = answer(capsys, "diarize", runs["segmentation"], path, "--reference", reference, "--figure", tmp_path / "who.svg")
    assert [Path(one).name for one in value["figures"]] == ["who.svg"]
    assert (tmp_path / "who.svg").stat().st_size > 1000
    assert (tmp_path / "who.system.csv").is_file()
    assert "ends in .png" in complaint(
        capsys, "diarize", runs["segmentation"], path, "--reference", reference, "--figure", tmp_path / "who.gif"
    )
    reference.write_text("SPEAKER two 1 0.5 1.5 <NA> <NA> anna <NA> <NA>\n")
    assert 'no turns of "one"' in complaint(
        capsys, "diarize", runs["segmentation"], path, "--reference", reference, "--figure", tmp_path / "who.png"
    )


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    folder = tmp_path / "talks"
    folder.mkdir()
    for name, seconds in (("one", 3.0), ("twö.v1", 1.5)):
        sound(folder / f"{name}.wav", seconds)
        (folder / f"{name}.rttm").write_text(f"SPEAKER {name} 1 0.5 0.9 <NA> <NA> anna <NA> <NA>\n", encoding="utf-8")
        (folder / f"{name}.uem").write_text(f"{name} 1 0.0 {seconds - 0.25}\n", encoding="utf-8")
    return folder


def test_evaluate_recordings(runs: dict[str, Path], capsys: pytest.CaptureFixture[str], recordings: Path) -> None:
    words = ["evaluate", runs["segmentation"], "--reference", recordings, "--uem", recordings, "--audio", recordings]
    value = answer(capsys, *words, "--figures")
    assert set(value["systems"]) == {"system", "one speaker everywhere", "all silence"}
    everywhere = value["systems"]["one speaker everywhere"]
    assert everywhere["der_full"] == pytest.approx((2.75 + 1.25 - 1.65) / 1.65, abs=1e-6)  # the second turn ends at the edge of its region
    assert everywhere["miss_full"] == 0.0
    assert value["systems"]["all silence"]["der_full"] == 1.0
    assert set(value["per_file"]) == {"one", "twö.v1"}
    assert "regions: UEM" in value["protocol"]
    assert value["real_time_factor"] > 0
    assert [Path(one).name for one in value["figures"]] == ["timeline.one.png", "timeline.twö.v1.png"]
    kept = RunDirectory.open(runs["segmentation"]).read_summary("recordings")
    assert (kept["systems"], kept["per_file"], kept["protocol"]) == (value["systems"], value["per_file"], value["protocol"])
    assert kept["figures"] == ["timeline.one.png", "timeline.twö.v1.png"]
    assert (kept["checkpoint"], kept["embedding"], kept["reference"]) == ("best", None, recordings.name)
    assert main([*map(str, words)]) == 0
    text = capsys.readouterr().out
    assert "one speaker everywhere" in text
    assert "+-0.25 s collar" in text


def test_evaluate_names_what_is_missing(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str], recordings: Path, tmp_path: Path
) -> None:
    words = ["evaluate", runs["segmentation"], "--reference", recordings, "--audio", recordings]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no audio" in complaint(capsys, *words[:-1], empty)
    assert "holds no .rttm" in complaint(capsys, *words[:3], empty, *words[4:])
    assert "holds no .uem" in complaint(capsys, *words, "--uem", empty)
    (recordings / "one.uem").unlink()
    assert 'no region for "one"' in complaint(capsys, *words, "--uem", recordings)
    (recordings / "one.wav").unlink()
    assert "no audio for 1 of 2" in complaint(capsys, *words)
    assert "not/needed" in complaint(capsys, *words[:4])
