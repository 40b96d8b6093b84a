"""Scenes and events made of noise, hum and tones, so that a corpus can be generated where nothing can be downloaded.

Problem: the collections that PolSESS takes its scenes and events from are hundreds of gigabytes, and a pipeline nobody can run at once is
one nobody tries. Choice: a library of numbered recordings per class that exist only as numbers: each is computed when it is drawn, from a
stream of its class, split and number, so that recording 7 of an office is the same for every seed and no split shares one with another.
The classes differ in what a separator can hear: slope of the spectrum, hum, swell, babble and clicks. They sound like machines, not like
places: results on them are about the pipeline.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auscult.streams import Streams

Samples = NDArray[np.float64]

LENGTHS = 2
"""Lengths of a mixture that a recording lasts."""
SCENE_LEVEL = 0.05
"""Root mean square of a scene."""


@dataclass(frozen=True)
class SceneSound:
    """What a class of scenes is mixed from.

    Attributes:
        slope: of the noise, in dB per octave.
        hum: (fundamental in hertz, level) of a motor or the mains, level 0 for none.
        babble: level of noise that is modulated as many voices are.
        clicks: per second.
        swell: (hertz, depth) of the slow changes of loudness.
    """

    slope: float
    hum: tuple[float, float] = (50.0, 0.0)
    babble: float = 0.0
    clicks: float = 0.0
    swell: tuple[float, float] = (0.1, 0.2)


SCENES: dict[str, SceneSound] = {
    "airport": SceneSound(-4, (100, 0.2), 0.7, 0.5),
    "shopping_mall": SceneSound(-4, (50, 0.1), 0.9, 1.0),
    "bus": SceneSound(-7, (42, 1.2), 0.3, 0.5, (0.2, 0.4)),
    "train": SceneSound(-6, (60, 0.5), 0.3, 3.0, (0.3, 0.4)),
    "tram": SceneSound(-6, (75, 0.7), 0.3, 2.0, (0.25, 0.4)),
    "car": SceneSound(-9, (35, 1.0), 0.0, 0.0, (0.15, 0.3)),
    "metro": SceneSound(-6, (90, 0.8), 0.3, 1.0, (0.3, 0.5)),
    "metro_station": SceneSound(-5, (50, 0.2), 0.6, 1.0, (0.1, 0.6)),
    "cafe_restaurant": SceneSound(-3, (100, 0.1), 1.2, 3.0),
    "grocery_store": SceneSound(-4, (120, 0.5), 0.5, 1.5),
    "home": SceneSound(-5, (100, 0.4), 0.1, 0.5),
    "office": SceneSound(-5, (100, 0.3), 0.3, 2.0),
    "library": SceneSound(-5, (100, 0.3), 0.1, 0.5),
    "wham_high": SceneSound(-4, (50, 0.1), 1.5, 2.0),
    "wham_medium": SceneSound(-4, (50, 0.1), 1.0, 1.0),
    "wham_low": SceneSound(-4, (50, 0.1), 0.5, 0.5),
    "beach": SceneSound(-3, swell=(0.12, 0.8)),
    "city_center": SceneSound(-5, (45, 0.4), 0.5, 1.0, (0.1, 0.5)),
    "forest_path": SceneSound(-2, clicks=0.5, swell=(0.08, 0.6)),
    "park": SceneSound(-3, babble=0.2, clicks=0.3, swell=(0.1, 0.5)),
    "residential_area": SceneSound(-4, (45, 0.2), 0.1, 0.2, (0.05, 0.5)),
    "public_square": SceneSound(-4, babble=0.8, clicks=1.0),
    "street_pedestrian": SceneSound(-4, babble=0.6, clicks=2.0),
    "street_traffic": SceneSound(-6, (40, 0.8), 0.1, 0.2, (0.15, 0.7)),
}


def scene(name: str, split: str, number: int, seconds: float, sample_rate: int) -> Samples:
    """Return a scene, (time,).

    Args:
        name: a key of `SCENES`.
        split: each has recordings of its own.
        number: which recording.
        seconds: its length.
        sample_rate: in hertz.
    """
    random = Streams(0).generator("built-in scene", name, split, number)
    sound, count = SCENES[name], round(seconds * sample_rate)
    time = np.arange(count) / sample_rate
    samples = coloured(random, count, sample_rate, sound.slope + float(random.uniform(-1, 1)), 30, sample_rate / 2)
    if sound.hum[1]:
        pitch = sound.hum[0] * float(random.uniform(0.9, 1.1))
        samples += sound.hum[1] * sum(np.sin(2 * np.pi * (pitch * part * time + random.random())) / part for part in range(1, 6))
    if sound.babble:
        samples += sound.babble * babble(random, count, sample_rate)
    for place in random.integers(0, count, random.poisson(sound.clicks * seconds)):
        strike(samples, int(place), knock(random, sample_rate, 300, 3000, 0.02) * 4)
    rate, depth = sound.swell
    samples *= 1 + depth * np.sin(2 * np.pi * (rate * float(random.uniform(0.5, 2)) * time + random.random()))
    return np.asarray(samples * (SCENE_LEVEL / np.sqrt(np.mean(samples**2))))


def coloured(random: np.random.Generator, count: int, sample_rate: int, slope: float, low: float, high: float) -> Samples:
    """Return noise with a slope in dB per octave between two frequencies, (time,), root mean square 1."""
    spectrum = np.fft.rfft(random.standard_normal(count))
    frequencies = np.fft.rfftfreq(count, 1 / sample_rate)
    shape = np.where((frequencies >= low) & (frequencies <= high), (np.maximum(frequencies, low) / 1000) ** (slope / (20 * np.log10(2))), 0)
    samples = np.fft.irfft(spectrum * shape, count)
    return np.asarray(samples / max(float(np.sqrt(np.mean(samples**2))), 1e-12))


def babble(random: np.random.Generator, count: int, sample_rate: int, voices: int = 3) -> Samples:
    """Return noise of several bands, each of which rises and falls at the rate of syllables, (time,)."""
    total = np.zeros(count)
    for _ in range(voices):
        low = float(random.uniform(150, 600))
        steps = random.random(max(2, round(count / sample_rate * float(random.uniform(4, 9))) + 1)) ** 2
        envelope = np.interp(np.arange(count), np.linspace(0, count, len(steps)), steps)
        total += envelope * coloured(random, count, sample_rate, -6, low, min(low * 6, 0.45 * sample_rate))
    return total / voices


def strike(samples: Samples, place: int, sound: Samples) -> None:
    """Add a short sound to samples at a place, in them."""
    part = sound[: max(0, len(samples) - place)]
    samples[place : place + len(part)] += part


def knock(random: np.random.Generator, sample_rate: int, low: float, high: float, decay: float) -> Samples:
    """Return a burst of noise between two frequencies that dies out in some seconds."""
    count = max(8, round(6 * decay * sample_rate))
    return coloured(random, count, sample_rate, -3, low, min(high, 0.45 * sample_rate)) * np.exp(-np.arange(count) / (decay * sample_rate))


def tone(sample_rate: int, frequencies: tuple[float, ...], seconds: float, decay: float = 10.0) -> Samples:
    """Return tones together; those that the rate cannot hold are left out."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    heard = [one for one in frequencies if one < 0.45 * sample_rate] or [0.2 * sample_rate]
    fade = np.minimum(1, np.minimum(time, time[-1] - time) * 100)
    return np.asarray(sum(np.sin(2 * np.pi * one * time) for one in heard) / len(heard) * np.exp(-time / decay) * fade)


def sweep(sample_rate: int, start: float, end: float, seconds: float) -> Samples:
    """Return a tone that moves from one frequency to another."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    low, high = (min(one, 0.45 * sample_rate) for one in (start, end))
    return np.asarray(np.sin(2 * np.pi * (low * time + (high - low) * time**2 / (2 * seconds))) * np.sin(np.pi * time / seconds))


Maker = Callable[[np.random.Generator, int], Samples]

EVENTS: dict[str, tuple[Maker, tuple[int, int], float]] = {
    "announcement_chime": (lambda _, rate: np.concatenate([tone(rate, (one,), 0.5, 0.3) for one in (659, 523, 784)]), (1, 1), 1.0),
    "beep": (lambda random, rate: tone(rate, (float(random.uniform(900, 2500)),), 0.12), (2, 8), 0.4),
    "bicycle_bell": (lambda random, rate: tone(rate, (2100, 2900 + float(random.uniform(-200, 200))), 0.5, 0.15), (2, 4), 0.3),
    "birdsong": (
        lambda random, rate: sweep(rate, float(random.uniform(1800, 2600)), float(random.uniform(2400, 3500)), 0.15),
        (5, 20),
        0.15,
    ),
    "car_horn": (lambda random, rate: tone(rate, (420, 510, 840), float(random.uniform(0.3, 1.2))), (1, 3), 0.5),
    "cough": (lambda random, rate: knock(random, rate, 200, 2500, 0.08), (1, 4), 0.3),
    "dog_bark": (lambda random, rate: knock(random, rate, 300, 1800, 0.06), (3, 9), 0.4),
    "door_knock": (lambda random, rate: knock(random, rate, 80, 900, 0.02), (3, 6), 0.25),
    "footsteps": (lambda random, rate: knock(random, rate, 100, 2000, 0.015), (8, 16), 0.5),
    "glass_clink": (lambda random, rate: tone(rate, (1900, 2700, float(random.uniform(3000, 3500))), 0.3, 0.06), (1, 6), 0.8),
    "keyboard": (lambda random, rate: knock(random, rate, 1000, 3500, 0.004), (20, 60), 0.12),
    "siren": (lambda random, rate: np.concatenate([sweep(rate, 500, 1300, 1.0), sweep(rate, 1300, 500, 1.0)] * 2), (1, 1), 1.0),
    "telephone": (lambda _, rate: tone(rate, (440, 480), 1.0), (1, 3), 2.0),
}
"""How one sound of a class is made, how many of them (fewest, most) follow one another, and the seconds between their beginnings."""


def event(name: str, split: str, number: int, seconds: float, sample_rate: int) -> Samples:
    """Return a recording of an event, (time,): silence but for a run of sounds; arguments as for `scene`, name a key of `EVENTS`."""
    random = Streams(0).generator("built-in event", name, split, number)
    count = round(seconds * sample_rate)
    make, (fewest, most), apart = EVENTS[name]
    samples, place = np.zeros(count), int(random.integers(0, max(1, count // 2)))
    for _ in range(int(random.integers(fewest, most + 1))):
        strike(samples, place, make(random, sample_rate))
        place = min(count, place + round(apart * float(random.uniform(0.7, 1.3)) * sample_rate))
    return samples * (float(random.uniform(0.05, 0.4)) / max(float(np.abs(samples).max()), 1e-12))
