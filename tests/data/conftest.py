"""Small corpora made on the spot: wav files of noise with one supervision each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import AudioSource, MonoCut, Recording, SupervisionSegment

MakeCut = Callable[..., MonoCut]


def plain_cut(
    identity: str, path: str = "", samples: int = 4000, rate: int = 8000, text: str | None = "one", speaker: str | None = "ann"
) -> MonoCut:
    """A cut whose file need not exist."""
    duration = samples / rate
    source = AudioSource(type="file", channels=[0], source=path or f"/nowhere/{identity}.wav")
    recording = Recording(id=identity, sources=[source], sampling_rate=rate, num_samples=samples, duration=duration)
    supervision = SupervisionSegment(id=identity, recording_id=identity, start=0.0, duration=duration, text=text, speaker=speaker)
    return MonoCut(id=identity, start=0.0, duration=duration, channel=0, supervisions=[supervision], recording=recording)


@pytest.fixture
def make_cut() -> MakeCut:
    return plain_cut


@pytest.fixture
def record(tmp_path: Path) -> MakeCut:
    """Write samples (or noise) to a wav file and return its cut."""

    def write(
        identity: str,
        samples: np.ndarray | int = 4000,
        rate: int = 8000,
        text: str | None = "one",
        speaker: str | None = "ann",
        subtype: str = "PCM_16",
    ) -> MonoCut:
        seed = sum(map(ord, identity))
        values = np.random.default_rng(seed).uniform(-0.5, 0.5, samples) if isinstance(samples, int) else samples
        path = tmp_path / f"{identity}.wav"
        soundfile.write(path, values, rate, subtype=subtype)
        return plain_cut(identity, str(path), len(values), rate, text, speaker)

    return write
