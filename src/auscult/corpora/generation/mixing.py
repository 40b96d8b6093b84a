"""One mixture: crops, levels, a room, and the sum.

The recipe is that of PolSESS's public sources, step by step: crops of a fixed length, mean of the channels, resampled; the second
speaker's level from the drawn ratio of norms, the first speaker's as recorded; the scene's from the drawn level above the speech; the
event's as recorded; in scenes with a room the reverberation of both speakers and the event, fully wet, beside the dry layers; all clipped;
and the whole mixture drawn again where its sum would clip. Two things are added: layers that would be silent in 16 bits (an event after
which the pre-delay is longer than what is left) are drawn again too, and the peak is also judged after rounding, because a sample just
below the limit can be rounded onto it.

A mixture is a function of seed, split and index: one random stream each, continued by redraws, so that neither the order nor the number
of processes matters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auscult.audio.plate_reverb import reverberate
from auscult.audio.resampling import resample
from auscult.corpora.generation.plan import Plan, SplitPlan, any_of
from auscult.corpora.generation.scene_classes import DrawnRoom
from auscult.corpora.generation.sources import Recording
from auscult.errors import UserError
from auscult.streams import Streams

Samples = NDArray[np.float64]

ATTEMPTS = 100
CLIP = 0.999
PEAK = 0.9999
STEPS = 32_768
"""Steps of 16-bit samples per unit."""
JOIN = "|"
"""Between the names of recordings that were joined."""

SOURCES = ("speaker1", "speaker2", "scene", "event")
REVERBERATED = {"speaker1": "reverb1", "speaker2": "reverb2", "event": "event_reverb"}


@dataclass(frozen=True)
class Crop:
    """A stretch of a recording, or of several of one speaker that follow one another.

    Attributes:
        label: of the recordings.
        group: speaker or class.
        start: first sample, in the recordings' own rate.
        end: after the last.
        samples: (time,) at the rate of the corpus.
    """

    label: str
    group: str
    start: int
    end: int
    samples: Samples


@dataclass(frozen=True)
class Mixture:
    """A mixture before it is written.

    Attributes:
        layers: by name: "speaker1", "speaker2", "scene", "event" and, indoors, "reverb1", "reverb2", "event_reverb"; (time,) float64.
        crops: what the four sources were cut from.
        ratio: drawn level of the first speaker above the second, in dB.
        scene_level: drawn level of the scene above the speech, in dB.
        scene_offset: what brings the scene to the level of the speech, in dB.
        room: None outdoors.
        redraws: how often the mixture was drawn again, by reason: "peak" or "silence".
    """

    layers: dict[str, Samples]
    crops: dict[str, Crop]
    ratio: int
    scene_level: float
    scene_offset: float
    room: DrawnRoom | None
    redraws: dict[str, int]

    @property
    def same_speaker(self) -> bool:
        """Whether both sources are of one speaker."""
        return self.crops["speaker1"].group == self.crops["speaker2"].group

    @property
    def total(self) -> Samples:
        """The sum of the layers, (time,)."""
        return np.asarray(np.sum(list(self.layers.values()), axis=0))

    @property
    def scene_gain(self) -> float:
        """Factor of the scene."""
        return float(10 ** ((self.scene_level + self.scene_offset) / 20))


def quantised(samples: Samples) -> NDArray[np.int16]:
    """Return samples as 16-bit integers, rounded to the nearest.

    >>> quantised(np.array([0.5, -1.0, 2.0])).tolist()
    [16384, -32768, 32767]
    """
    return np.clip(np.rint(samples * STEPS), -STEPS, STEPS - 1).astype("<i2")


def draw_mixture(plan: Plan, split: str, index: int) -> Mixture:
    """Return the mixture of a split and index.

    Raises:
        UserError: it clips or has a silent layer however often it is drawn.
        AudioError: a recording cannot be read.
    """
    random = Streams(plan.settings.seed).generator("polsess", split, index)
    redraws = {"peak": 0, "silence": 0}
    for _ in range(ATTEMPTS):
        mixture = _draw(plan, plan.splits[split], index, random, redraws)
        problem = _problem(mixture)
        if problem is None:
            return mixture
        redraws[problem] += 1
    often = " and ".join(f"{count} times because of {reason}" for reason, count in redraws.items() if count)
    raise UserError(f"mixture {index} of {split} was drawn again {often}; lower the level of the recordings, or leave the loudest out")


def _problem(mixture: Mixture) -> str | None:
    if any(not quantised(layer).any() for layer in mixture.layers.values()):
        return "silence"
    total = mixture.total
    peak = max(float(np.abs(total).max()), float(np.abs(quantised(total).astype(float)).max()) / STEPS)
    return "peak" if peak >= PEAK else None


def _draw(plan: Plan, split: SplitPlan, index: int, random: np.random.Generator, redraws: dict[str, int]) -> Mixture:
    settings = plan.settings
    pair = split.speech.pair(random)
    crops = {
        name: crop(plan, "speech", [one, *split.speech.speakers[one.group]], random)
        for name, one in zip(("speaker1", "speaker2"), pair, strict=True)
    }
    scene = split.scene(plan.wants_indoor(index), random)
    crops["scene"] = crop(plan, "scene", [scene], random)
    for _ in range(ATTEMPTS):
        crops["event"] = crop(plan, "event", [any_of(split.events[scene.group], random)], random)
        if quantised(crops["event"].samples).any():
            break
    ratio = int(random.integers(settings.ssr[0], settings.ssr[1] + 1))
    level = float(random.uniform(*settings.scene_level))
    room = plan.rooms[scene.group]
    drawn = None if room is None else room.draw(random)
    layers, offset = mix({name: one.samples for name, one in crops.items()}, ratio, level, drawn, settings.rate)
    return Mixture(layers, crops, ratio, level, offset, drawn, dict(redraws))


def mix(sources: dict[str, Samples], ratio: float, level: float, room: DrawnRoom | None, rate: int) -> tuple[dict[str, Samples], float]:
    """Return the layers of a mixture, and what brings the scene to the level of the speech in dB.

    Args:
        sources: "speaker1", "speaker2", "scene" and "event", (time,) each.
        ratio: norm of the first speaker over that of the second, in dB; silent sources keep their silence.
        level: root mean square of the scene over that of the speech, in dB.
        room: None leaves reverberation out.
        rate: in hertz.
    """
    first, second = sources["speaker1"], sources["speaker2"]
    second = second * (_norm(first) / 10 ** (ratio / 20) / max(_norm(second), 1e-12))
    offset = 20 * math.log10(max(_norm(first + second), 1e-12) / max(_norm(sources["scene"]), 1e-12))
    scene = sources["scene"] * 10 ** ((level + offset) / 20)
    layers = {"speaker1": first, "speaker2": second, "scene": scene, "event": sources["event"]}
    if room is not None:
        wet = reverberate(np.stack([layers[name] for name in REVERBERATED]), room.plate, rate, room.pre_delays)
        layers |= dict(zip(REVERBERATED.values(), wet, strict=True))
    return {name: np.clip(layer, -CLIP, CLIP) for name, layer in layers.items()}, offset


def _norm(samples: Samples) -> float:
    return float(np.sqrt(np.sum(samples**2)))


def crop(plan: Plan, kind: str, recordings: list[Recording], random: np.random.Generator) -> Crop:
    """Cut the length of a mixture out of the first recording, or out of it and as many others as are needed.

    Args:
        plan: says how long and at which rate.
        kind: "speech", "scene" or "event".
        recordings: the drawn one, then all of its speaker.
        random: of the mixture.
    """
    settings, first = plan.settings, recordings[0]
    needed = math.ceil(settings.samples * first.sample_rate / settings.rate)
    if first.samples >= needed:
        start = int(random.integers(first.samples - needed + 1))
        found = first.read(kind, start, needed)
        return Crop(first.label, first.group, start, start + needed, _fitted(found, first.sample_rate, plan))
    parts: list[NDArray[np.float32]] = []
    labels: list[str] = []
    length = 0
    others = [one for one in recordings[1:] if one.sample_rate == first.sample_rate]
    while length < needed:
        one = any_of(others, random) if parts else first
        parts.append(one.read(kind, 0, min(one.samples, needed - length)))
        labels.append(one.label)
        length += len(parts[-1])
    return Crop(JOIN.join(labels), first.group, 0, needed, _fitted(np.concatenate(parts), first.sample_rate, plan))


def _fitted(samples: NDArray[np.float32], rate: int, plan: Plan) -> Samples:
    """Return samples at the rate of the corpus, exactly as long as a mixture."""
    count = plan.settings.samples
    found = resample(samples, rate, plan.settings.rate)[:count].astype(np.float64)
    return np.pad(found, (0, count - len(found)))
