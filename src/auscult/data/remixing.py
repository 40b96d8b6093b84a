"""New mixtures from the layers of old ones: other partners, other scenes, other levels in every epoch.

Problem: a separator learns a fixed set of mixtures by heart long before it has learned speech; mixing anew is worth two decibels and
more in published results. Their implementations seed workers from the operating system, rescale after adding what was not rescaled, or
return a mixture that is not the sum of its parts. Choice: every draw comes from the generator of the item (seed, epoch, id), so neither
the number of workers nor a resume changes a sample; gains are applied to layers, and the mixture is their sum, last of all.

A small corpus has few voices, and they are learned by heart too: each source may be played at a speed of its own, which makes another
voice of it. Playing the finished mixture at another speed, as an augmentation does, leaves pairs of voices as far apart as they were.

Reverberation is linear: a stored tail is scaled with its dry source. Layers are only exchanged between mixtures of one kind (indoors or
not, the same layers), because a dry voice in a reverberant scene exists nowhere. The scene and the event come from one mixture, so a class
of events never meets a scene it does not belong to. Samples are floating point, so nothing clips and nothing is rescaled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soxr
from lhotse.cut import Cut
from numpy.typing import NDArray

from auscult.data.layers import (
    EVENT,
    EVENT_REVERB,
    REVERB,
    SCENE,
    SILENCE,
    SOURCE,
    Aim,
    Example,
    layer_names,
    left_out,
    read_layers,
    root_mean_square,
    source_speakers,
    targets,
)
from auscult.data.store import AudioStore
from auscult.errors import UserError

TRIES = 100
"""Partners that are drawn before it is said that there are none."""


@dataclass(frozen=True)
class Levels:
    """Between which levels are drawn.

    Attributes:
        ratio: of the first source to each other one, in dB.
        scene: of the scene to all speech, in dB.
    """

    ratio: tuple[float, float] = (-5.0, 5.0)
    scene: tuple[float, float] = (-14.0, 0.0)


class Remixer:
    """Draws mixtures from the layers of a training split.

    Args:
        cuts: mixtures to draw from.
        store: reads them.
        levels: see `Levels`.
        speed: least and greatest speed of a source, drawn for each; 1.1 is 10 % faster and higher. Its tail goes with it.

    Raises:
        UserError: every mixture of a kind has the same speaker.
    """

    def __init__(self, cuts: Sequence[Cut], store: AudioStore, levels: Levels, speed: tuple[float, float] = (1.0, 1.0)) -> None:
        self.store, self.levels, self.speed = store, levels, speed
        self._kinds: dict[tuple[str, ...], list[Cut]] = {}
        for cut in cuts:
            self._kinds.setdefault(layer_names(cut), []).append(cut)
        for kind in self._kinds.values():
            voices = {speaker for cut in kind for speaker in source_speakers(cut)}
            if len(voices) < len(source_speakers(kind[0])):
                raise UserError(
                    f"{kind[0].id}: remixing needs different named speakers, and the {len(kind)} mixtures with its layers have only "
                    f"{', '.join(sorted(voices))}; name the speakers, or set task.remix to 0"
                )

    def draw(self, cut: Cut, variant: str, aim: Aim, count: int, random: np.random.Generator) -> Example:
        """Return a new mixture around one source of `cut`.

        Args:
            cut: supplies a source and says which layers a mixture has; an epoch over all cuts uses all of them.
            variant: layers that are kept.
            aim: what is to be put out.
            count: samples, at the store's rate; shorter recordings end in silence.
            random: the item's.

        Raises:
            AudioError: a file cannot be read.
        """
        names = layer_names(cut)
        kept = [name for name in names if name not in left_out(names, variant, aim, cut.id)]
        chosen = self._speakers(cut, random)
        parts: dict[str, NDArray[np.float32]] = {}
        for number, (other, source) in enumerate(chosen, 1):
            wanted = {f"{SOURCE}{source}": f"{SOURCE}{number}", f"{REVERB}{source}": f"{REVERB}{number}"}
            found = self._stretch(other, [name for name in wanted if name in names], count, random, self.speed)
            gain = (
                1.0 if number == 1 else _gain(parts[f"{SOURCE}1"], found[f"{SOURCE}{source}"], -float(random.uniform(*self.levels.ratio)))
            )
            parts |= {wanted[name]: samples * np.float32(gain) for name, samples in found.items()}
        parts |= self._surroundings(cut, names, parts, count, random)
        dry = np.stack([parts[f"{SOURCE}{number}"] for number in range(1, len(chosen) + 1)])
        mixture = np.stack([parts[name] for name in kept]).sum(axis=0, dtype=np.float32)
        return Example(mixture, targets(dry, aim))

    def _speakers(self, cut: Cut, random: np.random.Generator) -> list[tuple[Cut, int]]:
        """Return mixtures and the number of the source that is taken of each; one of `cut` first, all of different speakers."""
        kind = self._kinds[layer_names(cut)]
        own = source_speakers(cut)
        first = int(random.integers(len(own)))
        chosen, heard = [(cut, first + 1)], {own[first]}
        while len(chosen) < len(own):
            for _ in range(TRIES):
                other = kind[int(random.integers(len(kind)))]
                place = int(random.integers(len(own)))
                speaker = source_speakers(other)[place]
                if speaker not in heard:
                    chosen.append((other, place + 1))
                    heard.add(speaker)
                    break
            else:
                raise UserError(
                    f"{cut.id}: no partner of another speaker than {', '.join(sorted(heard))} in {TRIES} draws of {len(kind)} mixtures; "
                    "the corpus is nearly all of one speaker, set task.remix to 0"
                )
        return chosen

    def _surroundings(
        self, cut: Cut, names: Sequence[str], parts: dict[str, NDArray[np.float32]], count: int, random: np.random.Generator
    ) -> dict[str, NDArray[np.float32]]:
        """Return scene and event of one mixture, the scene at a new level against the speech."""
        wanted = [name for name in (SCENE, EVENT, EVENT_REVERB) if name in names]
        if not wanted:
            return {}
        kind = self._kinds[layer_names(cut)]
        found = self._stretch(kind[int(random.integers(len(kind)))], wanted, count, random)
        if SCENE in found:
            speech = np.stack([samples for name, samples in parts.items() if name.startswith(SOURCE)]).sum(axis=0)
            found[SCENE] = found[SCENE] * np.float32(_gain(speech, found[SCENE], float(random.uniform(*self.levels.scene))))
        return found

    def _stretch(
        self, cut: Cut, names: Sequence[str], count: int, random: np.random.Generator, speed: tuple[float, float] = (1.0, 1.0)
    ) -> dict[str, NDArray[np.float32]]:
        """Return the same stretch of some layers, from a place at random on, all played at one speed."""
        factor = float(random.uniform(*speed)) if speed != (1.0, 1.0) else 1.0  # nothing is drawn for what is off
        needed, total = math.ceil(count * factor), round(cut.duration * self.store.sample_rate)
        start, length = int(random.integers(max(total - needed, 0) + 1)), min(needed, total)
        layers = read_layers(cut, names, self.store, start, length)
        if factor != 1.0:
            layers = {name: _played(samples, factor)[:count] for name, samples in layers.items()}
        return {name: np.pad(samples, (0, count - len(samples))) if len(samples) < count else samples for name, samples in layers.items()}


def _played(samples: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """Return samples played `factor` times as fast, (time,) -> about (time / factor,)."""
    return np.asarray(soxr.resample(samples, factor, 1.0, quality="MQ"), np.float32)


def _gain(reference: NDArray[np.float32], samples: NDArray[np.float32], level: float) -> float:
    """Return the factor that brings some samples to `level` dB above a reference; silence stays as it is."""
    found, wanted = root_mean_square(samples), root_mean_square(reference)
    return 10 ** (level / 20) * wanted / found if min(found, wanted) > SILENCE else 1.0
