"""Who spoke, by a verification model that listens to reconstructions: ranks among enrolled speakers.

Problem: re-identification is easy to fake. An enrolment that holds the attacked utterance, under its own name or another, measures how well
a recording is found again, not a voice; a handful of speakers makes chance look like skill; and a sound that was made from the true
features is already worse than the recording. Choice: enrolment is made of other utterances of the pool's speakers, those that share no
stretch of any file with an attacked one. A speaker without another utterance is enrolled by what follows the attacked stretch of the same
recording, and that is said: the room and the microphone are then known too. Whatever was chosen, it is compared with what is attacked, by
place and by content, and an overlap is an error. Further speakers can be enrolled from another split, so that there are many to be
confused with.

Enrolment can go through the vocoder as well: an encoder that hears recordings on one side and vocoded sounds on the other compares channels
before voices. It is not the default, because on 20 readers ranks rose within their interval and the equal error rate rose beyond
it: vocoded voices are nearer to their own, and to one another. Recordings are always compared with recordings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from lhotse.cut import Cut
from numpy.typing import NDArray

from auscult.audio.resampling import resample
from auscult.data.selection import nested_subset
from auscult.data.strings import UNKNOWN_SPEAKER, parts_of, speaker_of
from auscult.errors import UserError
from auscult.metrics.disclosure import speaker_rank
from auscult.metrics.embedding_scores import cohort_of, cosine_scores
from auscult.privacy.utterances import Chosen
from auscult.recipe.attack import Case
from auscult.serving.embedder import SpeakerEmbedder
from auscult.tasks.recognition import Recognition
from auscult.tasks.speaker_start import weights_digest

Samples = NDArray[np.float32]
Door = Callable[[Samples, str], Samples]
MOST = 5
"""Utterances that a speaker is enrolled with, at most; the first by the hash of their ids."""
LONGEST = 15.0
"""Seconds of each, from its beginning."""
APART = 0.5
"""Seconds between the attacked stretch of a recording and the rest that enrols its speaker."""
SHORTEST = 1.0
"""Seconds that such a rest must have."""


class Stretch(NamedTuple):
    """A part of a file: its recording and two times in seconds."""

    recording: str
    begin: float
    end: float


@dataclass(frozen=True, eq=False)
class Piece:
    """What enrols a speaker.

    Attributes:
        speaker: who is heard.
        name: of the utterance.
        stretches: of the files that it is made of.
        samples: (time,).
        content: hash of the samples of the whole utterance that the piece is of.
        rest: whether it is what follows an attacked stretch.
    """

    speaker: str
    name: str
    stretches: tuple[Stretch, ...]
    samples: Samples
    content: str
    rest: bool = False


class Placed(NamedTuple):
    """Where the true speaker stands: 1 is the nearest, among how many; cosines to him and, by name, to all others."""

    rank: int
    candidates: int
    cosine: float
    others: dict[str, float]


class SpeakerJudge:
    """Ranks enrolled speakers by how much a sound resembles them.

    Args:
        embedder: of a verification run.
        pieces: of at least two speakers.
        sample_rate: of all samples here.
        door: what pieces go through before sounds are compared with them, given samples and a name; None leaves them as they are.

    Raises:
        UserError: a piece is too short for the model, or there is one speaker only.
    """

    def __init__(self, embedder: SpeakerEmbedder, pieces: Sequence[Piece], sample_rate: int, door: Door | None = None) -> None:
        self.embedder, self.sample_rate = embedder, sample_rate
        self.names = sorted({piece.speaker for piece in pieces})
        if len(self.names) < 2:
            raise UserError(
                f"speakers: {len(self.names)} speaker to choose from; attack utterances of several, or set speakers.distractors"
            )
        names, voices = [piece.name for piece in pieces], [piece.speaker for piece in pieces]
        self.recordings = cohort_of(self._vectors([piece.samples for piece in pieces], names), voices)
        self.sounds = self.recordings
        if door is not None:
            self.sounds = cohort_of(self._vectors([door(piece.samples, piece.name) for piece in pieces], names), voices)

    @property
    def weights(self) -> str:
        """Hash of the model's weights."""
        return weights_digest(self.embedder.encoder)

    def place(self, samples: Samples | None, speaker: str, name: str, recording: bool = False) -> Placed:
        """Return where a speaker stands for a sound (time,); last where there is no sound, or one without direction.

        Args:
            samples: of the sound.
            speaker: who spoke.
            name: for messages.
            recording: whether the sound went through no door.

        Raises:
            UserError: the sound is too short for the model, or the speaker is not enrolled.
        """
        vector = None if samples is None else self._vectors([samples], [name])[0]
        if vector is None or not np.isfinite(vector).all() or not np.any(vector):
            return Placed(len(self.names), len(self.names), -1.0, {one: 1.0 for one in self.names if one != speaker})
        centres = self.recordings if recording else self.sounds
        found = speaker_rank(vector, centres, self.names, speaker)
        numbers = np.arange(len(self.names))
        cosines = cosine_scores(np.concatenate([vector[None], centres]), np.zeros_like(numbers), numbers + 1).tolist()
        others = {one: round(cosine, 4) for one, cosine in zip(self.names, cosines, strict=True)}
        own = others.pop(speaker)
        return Placed(found.rank, found.candidates, own, others)

    def _vectors(self, sounds: Sequence[Samples], names: Sequence[str]) -> NDArray[np.float32]:
        rate = self.embedder.specification.sample_rate
        return self.embedder.embed_samples([resample(one, self.sample_rate, rate) for one in sounds], names)


def enrolment(task: Recognition, chosen: Chosen, case: Case) -> tuple[list[Piece], list[str]]:
    """Return what the speakers of a pool are enrolled with, and sentences about it.

    Args:
        task: of the victim.
        chosen: attacked utterances and their pool.
        case: with `speakers` and `utterances`.

    Raises:
        UserError: a speaker has nothing but attacked speech, a speaker is unknown, or enrolment and attacked speech overlap.
    """
    assert case.speakers is not None  # whoever calls this was asked for speakers
    cuts = {cut.id: cut for cut in task.cuts(case.utterances.split)}
    attacked = [cuts[batch.ids[0]] for batch in chosen.pool[: chosen.attacked]]
    taken = [stretch for cut in attacked for stretch in stretches(cut, case.utterances.seconds)]
    pieces, rests = list[Piece](), list[str]()
    for speaker in sorted(set(chosen.speakers)):
        if speaker == UNKNOWN_SPEAKER:
            raise UserError("speakers: an utterance of the pool names no speaker; leave the section out, or name all in the corpus")
        mine = {name: cut for name, cut in cuts.items() if speaker_of(cut) == speaker}
        found = _others(task, mine, taken)
        if not found:
            found = _rests(task, [cut for cut in attacked if cut.id in mine], case.utterances.seconds)
            rests.append(speaker)
        if not found:
            raise UserError(
                f'speakers: "{speaker}" has no speech but what is attacked; set utterances.seconds so that the rest can enrol, '
                "or attack fewer utterances"
            )
        pieces += found
    notes = [RESTS.format(count=len(rests), all=len(set(chosen.speakers)))] if rests else []
    if case.speakers.distractors is not None:
        pieces += _strangers(task, case.speakers.distractors, set(chosen.speakers), taken)
    refuse_overlap(pieces, taken, {_content(task.store.samples(cut)): cut.id for cut in attacked})
    return pieces, notes


RESTS = (
    "{count} of {all} speakers have one recording only, and are enrolled with what follows the attacked stretch of it: room, microphone "
    "and mood are the same, which makes them easier to find than by another recording"
)


def refuse_overlap(pieces: Iterable[Piece], attacked: Sequence[Stretch], contents: dict[str, str]) -> None:
    """Refuse an enrolment that holds attacked speech.

    Args:
        pieces: that enrol.
        attacked: stretches of files.
        contents: names of attacked utterances by the hash of their samples.

    Raises:
        UserError: names both utterances.
    """
    for piece in pieces:
        for mine in piece.stretches:
            for other in attacked:
                if _meet(mine, other):
                    raise UserError(
                        f"speakers: {piece.name} enrols {piece.speaker} and holds attacked speech ({other.recording}, "
                        f"{max(mine.begin, other.begin):.2f} to {min(mine.end, other.end):.2f} s); a recording found again is no voice"
                    )
        if not piece.rest and piece.content in contents:
            raise UserError(
                f"speakers: {piece.name} enrols {piece.speaker} and is the attacked {contents[piece.content]} under another name; "
                "exclude it"
            )


def stretches(cut: Cut, seconds: float | None = None) -> tuple[Stretch, ...]:
    """Return the parts of files that an utterance, or its beginning, is made of; of a string of words, all."""
    parts = parts_of(cut)
    if len(parts) == 1:
        [part] = parts
        length = part.duration if seconds is None else min(seconds, part.duration)
        return (Stretch(part.recording_id, part.start, part.start + length),)
    return tuple(Stretch(part.recording_id, part.start, part.end) for part in parts)


def _others(task: Recognition, cuts: dict[str, Any], taken: Sequence[Stretch]) -> list[Piece]:
    """Return pieces of utterances that share no file with attacked ones where there are such, and no stretch in any case."""
    free = [name for name, cut in cuts.items() if not any(_meet(mine, other) for mine in stretches(cut) for other in taken)]
    names = {other.recording for other in taken}
    apart = [name for name in free if not any(mine.recording in names for mine in stretches(cuts[name]))]
    return [_whole(task, cuts[name]) for name in nested_subset(sorted(apart or free), min(MOST, len(apart or free)))]


def _whole(task: Recognition, cut: Cut) -> Piece:
    samples = np.asarray(task.store.samples(cut), dtype=np.float32)
    most = round(LONGEST * task.specification.sample_rate)
    return Piece(speaker_of(cut), cut.id, stretches(cut), samples[:most], _content(samples))


def _rests(task: Recognition, cuts: Sequence[Cut], seconds: float | None) -> list[Piece]:
    """Return what follows the attacked stretches of utterances that are each one stretch of a file."""
    made, rate = list[Piece](), task.specification.sample_rate
    for cut in cuts[:MOST]:
        whole = stretches(cut)
        if seconds is None or len(whole) > 1 or cut.duration < seconds + APART + SHORTEST:
            continue
        samples, first = np.asarray(task.store.samples(cut), dtype=np.float32), round((seconds + APART) * rate)
        stretch = Stretch(whole[0].recording, whole[0].begin + seconds + APART, whole[0].end)
        kept = samples[first : first + round(LONGEST * rate)]
        made.append(Piece(speaker_of(cut), cut.id, (stretch,), kept, _content(samples), rest=True))
    return made


def _strangers(task: Recognition, split: Any, known: set[str], taken: Sequence[Stretch]) -> list[Piece]:
    """Return pieces of speakers of another split who are not in the pool."""
    by_speaker: dict[str, dict[str, Any]] = {}
    for cut in task.cuts(split):
        if speaker_of(cut) not in known and speaker_of(cut) != UNKNOWN_SPEAKER:
            by_speaker.setdefault(speaker_of(cut), {})[cut.id] = cut
    if not by_speaker:
        raise UserError(f"speakers.distractors: the split {split} has no speaker who is not attacked; choose another, or leave the key out")
    return [piece for speaker in sorted(by_speaker) for piece in _others(task, by_speaker[speaker], taken)]


def _meet(one: Stretch, other: Stretch) -> bool:
    return one.recording == other.recording and one.begin < other.end - 1e-6 and other.begin < one.end - 1e-6


def _content(samples: NDArray[Any]) -> str:
    return hashlib.blake2b(np.ascontiguousarray(samples, dtype=np.float32).data, digest_size=16).hexdigest()
