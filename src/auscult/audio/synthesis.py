"""Speech made on the spot with espeak-ng, for corpora that need no network, no recordings and no system package.

The `espeakng-loader` wheel carries the C library with its voices; `espeak_worker` calls it through ctypes in a process of its
own, one per voice. Rejected: `pip install py-espeak-ng` and the like, which call an `espeak-ng` program the system must supply,
and neural synthesisers, whose weights would have to be fetched. The library is GPL-3.0 and is never distributed with this
package, which is why it is an extra.

A formant synthesiser does not sound like people. What is learned from it says nothing about recordings; it shows that a
pipeline works.
"""

from __future__ import annotations

import importlib
import json
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from auscult.errors import MissingExtra, UserError

Language = Literal["en", "pl"]

FEMALE = ("f1", "f2", "f3", "f4", "f5", "Alicia", "Annie", "aunty", "belinda", "grandma", "linda", "steph")
MALE = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "Denis", "Diogo", "Lee", "michel")
"""Formant variants that neither clip nor whisper; each is a different set of resonances, not only another pitch."""

ACCENTS: dict[str, tuple[str, ...]] = {
    "en": ("en-us", "en", "en-gb-x-rp", "en-gb-scotland", "en-us-nyc", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029"),
    "pl": ("pl",),
}
"""Base voices of each language."""

_SECONDS_PER_TEXT = 10.0  # a healthy worker needs about 1 ms; beyond this it hangs


@dataclass(frozen=True)
class Voice:
    """One speaker of the synthesiser.

    Attributes:
        accent: base voice, for example "en-us" or "pl".
        variant: formant variant, for example "f2"; empty for the base voice's own.
        pitch: 0 to 99, 50 being the variant's own.
        pitch_range: 0 (monotone) to 99.
        rate: words per minute, 80 to 450.
        volume: 0 to 200; 100 is the library's own and does not clip.
    """

    accent: str
    variant: str = ""
    pitch: int = 50
    pitch_range: int = 50
    rate: int = 175
    volume: int = 100

    @property
    def name(self) -> str:
        """What espeak-ng calls accent and variant together, for example "en-us+f2"."""
        return f"{self.accent}+{self.variant}" if self.variant else self.accent

    @property
    def sex(self) -> Literal["female", "male"]:
        """What the variant imitates."""
        return "female" if self.variant in FEMALE else "male"


@dataclass(frozen=True)
class Synthesised:
    """The speech of one voice: `utterances`, each (time,) float32 in [-1, 1) at `sample_rate` hertz, in the order of the texts."""

    utterances: list[NDArray[np.float32]]
    sample_rate: int
    version: str


def synthesise(voice: Voice, texts: Sequence[str], seed: int = 0) -> Synthesised:
    """Speak texts one after the other in a fresh process.

    The samples depend on the voice, the seed and the texts up to and including each one (the library's wave phases run on),
    so a longer list starts with the utterances of a shorter one. The same call gives the same bits on the same machine.

    Args:
        voice: who speaks.
        texts: what is said, in the language of the voice.
        seed: of the breath noise, 0 to 2**31 - 1.

    Raises:
        MissingExtra: espeakng-loader is not installed.
        UserError: unknown accent or variant, or a text that gives no sound.
    """
    loader = _loader()
    voices = Path(loader.get_data_path())
    if voice.variant and not (voices / "voices" / "!v" / voice.variant).is_file():
        raise UserError(f'espeak-ng has no voice variant "{voice.variant}"; known here: {", ".join(FEMALE + MALE)}')
    request = {
        "library": loader.get_library_path(),
        "voices": str(voices),
        "voice": voice.name,
        "rate": voice.rate,
        "volume": voice.volume,
        "pitch": voice.pitch,
        "range": voice.pitch_range,
        "seed": seed,
        "texts": list(texts),
    }
    sample_rate, version, sounds = _parse(_run_worker(request, timeout=60.0 + _SECONDS_PER_TEXT * len(texts)))
    utterances = list(sounds)
    for text, samples in zip(texts, utterances, strict=True):
        if not samples.any():
            raise UserError(f'espeak-ng voice "{voice.name}" says nothing for the text {text!r}; give it words of that language')
    return Synthesised(utterances, sample_rate, version)


def espeak_version() -> str:
    """Return the version of the installed library, for example "1.52.0".

    Raises:
        MissingExtra: espeakng-loader is not installed.
    """
    return synthesise(Voice("en"), ["a"]).version


def _loader() -> Any:
    try:
        return importlib.import_module("espeakng_loader")
    except ImportError as error:
        raise MissingExtra("synth", "speech synthesis") from error


def _run_worker(request: dict[str, object], timeout: float) -> bytes:
    worker = Path(__file__).with_name("espeak_worker.py")
    command = [sys.executable, "-I", "-S", str(worker)]
    try:
        done = subprocess.run(command, input=json.dumps(request).encode(), capture_output=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f'espeak-ng voice "{request["voice"]}" did not answer within {timeout:.0f} s; try again or choose another voice'
        ) from error
    if done.returncode != 0:
        message = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise UserError(f"speech synthesis failed (exit status {done.returncode}): {message[-1]}")
    return done.stdout


def _parse(answer: bytes) -> tuple[int, str, Iterator[NDArray[np.float32]]]:
    sample_rate, length = struct.unpack_from("<ii", answer)
    version = answer[8 : 8 + length].decode()
    return sample_rate, version, _utterances(answer, 8 + length)


def _utterances(answer: bytes, position: int) -> Iterator[NDArray[np.float32]]:
    while position < len(answer):
        (size,) = struct.unpack_from("<i", answer, position)
        position += 4
        samples = np.frombuffer(answer, dtype="<i2", count=size // 2, offset=position)
        yield samples.astype(np.float32) / np.float32(32768)
        position += size
