"""What others hear in reconstructions: a verification model, another recogniser, and measures of intelligibility.

Problem: the victim's network is the worst witness of what its own message gives away: it reads features that no ear has heard, and fresh
weights read nothing. Choice: every method of the score card, the truth and the recording itself are made sound by one door
(`auscult.privacy.revocode`), with the same first phases, and heard by models that have nothing to do with the victim. The recording, which
went through no door, stands beside the true features: what lies between the two was lost to the vocoder and is nobody's privacy. A
recogniser that fails on recordings says nothing of reconstructions; `auscult.privacy.heard_summary` refuses its word error rates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from auscult.audio.resampling import resample
from auscult.data.recognition_batch import RecognitionBatch
from auscult.errors import MissingExtra, UserError
from auscult.metrics.edit_distance import EditCounts
from auscult.metrics.error_rate import character_errors, word_errors
from auscult.metrics.intelligibility import PESQ_BANDS, pesq, stoi
from auscult.metrics.reconstruction import Array
from auscult.privacy.capture import client_features
from auscult.privacy.revocode import Revocoder, Scale
from auscult.privacy.speakers import Door, Samples, SpeakerJudge, enrolment
from auscult.privacy.utterances import Chosen
from auscult.privacy.victim import Victim
from auscult.recipe.attack import AttackRecipe
from auscult.serving.embedder import load_embedder
from auscult.serving.recognizer import Recognizer, load
from auscult.streams import Streams
from auscult.tasks.recognition import Recognition

VOCODED = 5.0
"""Seconds of a recording that go through the vocoder for enrolment; it is slow, and encoders gain little beyond."""
RECORDING = "recording"
"""Name of the row of the recording itself."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Heard:
    """An utterance of a message.

    Attributes:
        name: its id.
        speaker: who spoke.
        text: what was said.
        samples: (time,) of the recording, or of its attacked beginning.
    """

    name: str
    speaker: str
    text: str
    samples: Samples


class Listeners:
    """Listen to every method's features.

    Args:
        revocoder: makes sound of features.
        streams: draw first phases, the same for all methods of an utterance.
        sample_rate: of recordings and sounds.
        voices: who speaks in each utterance of the revocoder's pool.
        speakers: ranks speakers; None does not.
        recogniser: of another run than the victim's; None hears no words.

    Raises:
        UserError: features of this front-end cannot be made sound.
    """

    def __init__(
        self,
        revocoder: Revocoder,
        streams: Streams,
        sample_rate: int,
        voices: Sequence[str],
        speakers: SpeakerJudge | None,
        recogniser: Recognizer | None,
    ) -> None:
        if not revocoder.audible:
            raise UserError(
                "speakers, recogniser: this front-end cannot be turned back to sound; use log_spectrogram or mfcc_context, "
                "or leave both out"
            )
        self.revocoder, self.streams, self.sample_rate = revocoder, streams, sample_rate
        self.voices, self.speakers, self.recogniser = tuple(voices), speakers, recogniser
        self.missing: list[str] = []

    def hear(self, utterance: Heard, methods: Mapping[str, Array], together: Sequence[int]) -> list[Row]:
        """Return a record for each method and for the recording.

        Mean and deviation of the features are those of other speakers: those of the speaker's own other utterances gave zeros a voice.

        Args:
            utterance: that was attacked.
            methods: features (frames, width) by method.
            together: places in the pool of the utterances of its message.

        Raises:
            UserError: the recording is too short for a model.
        """
        scale = self.revocoder.scale(self._silent(utterance.speaker, together))
        sounds: dict[str, Samples | None] = {name: self._sound(utterance.name, features, scale) for name, features in methods.items()}
        rows = []
        for method, sound in {**sounds, RECORDING: utterance.samples}.items():
            row: Row = {"id": f"{utterance.name} {method}", "utterance": utterance.name, "speaker": utterance.speaker, "method": method}
            if self.speakers is not None:
                row |= self.speakers.place(sound, utterance.speaker, utterance.name, method == RECORDING)._asdict()
            if self.recogniser is not None:
                row |= self._words(self.recogniser, utterance, sound)
            if method != RECORDING:
                row |= self._intelligibility(utterance.samples, sound)
            rows.append(row)
        return rows

    def _silent(self, speaker: str, together: Sequence[int]) -> list[int]:
        """Return places of the pool that the scale must not know: those of the message, and of the speaker where others are left."""
        mine = {place for place, voice in enumerate(self.voices) if voice == speaker}
        return sorted(mine | set(together)) if len(mine | set(together)) < len(self.voices) else list(together)

    def _sound(self, name: str, features: Array, scale: Scale) -> Samples | None:
        """Return the sound of features, or None where there is none (too few frames, or values without sense)."""
        try:
            generator = torch.Generator().manual_seed(self.streams.integer("phases", name))
            made = self.revocoder.sound(features, scale, generator).numpy().astype(np.float32)
        except UserError:
            return None
        return made if np.isfinite(made).all() and np.any(made) else None

    def _words(self, recogniser: Recognizer, utterance: Heard, sound: Samples | None) -> Row:
        """Return what the recogniser hears, and its errors; nothing is heard where there is no sound."""
        text = ""
        if sound is not None:
            text = recogniser.text(resample(sound, self.sample_rate, recogniser.specification.sample_rate), utterance.name)
        words, characters = word_errors(utterance.text, text), character_errors(utterance.text, text)
        return {"text": text, "words": _counted(words), "characters": _counted(characters)}

    def _intelligibility(self, recording: Samples, sound: Samples | None) -> Row:
        """Return STOI and PESQ where they have a value, and none of what is not installed."""
        if sound is None:
            return {}
        length, found = min(len(recording), len(sound)), Row()
        for name, measure in (("stoi", stoi), ("pesq", pesq)):
            if name == "pesq" and self.sample_rate not in PESQ_BANDS:
                continue
            try:
                value = measure(recording[:length], sound[:length], self.sample_rate)
            except (MissingExtra, UserError) as error:
                self.missing.append(f"{name} is left out: {error}")
                continue
            if np.isfinite(value):
                found[name] = value
        return found


def open_listeners(
    recipe: AttackRecipe, task: Recognition, victim: Victim, chosen: Chosen, revocoder: Revocoder, streams: Streams
) -> tuple[Listeners | None, list[str]]:
    """Return who listens to the reconstructions of a recipe, None where nobody is asked to, and sentences about it.

    Raises:
        UserError: a run cannot be used, or enrolment is not possible; `auscult.privacy.speakers` says why.
    """
    case, notes, judge, recogniser = recipe.case, list[str](), None, None
    if case.speakers is None and case.recogniser is None:
        return None, notes
    if case.speakers is not None:
        pieces, notes = enrolment(task, chosen, case)
        door = _door(victim, chosen, revocoder, streams) if case.speakers.vocoded else None
        judge = SpeakerJudge(load_embedder(case.speakers.run, device="cpu"), pieces, task.specification.sample_rate, door)
    if case.recogniser is not None:
        if case.victim.run is not None and Path(case.recogniser.run).resolve() == Path(case.victim.run).resolve():
            raise UserError("recogniser.run: is the attacked run itself; words are heard by another recogniser, or by none")
        recogniser = load(case.recogniser.run, device="cpu")
    return Listeners(revocoder, streams, task.specification.sample_rate, chosen.speakers, judge, recogniser), notes


def _door(victim: Victim, chosen: Chosen, revocoder: Revocoder, streams: Streams) -> Door:
    """Return what makes features of a recording, and sound of those, knowing nothing of attacked utterances."""
    scale, most = revocoder.scale(range(chosen.attacked)), round(VOCODED * victim.specification.sample_rate)

    def through(samples: Samples, name: str) -> Samples:
        frames, lengths = client_features(victim, RecognitionBatch.pad([samples[:most]], [[]], [name]))
        generator = torch.Generator().manual_seed(streams.integer("phases", "enrolment", name))
        return revocoder.sound(frames[0, : int(lengths[0])].double().numpy(), scale, generator).numpy().astype(np.float32)

    return through


def _counted(counts: EditCounts) -> Sequence[int]:
    return [counts.errors, counts.length]
