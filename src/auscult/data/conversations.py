"""Simulated conversations: turns of real speakers on one time line, with the habits of real meetings.

Problem: labelled meetings are scarce, and recordings of one speaker each are not; pseudo-labels on the latter ("this speaker is class 1")
teach nothing, because a new speaker's class is a coin toss. Choice: turns are cut from single-speaker recordings where the voice begins
and ends, and laid out with the turn lengths, pauses and overlaps of AMI; who speaks when is then known exactly, and is the same
question for speakers never heard before. A conversation is an ordinary lhotse `MixedCut` with one track per turn, whose supervisions
are the one list from which audio, frame labels, RTTM and statistics follow; gains, rooms and noises are drawn here and recorded as
plain values, so that `data/mixing.py` can mix any window of a conversation by arithmetic alone.

Overlap is steered: the next turn starts early while a conversation has less of it than its own share (drawn around the mean), because
what a drawn turn gives depends on the speech at hand. Rejected: independent silences per speaker (as EEND simulates; nobody waits
for anybody, so overlap falls where it never falls in talk), and whole utterances as turns (labels cover their pauses).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lhotse import CutSet
from lhotse.cut import MixedCut, MixTrack, MonoCut, PaddingCut

from auscult.audio.augmentation.folder import AudioFolder
from auscult.audio.reading import probe, read_audio
from auscult.data.dealing import by_speaker, deal
from auscult.data.pieces import Piece, PieceDeck
from auscult.errors import UserError
from auscult.metrics.segments import Turn, overlap_seconds, union_seconds

if TYPE_CHECKING:
    from auscult.recipe.fields import Conversations

COMMON_LEVEL = -26.0
"""Level of speech in dB of full scale that gains and signal-to-noise ratios are stated against."""
SHORTEST_TURN, LONGEST_TURN = 0.15, 20.0
"""Seconds between which drawn turn lengths are kept."""
SHORTEST_PAUSE = 0.4
"""Seconds of silence that end a turn: what the alignments of AMI bridge is shorter."""
BACKCHANNELS = 0.6
"""Share of the overlapping turns that lie inside the other's turn, where they are short enough."""
LEAST_OWED = 0.3
"""Seconds of overlap that must be owed before a turn starts early: one that is drawn pays back more than is owed."""

PAUSE_SPREAD = 1.0
"""Standard deviation of the logarithm of a conversation's mean pause: some are lively, in some nobody says much."""


def simulate_conversations(cuts: Iterable[MonoCut], count: int, settings: Conversations, random: np.random.Generator) -> CutSet:
    """Return simulated conversations between the speakers of some recordings.

    Args:
        cuts: recordings of one speaker each, all of one sampling rate; only those that are used are read.
        count: number of conversations.
        settings: the recipe section.
        random: the only source of chance: same generator state, same conversations, whatever the order of the cuts.

    Returns:
        MixedCuts of exactly `settings.seconds`: a padding track that fixes the length and names the noise, then a track per turn.

    Raises:
        UserError: too few speakers, a recording without one or without speech, mixed sampling rates, or a folder without audio.
    """
    decks = {name: PieceDeck(own, random, SHORTEST_PAUSE) for name, own in by_speaker(cuts, "conversations").items()}
    if len(decks) < settings.speakers[1]:
        raise UserError(
            f"conversations.speakers: up to {settings.speakers[1]} are wanted and the selected recordings have {len(decks)}; "
            "select more speakers or ask for fewer"
        )
    rooms = AudioFolder("conversations.rooms", settings.rooms) if settings.rooms is not None else None
    noises = AudioFolder("conversations.noise", settings.noise) if settings.noise is not None else None
    waiting: list[str] = []
    made = []
    for index in range(count):
        number = int(random.integers(settings.speakers[0], settings.speakers[1] + 1))
        chosen = deal(waiting, sorted(decks), number, random)
        scene = _Scene.draw(chosen, settings, rooms, noises, random)
        turns = _talk({name: decks[name] for name in chosen}, settings, random)
        made.append(_assemble(index, turns, scene, settings.seconds))
    return CutSet.from_cuts(made)


@dataclass(frozen=True)
class _Scene:
    """Where a conversation takes place: gain in dB and room file by speaker, and the noise.

    Attributes:
        noise: "noise" (file), "noise_start" (seconds) and "noise_gain" (dB); empty without noise.
    """

    gains: dict[str, float]
    rooms: dict[str, str | None]
    noise: dict[str, Any]

    @classmethod
    def draw(
        cls, speakers: Sequence[str], settings: Conversations, rooms: AudioFolder | None, noises: AudioFolder | None,
        random: np.random.Generator,
    ) -> _Scene:  # fmt: skip
        gains = {name: float(random.uniform(*settings.gain)) for name in speakers}
        wet = rooms is not None and random.random() < settings.room_probability
        chosen = {name: str(rooms.draw(random)) if rooms is not None and wet else None for name in speakers}
        noise: dict[str, Any] = {}
        if noises is not None and random.random() < settings.noise_probability:
            file = noises.draw(random)
            ratio, place = float(random.uniform(*settings.snr)), float(random.random())
            start, level = round(place * probe(file).samples / probe(file).sample_rate, 3), _level(file)
            noise = {"noise": str(file), "noise_start": start, "noise_gain": COMMON_LEVEL - ratio - level}
        return cls(gains, chosen, noise)


def _level(file: Path) -> float:
    """Return the level of a recording in dB of full scale."""
    samples, _ = read_audio(file)
    return float(10 * np.log10(np.square(samples, dtype=np.float64).mean() + 1e-12))


@dataclass(frozen=True)
class _Placed:
    """A turn: pieces of speech laid end to end from second `start` on."""

    start: float
    pieces: list[Piece]
    speaker: str

    @property
    def end(self) -> float:
        return self.start + sum(piece.seconds for piece in self.pieces)


def _talk(decks: dict[str, PieceDeck], settings: Conversations, random: np.random.Generator) -> list[_Placed]:
    """Lay out turns until the time is used up."""
    names = sorted(decks)
    shares = dict(zip(names, random.dirichlet(np.full(len(names), 3.0)), strict=True))  # some talk more than others
    target = min(float(random.gamma(2.0, settings.overlap / 2)), 0.6) if settings.overlap else 0.0
    pause = settings.pause * float(random.lognormal(-(PAUSE_SPREAD**2) / 2, PAUSE_SPREAD))
    rate = next(iter(decks.values())).sample_rate
    placed: list[_Placed] = []
    while True:
        length = float(np.clip(random.lognormal(np.log(settings.turn[0]), settings.turn[1]), SHORTEST_TURN, LONGEST_TURN))
        speaker, start = _next(placed, shares, length, target, pause, settings, random)
        start = start if placed else min(start, settings.seconds / 2)  # somebody speaks in every conversation
        start = round(start * rate) / rate
        length = min(length, settings.seconds - start)
        if length < SHORTEST_TURN:
            return placed
        placed.append(_Placed(start, decks[speaker].turn(length), speaker))


def _next(
    placed: Sequence[_Placed], shares: dict[str, float], length: float, target: float, pause: float, settings: Conversations,
    random: np.random.Generator,
) -> tuple[str, float]:  # fmt: skip
    """Return who speaks next, and when."""
    if not placed:
        return _pick(shares, None, random), float(random.exponential(pause))
    last = max(placed, key=lambda one: one.end)
    turns = [Turn(one.start, one.end, one.speaker) for one in placed]
    others = len(shares) > 1
    owed = target * union_seconds([(turn.start, turn.end) for turn in turns]) - overlap_seconds(turns)
    if owed > LEAST_OWED and others:
        speaker, room = _pick(shares, last.speaker, random), last.end - last.start
        inside = length < 0.8 * room and random.random() < BACKCHANNELS
        early = float(random.exponential(settings.overlap_seconds))
        start = last.start + float(random.uniform(0.1 * room, room - length)) if inside else last.end - min(early, 0.8 * min(length, room))
    elif not others or random.random() < settings.hold:
        speaker, start = last.speaker, last.end + SHORTEST_PAUSE + float(random.exponential(pause))
    else:
        speaker, start = _pick(shares, last.speaker, random), last.end + float(random.exponential(pause))
    own = max((one.end for one in placed if one.speaker == speaker), default=-SHORTEST_PAUSE)
    return speaker, max(start, own + SHORTEST_PAUSE)


def _pick(shares: dict[str, float], besides: str | None, random: np.random.Generator) -> str:
    names = [name for name in shares if name != besides] or list(shares)
    weights = np.array([shares[name] for name in names])
    return names[int(random.choice(len(names), p=weights / weights.sum()))]


def _assemble(index: int, placed: Sequence[_Placed], scene: _Scene, seconds: float) -> MixedCut:
    rate = placed[0].pieces[0].cut.sampling_rate
    noise = {key: Path(value).name if key == "noise" else value for key, value in scene.noise.items()}  # no folder enters the digest
    content = [f"{rate};{seconds:.6f};{sorted(noise.items())}"]
    tracks: list[tuple[float, Piece, str, dict[str, Any]]] = []
    for one in placed:
        start, room = one.start, scene.rooms[one.speaker]
        for piece in one.pieces:
            gain = COMMON_LEVEL + scene.gains[one.speaker] - piece.level
            content.append(
                f"{one.speaker};{start:.6f};{piece.cut.id}:{piece.start}-{piece.end};{gain:.3f};{Path(room).name if room else ''}"
            )
            tracks.append((start, piece, one.speaker, {"gain": gain, "room": room}))
            start += piece.seconds
    digest = hashlib.blake2b("|".join(content).encode(), digest_size=6).hexdigest()
    identity = f"conversation-{index:05d}-{digest}"
    padding = PaddingCut(
        id=f"{identity}-length", duration=seconds, sampling_rate=rate, feat_value=0.0, num_samples=round(seconds * rate),
        custom=scene.noise or None,
    )  # fmt: skip
    turns = [
        MixTrack(cut=piece.as_cut(f"{identity}-{place:03d}", speaker, custom), offset=start)
        for place, (start, piece, speaker, custom) in enumerate(tracks)
    ]
    return MixedCut(id=identity, tracks=[MixTrack(cut=padding), *turns])


def conversation_statistics(conversations: Iterable[Sequence[Turn]], seconds: float) -> dict[str, float]:
    """Return how people talk: what simulated conversations are compared with real meetings by.

    Args:
        conversations: the turns of each recording.
        seconds: length of all recordings together.

    Returns:
        speech (share of the time), overlap (share of the speech), turns_per_minute, median_turn (seconds), spread_turn (standard
        deviation of the natural logarithm), short_turns (share below 0.25 s) and speakers (mean number heard).

    >>> conversation_statistics([[Turn(0.0, 2.0, "a"), Turn(1.0, 3.0, "b")]], 6.0)["overlap"]
    0.3333333333333333
    """
    every = [list(turns) for turns in conversations if turns]
    lengths = np.array([turn.duration for turns in every for turn in turns])
    if not len(lengths):
        raise UserError("conversation statistics: nobody speaks in any of the recordings")
    speech = sum(union_seconds([(turn.start, turn.end) for turn in turns]) for turns in every)
    return {
        "speech": speech / seconds,
        "overlap": sum(overlap_seconds(turns) for turns in every) / speech,
        "turns_per_minute": 60 * len(lengths) / seconds,
        "median_turn": float(np.median(lengths)),
        "spread_turn": float(np.log(lengths).std()),
        "short_turns": float((lengths < 0.25).mean()),
        "speakers": float(np.mean([len({turn.speaker for turn in turns}) for turns in every])),
    }
