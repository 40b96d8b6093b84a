"""A run in a person's hands: what it transcribes, and what it says when it cannot."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auscult.errors import UserError
from auscult.recipe import Recipe
from auscult.serving.recognizer import load
from auscult.specification import Specification
from auscult.testing.recipes import toy_recipe
from auscult.training.checkpoint import load_checkpoint, save_checkpoint
from auscult.training.evaluate import evaluate
from auscult.training.train import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recogniser")
    return train(Recipe.from_dict(toy_recipe(folder / "corpus", updates=60)), root=folder / "runs").run


def test_transcripts_are_those_of_the_evaluation(run: Path) -> None:
    """Train, evaluate and use share one front-end, so a file gives the text it was judged by."""
    corpus = run.parent.parent / "corpus"
    items = {item["id"]: item["hypothesis"] for item in evaluate(run, split="test").items}
    recogniser = load(run)
    chosen = {one: corpus / f"{one}.wav" for one in items}
    texts = recogniser.transcribe(chosen.values())
    assert {one: text["text"] for one, text in zip(chosen, texts, strict=True)} == {one: items[one] for one in chosen}


def test_no_corpus_is_needed(run: Path, tmp_path: Path) -> None:
    moved = tmp_path / run.name
    shutil.copytree(run, moved)
    recipe = moved / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(run.parent.parent), "/gone"))
    audio = tmp_path / "noise.ogg"
    soundfile.write(audio, 0.1 * np.random.default_rng(0).standard_normal(16000).astype(np.float32), 16000)
    assert load(moved).transcribe([audio])[0]["seconds"] == pytest.approx(1.0, abs=0.02)


def test_missing_file_and_checkpoint_are_named(run: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.wav"):
        load(run).transcribe(["nowhere.wav"])
    with pytest.raises(UserError, match="best-999"):
        load(run, checkpoint="best-999")


def test_a_run_of_another_task_is_refused(run: Path, tmp_path: Path) -> None:
    moved = tmp_path / run.name
    shutil.copytree(run, moved)
    path = moved / "checkpoints" / "best.pt"
    payload = load_checkpoint(path)
    save_checkpoint(path, payload["model"], Specification("verification", 8000), update=1)
    with pytest.raises(UserError, match="verification"):
        load(moved)
