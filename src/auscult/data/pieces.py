"""Pieces of speech of a wanted length, cut from the recordings of one speaker.

Problem: a turn of 0.4 s has to come from an utterance of 14 s, and a cut in the middle of a vowel clicks and ends as no turn does. Choice:
speech is found once per recording (`data/voice_activity.py`), pieces start where a stretch of speech starts or at a quiet
place inside it, and end at the quietest place near the wanted length. A longer turn is several stretches in a row, each followed by the
first part of its own pause: readers pause for a second, talkers do not, and alignments bridge what is shorter than 0.4 s.
Recordings are dealt like cards, so that all are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from lhotse import SupervisionSegment
from lhotse.cut import MonoCut
from numpy.typing import NDArray

from auscult.data.store import AudioStore
from auscult.data.voice_activity import FRAME_SECONDS, frame_levels, voice_activity
from auscult.errors import UserError

LONGEST_BRIDGE = 0.25
"""Seconds of a pause that are kept between two stretches of one turn."""
SEARCH = 0.15
"""Share of the wanted length within which the quietest place is looked for."""


@dataclass(frozen=True)
class Piece:
    """A piece of a recording that counts as speech from end to end.

    Attributes:
        cut: the recording.
        start: first sample, from the start of the cut, at the cut's rate.
        end: sample after the last.
        level: of the speech of the whole recording, dB of full scale.
    """

    cut: MonoCut
    start: int
    end: int
    level: float

    @property
    def seconds(self) -> float:
        """Length."""
        return float((self.end - self.start) / self.cut.sampling_rate)

    def as_cut(self, identity: str, speaker: str, custom: dict[str, Any]) -> MonoCut:
        """Return the piece as a cut with one supervision."""
        supervision = SupervisionSegment(
            id=identity, recording_id=self.cut.recording_id, start=0.0, duration=self.seconds, channel=self.cut.channel, speaker=speaker
        )
        return MonoCut(
            id=identity, start=self.cut.start + self.start / self.cut.sampling_rate, duration=self.seconds, channel=self.cut.channel,
            supervisions=[supervision], recording=self.cut.recording, custom=custom,
        )  # fmt: skip


@dataclass(frozen=True)
class _Voice:
    """What is known of a recording: its stretches of speech, the levels of its frames, the level of its speech."""

    stretches: list[tuple[int, int]]
    levels: NDArray[np.float64]
    level: float


class PieceDeck:
    """Deals pieces of one speaker's recordings.

    Args:
        cuts: of one speaker, of one sampling rate; read when they are first dealt.
        random: source of chance.
        pause: seconds of silence that end a stretch of speech.

    Raises:
        UserError: when dealt, if no recording of the speaker holds speech.
    """

    def __init__(self, cuts: Sequence[MonoCut], random: np.random.Generator, pause: float) -> None:
        self.cuts, self.random, self.pause = list(cuts), random, pause
        self.sample_rate = self.cuts[0].sampling_rate
        self._store = AudioStore(self.sample_rate, 0)
        self._voices: dict[int, _Voice] = {}
        self._left: list[int] = []

    def turn(self, seconds: float) -> list[Piece]:
        """Return the pieces, to be laid end to end, of a turn of about the wanted length, never longer; shorter where there is no more."""
        place, voice = self._deal()
        wanted = round(seconds * self.sample_rate)
        first = self._first(voice, wanted)
        start, end = voice.stretches[first]
        if end - start > wanted:
            start += self._offset(voice, start, end - start - wanted)
        parts: list[tuple[int, int]] = []
        for after, until in voice.stretches[first + 1 :]:
            bridge = min(after - end, round(LONGEST_BRIDGE * self.sample_rate))
            if end + bridge - start > 0.9 * wanted:
                break
            parts.append((start, end + bridge))
            wanted -= end + bridge - start
            start, end = after, until
        if end - start > wanted:
            end = self._quietest(voice, start + round((1 - SEARCH) * wanted), start + wanted)
        return [Piece(self.cuts[place], one, other, voice.level) for one, other in [*parts, (start, end)]]

    def _first(self, voice: _Voice, wanted: int) -> int:
        """Return a stretch after which enough speech is left, or the first."""
        lengths = np.array([end - start for start, end in voice.stretches])
        left = np.cumsum(lengths[::-1])[::-1]
        return int(self.random.integers(max(1, int((left >= wanted).sum()))))

    def _offset(self, voice: _Voice, start: int, spare: int) -> int:
        """Return how far into a stretch a piece starts: at its very start half the time, else at a quiet place."""
        if self.random.random() < 0.5:
            return 0
        around = start + int(self.random.integers(spare + 1))
        return self._quietest(voice, max(start, around - round(0.2 * self.sample_rate)), around) - start

    def _quietest(self, voice: _Voice, low: int, high: int) -> int:
        """Return the sample in [low, high] where the quietest frame begins, `high` if no frame does."""
        frame = round(FRAME_SECONDS * self.sample_rate)
        first, last = -(-low // frame), min(high // frame, len(voice.levels) - 1)
        return high if last < first else (first + int(voice.levels[first : last + 1].argmin())) * frame

    def _deal(self) -> tuple[int, _Voice]:
        for _ in range(2 * len(self.cuts) + 1):
            if not self._left:
                self._left = self.random.permutation(len(self.cuts)).tolist()
            place = self._left.pop()
            voice = self._voice(place)
            if voice.stretches:
                return place, voice
        raise UserError(
            f"{self.cuts[0].id}: no speech is found in any of this speaker's {len(self.cuts)} recordings; leave the speaker out"
        )

    def _voice(self, place: int) -> _Voice:
        if place not in self._voices:
            samples = self._store.samples(self.cuts[place])
            stretches = voice_activity(samples, self.sample_rate, shortest_pause=self.pause)
            power = sum(float(np.square(samples[start:end], dtype=np.float64).sum()) for start, end in stretches)
            level = 10 * np.log10(power / max(1, sum(end - start for start, end in stretches)) + 1e-12)
            levels = frame_levels(samples, round(FRAME_SECONDS * self.sample_rate))
            self._voices[place] = _Voice(stretches, levels, float(level))
        return self._voices[place]
