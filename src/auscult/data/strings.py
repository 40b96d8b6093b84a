"""Digit strings and the like: utterances joined from recordings of single words.

Problem: a corpus of isolated words teaches a CTC model nothing about word boundaries. Choice: each string joins recordings of *one*
speaker with short silences, as an ordinary lhotse `MixedCut`, so manifests, durations and generic loading work unchanged. Tracks are
built directly because lhotse's `append` copies every track so far at each step. Recordings are dealt like cards (a speaker's deck is
reshuffled only when it is used up), so use is balanced; drawing with replacement leaves a third of the recordings unheard.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from lhotse import CutSet
from lhotse.cut import Cut, MixedCut, MixTrack, MonoCut

from auscult.errors import UserError

UNKNOWN_SPEAKER = "unknown"


def text_of(cut: Cut) -> str:
    """Return the text of an utterance; the texts of a string in order of time, joined with spaces. Empty if there is none."""
    return " ".join(one.text for part in parts_of(cut) for one in part.supervisions if one.text)


def speaker_of(cut: Cut) -> str:
    """Return the speaker of an utterance; several are sorted and joined with "+", none is "unknown"."""
    return "+".join(speakers_of(cut)) or UNKNOWN_SPEAKER


def speakers_of(cut: Cut) -> list[str]:
    """Return the speakers of an utterance, sorted; empty where it names none."""
    return sorted({one.speaker for part in parts_of(cut) for one in part.supervisions if one.speaker})


def parts_of(cut: Cut) -> list[MonoCut]:
    """Return the recordings that a string is made of, in order of time; of a single recording itself."""
    if not isinstance(cut, MixedCut):
        return [cut]
    return [track.cut for track in sorted(cut.tracks, key=lambda track: track.offset) if isinstance(track.cut, MonoCut)]


def concatenate_words(cuts: CutSet, strings: int, words: tuple[int, int], gap: tuple[float, float], random: np.random.Generator) -> CutSet:
    """Join recordings of one speaker each into strings of words.

    Args:
        cuts: recordings of single words; all MonoCuts of one sampling rate, each with a speaker.
        strings: number of strings to make.
        words: fewest and most words in a string.
        gap: shortest and longest silence between two words, seconds (drawn in whole milliseconds).
        random: the only source of chance: same generator state, same strings.

    Returns:
        MixedCuts with unique ids that name speaker, position and content. Recordings are used equally often (within one, per speaker).

    Raises:
        UserError: no cuts, no speaker, mixed sampling rates, or limits that make no sense.
    """
    _check(strings, words, gap)
    decks = {speaker: _Deck(recordings, random) for speaker, recordings in _recordings_by_speaker(cuts).items()}
    made = []
    for index in range(strings):
        speaker = min(decks, key=lambda name: (decks[name].share_used, name))
        chosen = decks[speaker].deal(int(random.integers(words[0], words[1] + 1)))
        low, high = round(gap[0] * 1000), round(gap[1] * 1000)
        gaps = random.integers(low, high + 1, size=len(chosen) - 1) / 1000
        made.append(_join(index, speaker, chosen, gaps.tolist()))
    return CutSet.from_cuts(made)


def _check(strings: int, words: tuple[int, int], gap: tuple[float, float]) -> None:
    if strings < 1:
        raise UserError(f"strings: expected at least 1, got {strings}")
    if not 1 <= words[0] <= words[1]:
        raise UserError(f"words: expected (fewest, most) with 1 <= fewest <= most, got {tuple(words)}")
    if not 0 <= gap[0] <= gap[1]:
        raise UserError(f"gap: expected (shortest, longest) seconds with 0 <= shortest <= longest, got {tuple(gap)}")


def _recordings_by_speaker(cuts: CutSet) -> dict[str, list[MonoCut]]:
    speakers: dict[str, list[MonoCut]] = {}
    rates: dict[int, str] = {}
    for cut in sorted(cuts, key=lambda one: one.id):  # independent of the order of the manifest
        if not isinstance(cut, MonoCut):
            raise UserError(f"{cut.id}: strings are joined from plain recordings, this is a {type(cut).__name__}")
        speaker = speaker_of(cut)
        if speaker == UNKNOWN_SPEAKER:
            raise UserError(f"{cut.id}: strings join words of one speaker, but this recording names none; add speakers to the corpus")
        rates.setdefault(cut.sampling_rate, cut.id)
        speakers.setdefault(speaker, []).append(cut)
    if not speakers:
        raise UserError("no recordings to join into strings; the selection is empty")
    if len(rates) > 1:
        found = ", ".join(f"{rate} Hz ({example})" for rate, example in sorted(rates.items()))
        raise UserError(f"strings join recordings of one sampling rate, found {found}; bring the corpus to one rate")
    return dict(sorted(speakers.items()))


class _Deck:
    """Deals a speaker's recordings: every one once before any comes again."""

    def __init__(self, recordings: Sequence[MonoCut], random: np.random.Generator) -> None:
        self.recordings, self.random = recordings, random
        self.left: list[int] = []
        self.dealt = 0

    @property
    def share_used(self) -> float:
        return self.dealt / len(self.recordings)

    def deal(self, number: int) -> list[MonoCut]:
        hand: list[int] = []
        for _ in range(number):
            if not self.left:
                fresh = self.random.permutation(len(self.recordings)).tolist()
                held = set(hand)
                self.left = [one for one in fresh if one in held] + [one for one in fresh if one not in held]  # taken from the end
            hand.append(self.left.pop())
        self.dealt += number
        return [self.recordings[index] for index in hand]


def _join(index: int, speaker: str, recordings: Sequence[MonoCut], gaps: Sequence[float]) -> MixedCut:
    rate = recordings[0].sampling_rate
    tracks, position = [], 0
    for recording, silence in zip(recordings, [*gaps, 0.0], strict=True):
        tracks.append(MixTrack(cut=recording, offset=position / rate))
        position += recording.num_samples + round(silence * rate)
    content = ",".join(recording.id for recording in recordings) + ";" + ",".join(f"{silence:.3f}" for silence in gaps)
    digest = hashlib.blake2b(content.encode(), digest_size=4).hexdigest()
    return MixedCut(id=f"{speaker}-{index:05d}-{digest}", tracks=tracks)
