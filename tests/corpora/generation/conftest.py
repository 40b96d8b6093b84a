"""A folder of noisy voices, and settings made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from auscult.corpora.generation.settings import GeneratorSettings, load_settings
from auscult.recipe.text import write_yaml

RATE = 8000


def voice(path: Path, seconds: float = 1.5, level: float = 0.05, rate: int = RATE, channels: int = 1) -> None:
    """Noise that is different for every path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(list(str(path.name).encode()) + list(str(path.parent.name).encode()))
    shape = round(seconds * rate) if channels == 1 else (round(seconds * rate), channels)
    soundfile.write(path, level * random.standard_normal(shape), rate)


@pytest.fixture(scope="session")
def write_voice() -> Callable[..., None]:
    return voice


@pytest.fixture
def voices(tmp_path: Path) -> Path:
    """Twelve speakers with two recordings each."""
    for speaker in range(12):
        for number in range(2):
            voice(tmp_path / "voices" / f"s{speaker:02d}" / f"{number}.wav")
    return tmp_path / "voices"


@pytest.fixture
def values(voices: Path) -> dict[str, Any]:
    """Settings for mixtures of half a second, as a YAML file would hold them."""
    return {
        "speech": {"name": "folder", "source": str(voices), "speakers_from": "folder"},
        "scenes": [{"built_in": 2}],
        "events": [{"built_in": 2}],
        "counts": {"train": 12, "val": 4, "test": 4},
        "seconds": 0.5,
        "rate": RATE,
    }


@pytest.fixture
def settings_file(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    def write(content: dict[str, Any]) -> Path:
        path = tmp_path / "settings.yaml"
        path.write_text(write_yaml(content), encoding="utf-8")
        return path

    return write


@pytest.fixture
def make(values: dict[str, Any], settings_file: Callable[[dict[str, Any]], Path]) -> Callable[..., GeneratorSettings]:
    """Settings with some changed."""

    def settings(**changes: Any) -> GeneratorSettings:
        kept = {key: value for key, value in {**values, **changes}.items() if value is not None}
        return load_settings(settings_file(kept))

    return settings


@pytest.fixture
def tree_hash() -> Callable[[Path], str]:
    return hash_of


def hash_of(folder: Path) -> str:
    """SHA-256 over names and bytes of all files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
