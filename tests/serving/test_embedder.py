"""A run becomes embeddings and comparisons: any file a person has, one sentence where it cannot work, a probability that is earned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from auscult.cli import main
from auscult.errors import UserError
from auscult.metrics.calibration import duration_measures, probability
from auscult.recipe import Recipe
from auscult.runs.directory import RunDirectory
from auscult.serving.embedder import load_embedder
from auscult.tasks.trial_records import calibration_of
from auscult.training.train import train

RATE = 8000


def recipe(manifest: Path, **data: Any) -> dict[str, Any]:
    return {
        "task": {"name": "verification", "max_frames": 40},
        "data": {
            "corpus": {"name": "folder", "source": str(manifest)},
            "sample_rate": RATE,
            "train": {"speakers": ["s0", "s1", "s2"]},
            "validation": {"speakers": ["s3", "s4"]},
            "test": {"speakers": ["s5", "s6"]},
            "batch": {"speakers": 3, "utterances": 2},
            **data,
        },
        "model": {"name": "small_tdnn", "channels": 8, "blocks": 1, "wide": 16, "dimensions": 8},
        "optimizer": {"name": "adam", "lr": 3e-3},
        "budget": {"updates": 4, "evaluate_every": 2, "checkpoint_every": 2},
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of seven humming speakers, a manifest of them, and a run trained on them."""
    made, random = tmp_path_factory.mktemp("hum"), np.random.default_rng(0)
    rows = []
    for speaker in range(7):
        for number in range(3):
            time = np.arange(int(RATE * random.uniform(0.7, 1.5))) / RATE
            hum = 0.3 * np.sin(2 * np.pi * (120 + 60 * speaker) * time) + 0.05 * random.standard_normal(len(time))
            soundfile.write(made / f"s{speaker}_{number}.wav", hum, RATE)
            rows.append(json.dumps({"audio": f"s{speaker}_{number}.wav", "speaker": f"s{speaker}"}))
    (made / "manifest.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (made / "recipe.json").write_text(json.dumps(recipe(made / "manifest.jsonl")), encoding="utf-8")
    result = train(Recipe.from_dict(recipe(made / "manifest.jsonl")), root=made / "runs")
    result.run.rename(made / "run")
    return made


def test_files_are_embedded_once_in_the_order_asked_for(folder: Path) -> None:
    embedder = load_embedder(folder / "run")
    names = [folder / f"s5_{number}.wav" for number in (2, 0, 2, 1)]
    found = embedder.embed(names)
    assert found.paths == tuple(map(str, names))
    assert found.vectors.shape == (4, 8)
    np.testing.assert_array_equal(found.vectors[0], found.vectors[2])
    assert embedder.cache is not None
    computed = embedder.cache.computed
    alone = [load_embedder(folder / "run").embed([name]).vectors[0] for name in names]
    np.testing.assert_allclose(found.vectors, alone, atol=1e-6)  # neighbours in a batch change nothing
    assert computed == 3
    again = load_embedder(folder / "run")
    np.testing.assert_array_equal(again.embed(names).vectors, found.vectors)
    assert again.cache is not None
    assert again.cache.computed == 0


def test_samples_are_embedded_as_files_are_and_leave_no_trace(folder: Path) -> None:
    embedder = load_embedder(folder / "run")
    sounds = [soundfile.read(folder / f"s5_{number}.wav", dtype="float32")[0] for number in (2, 0)]
    assert embedder.cache is not None
    before = embedder.cache.computed
    found = embedder.embed_samples(sounds, ["one", "other"])
    assert embedder.cache.computed == before  # a reconstruction must not enter the cache of recordings
    np.testing.assert_allclose(found, embedder.embed([folder / "s5_2.wav", folder / "s5_0.wav"]).vectors, atol=1e-6)
    with pytest.raises(UserError, match=r"other: .* s of audio"):
        embedder.embed_samples([sounds[0], sounds[1][:3]], ["one", "other"])


def test_probability_comes_from_the_validation_trials(folder: Path) -> None:
    embedder = load_embedder(folder / "run")
    found = embedder.verify(folder / "s5_0.wav", folder / "s5_1.wav", prior=0.1)
    calibration = calibration_of(RunDirectory.open(folder / "run").read_items("validation"))
    seconds = embedder.embed([folder / "s5_0.wav", folder / "s5_1.wav"]).seconds
    ratio = calibration.log_likelihood_ratio([found.score], duration_measures(seconds[:1], seconds[1:]))
    assert found.log_likelihood_ratio == pytest.approx(float(ratio[0]))
    assert found.probability == pytest.approx(float(probability(ratio, 0.1)[0]))
    assert f"{calibration.trials} validation trials" in found.calibration
    with pytest.raises(UserError, match=r"prior 1\.5"):
        embedder.verify(folder / "s5_0.wav", folder / "s5_1.wav", prior=1.5)


def test_without_validation_trials_no_probability_is_invented(folder: Path, tmp_path: Path) -> None:
    values = recipe(folder / "manifest.jsonl", validation=None)
    run = train(Recipe.from_dict(values), root=tmp_path).run
    found = load_embedder(run).verify(folder / "s5_0.wav", folder / "s5_1.wav")
    assert found.probability is None
    assert "no validation trials" in found.calibration


def test_any_rate_any_channels_any_name(folder: Path, tmp_path: Path) -> None:
    samples, _ = soundfile.read(folder / "s5_0.wav")
    same = tmp_path / "ñandú ü.flac"
    soundfile.write(same, np.stack([samples, samples], 1), RATE)
    high = tmp_path / "high.wav"
    soundfile.write(high, np.repeat(samples, 2), 2 * RATE)
    low = tmp_path / "low.wav"
    soundfile.write(low, samples[::2], RATE // 2)
    embedder = load_embedder(folder / "run")
    found = embedder.embed([folder / "s5_0.wav", same, high, low])
    np.testing.assert_allclose(found.vectors[1], found.vectors[0], atol=1e-5)
    assert found.seconds == pytest.approx([len(samples) / RATE] * 4, abs=0.01)
    assert len(found.notes) == 1
    assert "low.wav: recorded at 4000 Hz and resampled to 8000 Hz" in found.notes[0]


@pytest.mark.parametrize("milliseconds", [0, 1, 24, 25, 100])
def test_very_short_audio_is_embedded_or_refused_in_one_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], milliseconds: int
) -> None:
    path = tmp_path / "short.wav"
    soundfile.write(path, np.full(RATE * milliseconds // 1000, 0.1), RATE)
    code = main(["embed", str(folder / "run"), str(path), "-o", str(tmp_path / "out.npz"), "--json"])
    said = capsys.readouterr()
    if code == 0:
        with np.load(tmp_path / "out.npz") as held:
            assert np.isfinite(held["embeddings"]).all()
        assert milliseconds >= 24
    else:
        assert code == 2
        assert "short.wav" in said.err
        assert said.err.count("\n") == 1
        assert milliseconds < 100


def test_verbs(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(folder / f"s{speaker}_0.wav") for speaker in (5, 6)]
    out = tmp_path / "made" / "embeddings.npz"
    assert main(["embed", str(folder / "run"), *files, "-o", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["dimensions"] == 8
    with np.load(out) as held:
        assert held["ids"].tolist() == files
        assert held["embeddings"].shape == (2, 8)
    assert main(["verify", str(folder / "run"), *files, "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert 0 <= value["probability"] <= 1
    assert main(["verify", str(folder / "run"), *files]) == 0
    assert capsys.readouterr().out.startswith("probability of one speaker")
    trials = tmp_path / "trials.txt"
    trials.write_text("1 s5_0 s5_1\n0 s5_0 s6_0\n0 s6_1 s5_2\n1 s6_1 s6_2\n", encoding="utf-8")
    assert main(["evaluate", str(folder / "run"), "--trials", str(trials), "--as-norm", str(out), "--json"]) == 0
    judged = json.loads(capsys.readouterr().out)
    assert judged["metrics"]["trials"] == 4
    assert {"eer", "eer_as_norm", "min_dcf_p01", "min_dcf_p05", "cllr", "eer_untrained"} <= set(judged["metrics"])
    assert "list trials.txt" in judged["protocol"]["trials"]
    assert main(["evaluate", str(folder / "run"), "--trials", str(trials), "--as-norm", "train"]) == 0
    assert "worst trials" in capsys.readouterr().out
    trials.write_text("1 s5_0 s5_1\n0 s5_0 nobody\n", encoding="utf-8")
    assert main(["evaluate", str(folder / "run"), "--trials", str(trials)]) == 2
    assert 'trials.txt:2: unknown file "nobody"' in capsys.readouterr().err
    assert main(["transcribe", str(folder / "run"), files[0]]) == 2
    assert "trained for verification" in capsys.readouterr().err
