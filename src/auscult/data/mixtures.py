"""Mixtures of two or more speakers from recordings of one speaker each.

Problem: a corpus of mixtures on disk is large, fixed, and as good as the hand that drew it: two files of one speaker in a mixture are a
label nobody can learn. Choice: a mixture is a lhotse `MixedCut` that names who speaks, from where in which recording, and how loud; samples
are mixed when they are read. Speakers of a mixture always differ, everybody has a turn before anybody has another, and the level of
the stretch that is heard is what is set, so a pause at its edge does not change the ratio of the speakers.

The same cuts serve training, where `data/remixing.py` draws new partners and levels in every epoch, and judging, where they are fixed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lhotse import AudioSource, CutSet, Recording
from lhotse.cut import MixedCut, MixTrack, MonoCut

from auscult.audio.augmentation.folder import AudioFolder
from auscult.audio.reading import probe
from auscult.data.conversations import COMMON_LEVEL
from auscult.data.dealing import by_speaker, deal
from auscult.errors import UserError

if TYPE_CHECKING:
    from auscult.recipe.fields import Mixtures


def simulate_mixtures(cuts: Iterable[MonoCut], count: int, settings: Mixtures, random: np.random.Generator) -> CutSet:
    """Return mixtures of different speakers, all of one length.

    Args:
        cuts: recordings of one named speaker each, all of one sampling rate.
        count: number of mixtures.
        settings: the recipe section.
        random: the only source of chance: same generator state, same mixtures, whatever the order of the cuts.

    Returns:
        MixedCuts with a track per speaker, in order of the sources, then those of the noise. Tracks state their level in dB of full scale.

    Raises:
        UserError: too few speakers, a recording without one, mixed sampling rates, or a folder without audio.
    """
    speakers = by_speaker(cuts, "mixtures")
    if len(speakers) < settings.speakers:
        raise UserError(
            f"data.mixtures.speakers: {settings.speakers} different speakers are wanted in a mixture and the selected recordings have "
            f"{len(speakers)}; select more speakers"
        )
    noises = AudioFolder("mixtures.noise", settings.noise) if settings.noise is not None else None
    waiting: list[str] = []
    made = []
    for index in range(count):
        chosen = deal(waiting, list(speakers), settings.speakers, random)
        tracks = [
            _voice(speakers[name], settings.seconds, level, random) for name, level in zip(chosen, _levels(settings, random), strict=True)
        ]
        if noises is not None:
            tracks += _noise(noises, tracks[0].cut.sampling_rate, settings, random)
        made.append(_assemble(index, tracks))
    return CutSet.from_cuts(made)


def _levels(settings: Mixtures, random: np.random.Generator) -> list[float]:
    """Return a level per source; the first is `ratio` dB above each other one, their mean is the common level."""
    ratios = [0.0, *(-float(random.uniform(*settings.ratio)) for _ in range(settings.speakers - 1))]
    mean = sum(ratios) / len(ratios)
    return [round(COMMON_LEVEL + ratio - mean, 3) for ratio in ratios]


def _voice(own: list[MonoCut], seconds: float, level: float, random: np.random.Generator) -> MixTrack:
    """Return a stretch of one of a speaker's recordings, at random; a shorter recording lies somewhere in the mixture."""
    cut = own[int(random.integers(len(own)))]
    rate, place = cut.sampling_rate, float(random.random())
    spare = round((cut.duration - seconds) * rate)
    if spare >= 0:
        start = round(place * spare) / rate
        part, offset = cut.truncate(offset=start, duration=seconds, preserve_id=True), 0.0
    else:
        start, part, offset = 0.0, cut.truncate(preserve_id=True), round(-place * spare) / rate
    part.id = f"{cut.id}@{start:.3f}"
    part.custom = {**(part.custom or {}), "level": level}
    return MixTrack(cut=part, offset=offset)


def _noise(noises: AudioFolder, rate: int, settings: Mixtures, random: np.random.Generator) -> list[MixTrack]:
    """Return a recording of noise from a place at random on, as often as it takes to last."""
    file = noises.draw(random)
    info, level = probe(file), round(COMMON_LEVEL - float(random.uniform(*settings.snr)), 3)
    if info.sample_rate != rate:
        raise UserError(f"data.mixtures.noise: {file} has {info.sample_rate} Hz and the speech {rate} Hz; bring the noise to that rate")
    source = AudioSource(type="file", channels=list(range(info.channels)), source=str(file))
    recording = Recording(Path(file).stem, [source], rate, info.samples, info.seconds, channel_ids=list(range(info.channels)))
    start, offset, tracks = round(float(random.random()) * max(info.seconds - settings.seconds, 0.0), 3), 0.0, []
    while offset < settings.seconds - 0.5 / rate:
        length = min(info.seconds - start, settings.seconds - offset)
        part = MonoCut(f"{recording.id}@{start:.3f}", start, length, 0, recording=recording, custom={"level": level})
        tracks.append(MixTrack(cut=part, offset=offset))
        offset, start = round((offset + length) * rate) / rate, 0.0
    return tracks


def _assemble(index: int, tracks: list[MixTrack]) -> MixedCut:
    content: list[Any] = [(track.cut.id, track.offset, track.cut.duration, track.cut.custom["level"]) for track in tracks]
    digest = hashlib.blake2b(repr(content).encode(), digest_size=6).hexdigest()
    return MixedCut(id=f"mixture-{index:05d}-{digest}", tracks=tracks)
