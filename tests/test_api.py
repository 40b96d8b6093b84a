"""The Python API: every verb is one documented call, and naming the package costs nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import auscult
from auscult.errors import UserError
from auscult.recipe import Recipe
from auscult.testing.recipes import toy_recipe


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, auscult; assert not {'torch', 'lhotse', 'pydantic', 'matplotlib', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", auscult.__all__)
def test_every_call_exists_and_is_documented(name: str) -> None:
    assert (getattr(auscult, name).__doc__ or "").strip()


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="trian"):
        _ = auscult.trian  # type: ignore[attr-defined]


def test_train_evaluate_load_transcribe(tmp_path: Path) -> None:
    result = auscult.train(Recipe.from_dict(toy_recipe(tmp_path / "corpus")), root=tmp_path / "runs")
    assert result.action == "trained"
    judged = auscult.evaluate(result.run, split="test")
    assert len(judged.items) == 3
    recogniser = auscult.load(result.run)
    audio = sorted((tmp_path / "corpus").rglob("*.wav"))[:2]
    texts = recogniser.transcribe(audio)
    assert [Path(text["path"]) for text in texts] == audio
    stereo = tmp_path / "stereo.flac"
    soundfile.write(stereo, np.zeros((16000, 2), dtype=np.float32), 16000)
    assert recogniser.transcribe([stereo])[0]["seconds"] == 1.0
    short = tmp_path / "short.wav"
    soundfile.write(short, np.zeros(10, dtype=np.float32), 8000)
    with pytest.raises(UserError, match=r"short\.wav"):
        recogniser.transcribe([short])
