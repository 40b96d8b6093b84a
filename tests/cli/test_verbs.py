"""Every verb as a user runs it, on a corpus of a few tones: what it prints, what it leaves, how it exits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from auscult.cli import main
from auscult.testing.recipes import toy_recipe


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("world")
    recipe = folder / "toy.yaml"
    recipe.write_text(yaml.safe_dump(toy_recipe(folder / "corpus")))
    assert main(["train", str(recipe), "--root", str(folder / "runs")]) == 0
    [run] = (folder / "runs").glob("recognition-conv_ctc-*")
    return {"folder": folder, "recipe": recipe, "run": run, "audio": next((folder / "corpus").rglob("*.wav"))}


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_train_leaves_a_complete_run(world: dict[str, Path]) -> None:
    run = world["run"]
    for name in ("recipe.yaml", "identity.json", "labels.json", "events.jsonl", "items/validation.jsonl", "summary/validation.json",
                 "checkpoints/last.pt", "checkpoints/best.pt", "model.safetensors", "report.html"):  # fmt: skip
        assert (run / name).is_file(), name


def test_train_twice_reuses_the_run(world: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    value = answer(capsys, "train", str(world["recipe"]), "--root", str(world["folder"] / "runs"))
    assert value["action"] == "reused"
    assert value["run"] == str(world["run"])


def test_train_with_another_setting_is_another_run(world: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    value = answer(capsys, "train", str(world["recipe"]), "seed=4", "budget.updates=2", "--root", str(world["folder"] / "runs"))
    assert value["action"] == "trained"
    assert value["run"] != str(world["run"])


def test_evaluate(world: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    value = answer(capsys, "evaluate", str(world["run"]), "--split", "test")
    low, high = value["intervals"]["wer"]
    assert low <= value["metrics"]["wer"] <= high
    assert "greedy" in value["protocol"]["decoder"]
    assert len(value["worst"]) == 3
    items = [json.loads(line) for line in (world["run"] / "items" / "test.jsonl").read_text().splitlines()]
    assert sum(item["words"] for item in items) > 0
    beam = answer(capsys, "evaluate", str(world["run"]), "task.decoder.name=prefix_beam")
    assert "beam" in beam["protocol"]["decoder"]
    assert json.loads((world["run"] / "summary" / "test.json").read_text())["protocol"] == value["protocol"]  # overrides store nothing


def test_transcribe(world: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    [record] = answer(capsys, "transcribe", str(world["run"]), str(world["audio"]))
    assert set(record) == {"path", "text", "seconds"}


def test_runs(world: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    rows = answer(capsys, "runs", "--root", str(world["folder"] / "runs"), "--sort", "wer")
    assert [row["wer"] for row in rows] == sorted(row["wer"] for row in rows)
    assert answer(capsys, "runs", "--root", str(world["folder"] / "runs"), "--where", "state=DIVERGED") == []


def test_inspect(world: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    value = answer(capsys, "inspect", str(world["recipe"]))
    assert {"parameters", "parameters_by_part", "macs_per_second", "output_frames", "memory", "real_time_factor"} <= set(value)


def test_audit(world: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(capsys, "audit", str(world["recipe"]))["failed"] is False
    assert main(["audit", str(world["recipe"]), "task.alphabet=ab"]) == 1
    assert "alphabet" in capsys.readouterr().out


def test_prepare_then_audit_the_folder(world: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    value = answer(capsys, "prepare", "folder", str(world["folder"] / "corpus" / "manifest.jsonl"), "-o", str(tmp_path / "out"))
    assert set(value["splits"]) == {"train", "validation", "test"}
    assert set(answer(capsys, "audit", str(tmp_path / "out"))["splits"]) == {"train", "validation", "test"}


def test_report(world: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(answer(capsys, "report", str(world["run"]))["report"])
    assert "<html" in path.read_text()


def test_score(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    reference, hypothesis = tmp_path / "ref.tsv", tmp_path / "hyp.tsv"
    reference.write_text("u1\tone two three\nu2\tfour\n")
    hypothesis.write_text("u2\tfour five\nu1\tone too three\n")
    value = answer(capsys, "score", "wer", str(reference), str(hypothesis))
    assert (value["substitutions"], value["insertions"], value["deletions"], value["words"], value["wer"]) == (1, 1, 0, 4, 0.5)


BAD = {
    "unreadable YAML": ("a: [1,\nb: 2", [], "column 5"),
    "unknown key": (None, ["model.chanels=3"], 'did you mean "channels"'),
    "wrong type": (None, ["budget.updates=many"], "integer"),
    "out of bounds": (None, ["optimizer.lr=-1"], "optimizer.lr"),
    "unknown model": (None, ["model.name=deepspech2"], "deepspeech2"),
    "missing corpus": (None, ["data.corpus.source=/nowhere/at/all"], "/nowhere/at/all"),
    "no such split": (None, ["data.train=[training]"], "training"),
    "unknown characters": (None, ["task.alphabet=ab", "budget.updates=1"], "alphabet"),
    "no CUDA": (None, ["precision.device=cuda"], "precision.device"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_message_and_exit_code_2(
    case: str, world: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import torch

    text, overrides, expected = BAD[case]
    if case == "no CUDA" and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    recipe = tmp_path / "bad.yaml"
    recipe.write_text(world["recipe"].read_text() if text is None else text)
    code = main(["train", str(recipe), *overrides, "--root", str(tmp_path / "runs")])
    error = capsys.readouterr().err
    assert code == 2, error
    assert expected in error
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) <= 2, error


def test_empty_corpus(world: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    code = main(["train", str(world["recipe"]), f"data.corpus.source={tmp_path / 'empty.jsonl'}", "--root", str(tmp_path)])
    assert code == 2
    assert "empty.jsonl" in capsys.readouterr().err


def test_not_a_run(world: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["evaluate", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_transcribing_bad_audio_names_the_file(world: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF not really")
    assert main(["transcribe", str(world["run"]), str(broken)]) == 2
    assert "broken.wav" in capsys.readouterr().err
