"""What the class of a scene decides: whether there is a room, what it sounds like, and which events may happen in it.

Problem: a car horn in a library and a beach with an echo teach a separator what it will never meet. Choice: the ranges that PolSESS draws
its rooms from, one row per indoor class (read from its public parameter file; the classes are those of TUT and TAU Urban Acoustic Scenes
and three loudnesses of WHAM), classes without a row being outdoors; and a table of events and the scenes that allow them, which replaces
the hand-made matrix of the original and can be given by the user. Class names are compared without case, spaces and punctuation, because
every collection spells them in its own way.

`decay` is MATLAB's decay factor, where more is shorter (`audio/plate_reverb.py`): a bus decays sooner than an airport.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from auscult.audio.plate_reverb import Plate
from auscult.errors import UserError, did_you_mean
from auscult.recipe.fields import Part
from auscult.recipe.text import read_file

Share = Annotated[float, Field(ge=0, lt=1)]
Seconds = Annotated[float, Field(ge=0, le=5)]
Decay = Annotated[float, Field(gt=0, le=1)]
Hertz = Annotated[float, Field(gt=0)]


@dataclass(frozen=True)
class DrawnRoom:
    """A room, and the pre-delays of both speakers and the event in seconds."""

    plate: Plate
    pre_delays: tuple[float, float, float]


class Room(Part):
    """The ranges that rooms of a class are drawn from, each [lowest, highest]."""

    pre_delay: tuple[Seconds, Seconds]
    """Until the first reflection, in seconds."""
    diffusion: tuple[Share, Share]
    """How dense the tail is."""
    decay: tuple[Decay, Decay]
    """MATLAB's decay factor: more is a shorter tail."""
    high_cut: tuple[Hertz, Hertz] = (15_000.0, 20_000.0)
    """Cut-off of the reverberation in hertz; what is above 0.45 of the sample rate has the effect of 0.45."""
    damping: tuple[Share, Share] = (0.1, 0.9)
    """How much sooner high frequencies die out."""

    @model_validator(mode="after")
    def _ordered(self) -> Room:
        for name in type(self).model_fields:
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} is [lowest, highest]; swap {low} and {high}")
        return self

    def draw(self, random: np.random.Generator) -> DrawnRoom:
        """Draw a room: the second speaker is nearer than the first by up to 30 % of the drawn delay, the event anywhere."""
        low, high = self.pre_delay
        extra = float(random.uniform(0, high - low))
        first = low + extra
        second = first - extra * float(random.uniform(0, 0.3))
        event = float(random.uniform(low, high))
        high_cut, diffusion, decay, damping = (
            float(random.uniform(*bounds)) for bounds in (self.high_cut, self.diffusion, self.decay, self.damping)
        )
        return DrawnRoom(Plate(high_cut, diffusion, decay, damping), (first, second, event))


def _room(pre_delay: tuple[float, float], diffusion: tuple[float, float], decay: tuple[float, float]) -> Room:
    return Room(pre_delay=pre_delay, diffusion=diffusion, decay=decay)


_VEHICLE = _room((0.0001, 0.05), (0.5, 0.9), (0.95, 0.99))

ROOMS: dict[str, Room] = {
    "airport": _room((0.01, 0.5), (0.1, 0.5), (0.3, 0.8)),
    "shopping_mall": _room((0.01, 0.3), (0.1, 0.5), (0.3, 0.8)),
    "bus": _VEHICLE,
    "train": _VEHICLE,
    "tram": _VEHICLE,
    "car": _VEHICLE,
    "metro": _VEHICLE,
    "metro_station": _room((0.01, 0.3), (0.2, 0.5), (0.5, 0.7)),
    "cafe_restaurant": _room((0.001, 0.2), (0.4, 0.8), (0.9, 0.99)),
    "grocery_store": _room((0.0001, 0.1), (0.3, 0.6), (0.9, 0.99)),
    "home": _room((0.0001, 0.1), (0.4, 0.6), (0.9, 0.99)),
    "office": _room((0.0001, 0.2), (0.4, 0.6), (0.9, 0.99)),
    "library": _room((0.0001, 0.15), (0.4, 0.6), (0.95, 0.99)),
    "wham_high": _room((0.01, 0.3), (0.3, 0.8), (0.7, 0.9)),
    "wham_medium": _room((0.001, 0.2), (0.4, 0.8), (0.8, 0.95)),
    "wham_low": _room((0.0001, 0.1), (0.5, 0.8), (0.9, 0.99)),
}
"""Published ranges of the indoor classes."""

OUTDOOR = (
    "beach",
    "city_center",
    "forest_path",
    "park",
    "residential_area",
    "public_square",
    "street_pedestrian",
    "street_traffic",
)

_ALIASES = {"cafe": "cafe_restaurant", "restaurant": "cafe_restaurant"}


def class_name(text: str) -> str:
    """Return the name of a class in lower case, its words joined by underscores.

    >>> class_name("Cafe/Restaurant"), class_name("WHAM high")
    ('cafe_restaurant', 'wham_high')
    """
    name = re.sub(r"[\W_]+", "_", text.lower()).strip("_")
    return _ALIASES.get(name, name)


class SceneClasses:
    """The classes that scenes may have: the published ones, and those that settings add or change.

    Args:
        rooms: ranges by class, or None for a class that is outdoors.
    """

    def __init__(self, rooms: Mapping[str, Room | None]) -> None:
        own = {class_name(name): room for name, room in rooms.items()}
        self.rooms: dict[str, Room | None] = {**ROOMS, **dict.fromkeys(OUTDOOR), **own}

    def checked(self, name: str, where: str) -> str:
        """Return the name of a class as it is known here.

        Raises:
            UserError: nothing says whether such a scene is indoors.
        """
        found = class_name(name)
        if found not in self.rooms:
            raise UserError(
                f'{where}: the scene class "{name}" is not known{did_you_mean(found, self.rooms)}; add it to `rooms`, with the ranges of '
                "its reverberation, or with null if it is outdoors"
            )
        return found

    def is_indoor(self, name: str) -> bool:
        """Whether scenes of a class have a room."""
        return self.rooms[name] is not None


INDOOR_WORD, OUTDOOR_WORD = "indoor", "outdoor"

BUILT_IN_MATCHES: dict[str, tuple[str, ...]] = {
    "announcement_chime": ("airport", "shopping_mall", "metro*", "train", "tram", "bus", "grocery_store"),
    "beep": ("grocery_store", "shopping_mall", "metro*", "bus", "tram", "office", "home", "cafe_restaurant", "wham_*"),
    "bicycle_bell": ("park", "residential_area", "street_*", "city_center", "public_square"),
    "birdsong": ("park", "forest_path", "residential_area", "beach", "public_square"),
    "car_horn": ("street_*", "city_center", "public_square", "residential_area", "car", "bus"),
    "cough": ("indoor", "park", "public_square", "street_pedestrian"),
    "dog_bark": ("park", "residential_area", "beach", "forest_path", "street_pedestrian", "home"),
    "door_knock": ("home", "office", "library"),
    "footsteps": ("airport", "shopping_mall", "metro_station", "library", "office", "home", "outdoor"),
    "glass_clink": ("cafe_restaurant", "home", "wham_*"),
    "keyboard": ("office", "library", "home", "train"),
    "siren": ("street_*", "city_center", "public_square", "residential_area"),
    "telephone": ("indoor",),
}
"""Scenes that the built-in events may happen in."""


class EventMatches:
    """Which events may happen in which scenes.

    Args:
        rows: scene classes by event class; a scene may be a pattern with * and ?, "indoor" or "outdoor", and the event "*" stands
            for all events without a row of their own.
    """

    def __init__(self, rows: Mapping[str, Iterable[str]]) -> None:
        self.rows = {event if event == "*" else class_name(event): tuple(_pattern(one) for one in scenes) for event, scenes in rows.items()}

    def knows(self, event: str) -> bool:
        """Whether a class of events has a row, or all have."""
        return event in self.rows or "*" in self.rows

    def allow(self, event: str, scene: str, indoor: bool) -> bool:
        """Whether an event may happen in a scene."""
        place = INDOOR_WORD if indoor else OUTDOOR_WORD
        return any(pattern == place or fnmatchcase(scene, pattern) for pattern in self.rows.get(event, self.rows.get("*", ())))


def _pattern(text: str) -> str:
    return text.lower() if set(text) & set("*?[") else class_name(text)


def read_matches(path: Path) -> dict[str, list[str]]:
    """Read a table of events and scenes.

    Args:
        path: a .csv file whose first column is the event class and whose others are named by scene classes and hold 1 or 0, or a YAML
            file of `event: [scene, ...]`.

    Raises:
        UserError: the file is neither.
    """
    if path.suffix.lower() != ".csv":
        rows = read_file(path, []).plain()
        fine = isinstance(rows, dict) and all(isinstance(row, list) and all(isinstance(one, str) for one in row) for row in rows.values())
        if not fine or not rows:
            raise UserError(f"{path}: expected a mapping from event classes to lists of scene classes, such as dog: [park, beach]")
        return {str(event): list(scenes) for event, scenes in rows.items()}
    with path.open(encoding="utf-8-sig", newline="") as file:
        table = list(csv.reader(file))
    if len(table) < 2 or len(table[0]) < 2:
        raise UserError(f"{path}: expected a header with the event column and one column per scene class, and a row per event class")
    found: dict[str, list[str]] = {}
    for number, row in enumerate(table[1:], start=2):
        flags = [cell.strip() for cell in row[1:]]
        if len(row) != len(table[0]) or not set(flags) <= {"0", "1"}:
            raise UserError(f"{path}, line {number}: expected an event class and {len(table[0]) - 1} times 0 or 1")
        found[row[0]] = [scene for scene, flag in zip(table[0][1:], flags, strict=True) if flag == "1"]
    return found
