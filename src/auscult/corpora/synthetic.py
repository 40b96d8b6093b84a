"""A corpus that needs nothing: speech synthesised on the spot, for demonstrations, tests and machines without a network.

Problem: a fresh clone has no recordings, and a pipeline that nobody can run at once is a pipeline nobody tries. Choice:
espeak-ng voices (accent x formant variant x pitch x rate) as speakers, texts from a small grammar, everything drawn from one
seed, kept in a cache folder whose name is a hash of all that determines the sound. The folder is written beside its final place
and renamed, so an interrupted run leaves no half corpus, and of two processes that build at once the second uses the first's.

Speakers are numbered; the first `test_speakers` are "test", the next `validation_speakers` "validation", the rest "train", so
that asking for more speakers changes nothing about those that were there. Formant synthesis is far from recorded speech:
results on this corpus are about the pipeline, never about people.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import wave
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from auscult.audio.resampling import resample
from auscult.audio.synthesis import ACCENTS, FEMALE, MALE, Voice, espeak_version, synthesise
from auscult.corpora.base import Corpus, Utterance
from auscult.corpora.material import draw_texts
from auscult.errors import UserError
from auscult.registry import register

FORMAT = 1
"""Raised whenever the same parameters would give other sound or other texts; part of the cache key."""

MANIFEST = "manifest.jsonl"
WAV_HEADER = 44

_TEXTS, _VOICE, _ORDER = range(3)  # purposes of the random streams


@register("corpus", "synthetic")
class Synthetic(Corpus):
    """Synthesised speech; splits "train", "validation", "test" share no speaker; `custom` holds `voice`.

    Args:
        language: of voices and texts.
        material: digit strings, spoken commands, or sentences.
        speakers: number of voices in all splits together.
        utterances_per_speaker: number of texts each of them says.
        validation_speakers: how many of them are "validation".
        test_speakers: how many of them are "test".
        shortest: smallest number of digits in a digit string.
        longest: largest number of digits in a digit string.
        sample_rate: in hertz; the synthesiser's 22,050 Hz are resampled to it.
        seed: of everything drawn.
        cache: folder that keeps the sound; `$AUSCULT_CACHE` or `~/.cache/auscult` if left out.
    """

    name = "synthetic"

    def __init__(
        self,
        language: Literal["en", "pl"] = "en",
        material: Literal["digits", "commands", "sentences"] = "digits",
        speakers: Annotated[int, Field(ge=3, le=10_000)] = 24,
        utterances_per_speaker: Annotated[int, Field(ge=1, le=100_000)] = 40,
        validation_speakers: Annotated[int, Field(ge=1)] = 4,
        test_speakers: Annotated[int, Field(ge=1)] = 4,
        shortest: Annotated[int, Field(ge=1)] = 1,
        longest: Annotated[int, Field(ge=1, le=50)] = 5,
        sample_rate: Literal[8000, 16000] = 16000,
        seed: Annotated[int, Field(ge=0)] = 0,
        cache: str | None = None,
    ) -> None:
        super().__init__()
        if speakers <= validation_speakers + test_speakers:
            raise UserError(
                f"synthetic: {speakers} speakers leave none for training beside {validation_speakers} + {test_speakers} held out"
            )
        if shortest > longest:
            raise UserError(f"synthetic: shortest is {shortest} and longest is {longest}; the shortest digit string must not be longer")
        self.language = language
        self.material = material
        self.speakers = speakers
        self.utterances_per_speaker = utterances_per_speaker
        self.validation_speakers = validation_speakers
        self.test_speakers = test_speakers
        self.shortest = shortest
        self.longest = longest
        self.sample_rate = sample_rate
        self.seed = seed
        self.cache = cache

    def utterances(self) -> Iterable[Utterance]:
        """Yield the utterances by speaker; the first call synthesises them, later ones read the cache."""
        folder = self.folder()
        if not (folder / MANIFEST).is_file():
            try:
                self._build(folder)
            except OSError as error:
                reason = f"cannot write the cache {folder.parent} ({error.strerror})"
                raise UserError(f"{reason}; free some space, or set AUSCULT_CACHE to a folder you may write to") from error
        for line in (folder / MANIFEST).read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            audio = folder / row.pop("audio")
            if not audio.is_file() or audio.stat().st_size != WAV_HEADER + 2 * row["samples"]:
                raise UserError(f"the cached corpus in {folder} is damaged ({audio.name}); delete that folder and it is made again")
            yield Utterance(audio=audio, **row)

    def folder(self) -> Path:
        """Return the cache folder of exactly these parameters; it need not exist yet."""
        cache = self.cache or os.environ.get("AUSCULT_CACHE") or "~/.cache/auscult"
        decides = {key: value for key, value in self.parameters().items() if key != "cache"}
        text = json.dumps({**decides, "format": FORMAT, "espeak": espeak_version()}, sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:12]
        return Path(cache).expanduser().resolve() / "synthetic" / f"{self.language}-{self.material}-{self.sample_rate}-{key}"

    def voice(self, speaker: int) -> Voice:
        """Return the voice of a speaker; it depends on the seed and the speaker's number only. Female and male alternate."""
        variants = FEMALE if speaker % 2 == 0 else MALE
        pairs = [(accent, variant) for variant in variants for accent in ACCENTS[self.language]]
        accent, variant = pairs[self._random(_ORDER, speaker % 2).permutation(len(pairs))[speaker // 2 % len(pairs)]]
        random = self._random(_VOICE, speaker)
        return Voice(
            accent,
            variant,
            pitch=int(random.integers(35, 66)),
            pitch_range=int(random.integers(30, 71)),
            rate=int(random.integers(130, 211)),
            volume=int(random.integers(40, 71)),
        )

    def _random(self, purpose: int, number: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(purpose, number)))

    def _split(self, speaker: int) -> str:
        if speaker < self.test_speakers:
            return "test"
        return "validation" if speaker < self.test_speakers + self.validation_speakers else "train"

    def _build(self, folder: Path) -> None:
        """Write the corpus beside its final place and rename it there."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            with (draft / MANIFEST).open("w", encoding="utf-8") as manifest:
                for speaker in range(self.speakers):
                    for row in self._speak(speaker, draft):
                        manifest.write(json.dumps(row, ensure_ascii=False) + "\n")
            draft.chmod(0o755)
            publish(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _speak(self, speaker: int, draft: Path) -> Iterator[dict[str, Any]]:
        voice, random = self.voice(speaker), self._random(_TEXTS, speaker)
        noise_seed = int(random.integers(2**31))
        texts = draw_texts(self.language, self.material, self.utterances_per_speaker, random, self.shortest, self.longest)
        name = f"{self.language}{speaker:04d}"
        spoken = synthesise(voice, texts, noise_seed)
        (draft / name).mkdir()
        for number, (text, sound) in enumerate(zip(texts, spoken.utterances, strict=True)):
            identity = f"{name}-{number:05d}"
            samples = resample(sound, spoken.sample_rate, self.sample_rate)
            _write_wav(draft / name / f"{identity}.wav", samples, self.sample_rate)
            yield {
                "id": identity,
                "audio": f"{name}/{identity}.wav",
                "split": self._split(speaker),
                "text": text,
                "speaker": name,
                "language": self.language,
                "sex": voice.sex,
                "sample_rate": self.sample_rate,
                "samples": len(samples),
                "custom": {"voice": asdict(voice)},
            }


def _write_wav(path: Path, samples: NDArray[np.float32], sample_rate: int) -> None:
    """Write int16 samples with the standard library: soundfile syncs every file to the disk, which took half of the time."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(np.clip(np.rint(samples * np.float32(32768)), -32768, 32767).astype("<i2").tobytes())


def publish(draft: Path, folder: Path) -> None:
    """Rename a finished folder into place, unless another process was first.

    Raises:
        OSError: the rename failed for another reason.
    """
    try:
        draft.rename(folder)
    except OSError:
        if not (folder / MANIFEST).is_file():
            raise
