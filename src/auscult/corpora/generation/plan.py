"""What may be drawn for a mixture of a split, and with which chance.

Problem: drawing two different *files*, as the original generator does, puts the same person into both sources of every fifth mixture, and
one reader with 43 % of the files into two of three. Choice: a speaker is drawn with the square root of his number of files, then a file of
his, and the second speaker is another one; the original way stays available under its own settings, because published corpora were made
by it. Everything that can be refused is refused here, before the first file is written: a split with one speaker, a scene in which no
event may happen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from auscult.corpora.base import resolve
from auscult.corpora.generation.scene_classes import BUILT_IN_MATCHES, EventMatches, Room, SceneClasses, class_name, read_matches
from auscult.corpora.generation.settings import GeneratorSettings
from auscult.corpora.generation.sources import Found, Recording, find_recordings_of, find_speech
from auscult.errors import UserError


class SpeechPool:
    """The recordings of the speakers of a split.

    Args:
        recordings: at least two that may meet.
        by_speaker: draw a speaker first, with the square root of his number of files; otherwise a file.
        same_speaker: two files of one speaker may meet.
        where: the split, for messages.

    Raises:
        UserError: no two recordings may meet.
    """

    def __init__(self, recordings: Sequence[Recording], by_speaker: bool, same_speaker: bool, where: str) -> None:
        self.speakers: dict[str, list[Recording]] = {}
        for one in recordings:
            self.speakers.setdefault(one.group, []).append(one)
        self.recordings, self.same_speaker = list(recordings), same_speaker
        if len(self.speakers) < 2 and not (same_speaker and len(recordings) > 1):
            who = next(iter(self.speakers), "nobody")
            raise UserError(f"speech: {where} has one speaker only ({who}); mixtures need two, or same_speaker: true and two recordings")
        chances = np.sqrt([len(members) for members in self.speakers.values()])
        self.names, self.bounds = list(self.speakers), np.cumsum(chances / chances.sum()) if by_speaker else None

    def pair(self, random: np.random.Generator) -> tuple[Recording, Recording]:
        """Draw two recordings that may meet."""
        first = self._one(random)
        while True:
            second = self._one(random)
            if second != first and (self.same_speaker or second.group != first.group):
                return first, second

    def _one(self, random: np.random.Generator) -> Recording:
        if self.bounds is None:
            return self.recordings[int(random.integers(len(self.recordings)))]
        place = min(int(np.searchsorted(self.bounds, random.random(), side="right")), len(self.names) - 1)
        return any_of(self.speakers[self.names[place]], random)

    def expected_same_speaker_rate(self) -> float:
        """Return how often two different files drawn uniformly belong to one speaker."""
        counts = np.array([len(members) for members in self.speakers.values()], dtype=float)
        total = counts.sum()
        return float(np.sum(counts * (counts - 1)) / (total * (total - 1))) if total > 1 else 0.0


def any_of(members: Sequence[Recording], random: np.random.Generator) -> Recording:
    """Draw one of several recordings."""
    return members[int(random.integers(len(members)))]


@dataclass(frozen=True)
class SplitPlan:
    """What may be drawn for one split.

    Attributes:
        speech: recordings of speakers.
        scenes: recordings by indoor (True) and outdoor (False).
        events: recordings by the class of the scene they may happen in.
    """

    speech: SpeechPool
    scenes: dict[bool, list[Recording]]
    events: dict[str, list[Recording]]

    def scene(self, indoor: bool | None, random: np.random.Generator) -> Recording:
        """Draw a scene, of a kind if it is given."""
        return any_of([*self.scenes[True], *self.scenes[False]] if indoor is None else self.scenes[indoor], random)


@dataclass(frozen=True)
class Plan:
    """Everything that the mixtures of a corpus are drawn from.

    Attributes:
        settings: of the corpus.
        splits: what may be drawn, by split.
        rooms: by class of scene; None is outdoors.
        short: recordings that were left out because they are shorter than a mixture, by "speech", "scenes" and "events".
    """

    settings: GeneratorSettings
    splits: dict[str, SplitPlan]
    rooms: dict[str, Room | None]
    short: dict[str, int]

    def wants_indoor(self, index: int) -> bool | None:
        """Whether a mixture is to be indoors: evenly spread over the order, so that the first n rows are no other corpus than all.

        None where the scenes decide.
        """
        share = self.settings.indoor_share
        return None if share is None else int((index + 1) * share + 1e-9) > int(index * share + 1e-9)


def make_plan(settings: GeneratorSettings) -> Plan:
    """Find all recordings, divide them and decide what fits what.

    Raises:
        UserError: something is missing for a split, or a class is unknown.
    """
    classes, matches = SceneClasses(settings.rooms), _matches(settings)
    speech = find_speech(settings)
    scenes, events = (_named(kind, settings, classes, matches) for kind in ("scene", "event"))
    splits: dict[str, SplitPlan] = {}
    for split in settings.splits:
        pool = SpeechPool(speech.splits[split], settings.draw == "speaker", settings.same_speaker, split)
        by_place = {indoor: [one for one in scenes.splits[split] if classes.is_indoor(one.group) == indoor] for indoor in (True, False)}
        _check_share(settings, by_place, split)
        splits[split] = SplitPlan(pool, by_place, _fitting(scenes.splits[split], events.splits[split], classes, matches, split))
    return Plan(settings, splits, classes.rooms, {"speech": speech.short, "scenes": scenes.short, "events": events.short})


def _matches(settings: GeneratorSettings) -> EventMatches:
    given = settings.matches
    rows = read_matches(resolve(given)) if isinstance(given, str) else given or {}
    return EventMatches({**BUILT_IN_MATCHES, **{one if one == "*" else class_name(one): scenes for one, scenes in rows.items()}})


def _named(kind: str, settings: GeneratorSettings, classes: SceneClasses, matches: EventMatches) -> Found:
    """Return recordings whose classes are spelled as they are known."""
    found = find_recordings_of(kind, settings, settings.scenes if kind == "scene" else settings.events)
    names: dict[str, str] = {}
    for one in (one for members in found.splits.values() for one in members):
        if one.group not in names:
            name = names[one.group] = classes.checked(one.group, one.label) if kind == "scene" else class_name(one.group)
            if kind == "event" and not matches.knows(name):
                raise UserError(
                    f'{one.label}: nothing says in which scenes the event "{one.group}" may happen; name them in `matches`, such as '
                    f'{{"{name}": [park, indoor]}}, or "*" for all events without a row'
                )
    renamed = {split: [one.renamed(names[one.group]) for one in members] for split, members in found.splits.items()}
    return Found(renamed, found.short)


def _check_share(settings: GeneratorSettings, scenes: dict[bool, list[Recording]], split: str) -> None:
    share = settings.indoor_share
    for indoor, wanted in ((True, share is not None and share > 0), (False, share is not None and share < 1)):
        if wanted and not scenes[indoor]:
            place = "indoor" if indoor else "outdoor"
            raise UserError(f"scenes: {split} has no {place} scene and indoor_share is {share:g}; add one, or leave indoor_share out")


def _fitting(
    scenes: Sequence[Recording], events: Sequence[Recording], classes: SceneClasses, matches: EventMatches, split: str
) -> dict[str, list[Recording]]:
    fitting = {}
    for name in sorted({one.group for one in scenes}):
        fitting[name] = [one for one in events if matches.allow(one.group, name, classes.is_indoor(name))]
        if not fitting[name]:
            have = ", ".join(sorted({one.group for one in events}))
            raise UserError(f'events: none of those of {split} ({have}) may happen in the scene "{name}"; add events, or change `matches`')
    return fitting
