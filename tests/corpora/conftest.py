"""Made audio files for the corpora room."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

RATE = 16000


def make_noise(samples: int = 4000, channels: int = 1) -> np.ndarray:
    shape = (samples,) if channels == 1 else (samples, channels)
    return (0.1 * np.random.default_rng(7).standard_normal(shape)).astype(np.float32)


@pytest.fixture
def noise() -> Callable[..., np.ndarray]:
    return make_noise


@pytest.fixture
def write_manifest(tmp_path: Path) -> Callable[[list[dict[str, Any]]], Path]:
    def write(rows: list[dict[str, Any]]) -> Path:
        path = tmp_path / "manifest.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture
def broken(tmp_path: Path) -> Callable[[str], str]:
    """Make a file with a named problem and return its name."""

    def make(problem: str) -> str:
        name = f"{problem}.wav"
        path = tmp_path / name
        if problem == "no_bytes":
            path.write_bytes(b"")
        elif problem == "no_samples":
            soundfile.write(path, np.zeros(0, np.float32), RATE)
        elif problem == "garbage":
            path.write_bytes(b"this is no audio at all" * 50)
        elif problem == "truncated_wav":
            soundfile.write(path, make_noise(), RATE)
            path.write_bytes(path.read_bytes()[:-3000])
        elif problem == "truncated_flac":
            name = "truncated_flac.flac"
            soundfile.write(tmp_path / name, make_noise(40_000), RATE)
            content = (tmp_path / name).read_bytes()
            (tmp_path / name).write_bytes(content[: len(content) // 2])
        elif problem == "nan":
            bad = make_noise()
            bad[1234] = np.nan
            soundfile.write(path, bad, RATE, subtype="FLOAT")
        else:
            assert problem == "missing", problem
        return name

    return make


@pytest.fixture
def good(tmp_path: Path) -> str:
    soundfile.write(tmp_path / "good.wav", make_noise(), RATE)
    return "good.wav"
