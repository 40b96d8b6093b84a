"""One message of an attack run: captured, attacked, kept. What is done is never done again, and what was begun goes on.

Problem: attacks take hours and machines do not last. Choice: every message has a stream of random numbers of its own and an attack object
of its own, so that its result does not depend on which messages were attacked in the same process; finished reconstructions and the
states that an attack asks to save are checkpoints, written whole with a digest. After kill -9 an attack continues from its last state, and
the results are the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from auscult.data.recognition_batch import RecognitionBatch
from auscult.errors import UserError
from auscult.privacy.attack import Attack, Reconstruction, Watch
from auscult.privacy.capture import capture
from auscult.privacy.defence import Defence
from auscult.privacy.message import Knowledge, Leak, Truth
from auscult.privacy.utility import UNTOUCHED, message_utility
from auscult.privacy.utterances import Chosen, joined
from auscult.privacy.victim import Victim
from auscult.recipe.attack import AttackRecipe
from auscult.runs.directory import RunDirectory
from auscult.streams import Streams
from auscult.training.checkpoint import load_checkpoint, save_checkpoint
from auscult.training.interruption import Interrupted, StopRequest
from auscult.training.journal import Journal

SAVE_SECONDS = 5.0
"""At least so long between two states on the disk; an attack may ask more often."""
EVENTS = 200
"""About so many entries of an attack's course in the log, and every one of its first ten iterations."""

Show = Callable[[int, float, str], None]
"""(message, share of it that is done, words)."""


@dataclass(frozen=True)
class Done:
    """An attacked message.

    Attributes:
        leak: the message.
        knowledge: beside it.
        truth: of it, for the score card.
        places: of its utterances in the pool.
        found: by the attack.
        seconds: that the attack took, over all processes that worked on it.
        utility: what defences left of the message's use, see `auscult.privacy.utility`.
    """

    leak: Leak
    knowledge: Knowledge
    truth: Truth
    places: tuple[int, ...]
    found: Reconstruction
    seconds: float
    utility: dict[str, float]


class Messages:
    """The messages of a run, attacked one after the other.

    Args:
        recipe: of the run.
        victim: attacked.
        chosen: utterances.
        run: where states and results are kept.
        journal: told of every iteration.
        request: whether to stop.
        show: told of progress.
    """

    def __init__(
        self, recipe: AttackRecipe, victim: Victim, chosen: Chosen, run: RunDirectory, journal: Journal, request: StopRequest, show: Show
    ) -> None:
        self.recipe, self.victim, self.chosen, self.run = recipe, victim, chosen, run
        self.journal, self.request, self.show = journal, request, show
        self.streams = Streams(recipe.recipe.seed)
        self.size = recipe.case.leak.batch * recipe.case.leak.clients

    @property
    def count(self) -> int:
        """How many messages there are."""
        return self.chosen.attacked // self.size

    def attacked(self, number: int) -> Done:
        """Return a message and what the attack made of it, from the disk if that was done before.

        Raises:
            UserError: message or knowledge lack what the attack needs, or a checkpoint is of another victim.
            Interrupted: a stop was asked for.
        """
        places = tuple(range(number * self.size, (number + 1) * self.size))
        leak, knowledge, truth = self._captured(number, places, self._defences())
        kept = self.run.checkpoint(f"message-{number}")
        if not kept.exists():
            self._attack(number, leak, knowledge, self._utility(number, places, leak))
        content = self._load(f"message-{number}")
        return Done(leak, knowledge, truth, places, _reconstruction(content["found"]), content["seconds"], content["utility"])

    def _defences(self) -> list[Defence]:
        return [section.build() for section in self.recipe.case.defence]

    def _batches(self, places: Sequence[int]) -> list[RecognitionBatch]:
        size = self.recipe.case.leak.batch
        groups = [places[first : first + size] for first in range(0, len(places), size)]
        return [joined([self.chosen.pool[place] for place in group]) for group in groups]

    def _captured(self, number: int, places: Sequence[int], defences: Sequence[Defence]) -> tuple[Leak, Knowledge, Truth]:
        streams, speakers = Streams(self.streams.integer("clients", number)), [self.chosen.speakers[place] for place in places]
        return capture(self.victim, self._batches(places), speakers, self.recipe.case.leak, streams, defences)

    def _utility(self, number: int, places: Sequence[int], leak: Leak) -> dict[str, float]:
        if not leak.defences:
            return dict(UNTOUCHED)
        return message_utility(self.victim, self._batches(places), self._captured(number, places, ())[0], leak)

    def _attack(self, number: int, leak: Leak, knowledge: Knowledge, utility: dict[str, float]) -> None:
        began = time.monotonic()
        state = f"message-{number}-state"
        begun = self._load(state) if self.run.checkpoint(state).exists() else None
        before = begun["seconds"] if begun is not None else 0.0
        if begun is not None:
            self.journal.write("resume", message=number)
        keeper = _Keeper(lambda saved: self._save(state, state=saved, seconds=before + time.monotonic() - began), self.request)
        watch = Watch(
            self.streams.generator("attack", number),
            report=lambda iteration, total, values: self._report(number, iteration, total, values),
            resume=begun["state"] if begun is not None else None,
            save=keeper.save,
        )
        made: Attack = self.recipe.case.attack.build()
        found = made.run(self.victim, leak, knowledge, watch)
        self._save(f"message-{number}", found=_plain(found), seconds=before + time.monotonic() - began, utility=utility)
        self.run.checkpoint(state).unlink(missing_ok=True)
        self.journal.write("message", message=number, objective=found.objective, gradients=found.gradients, notes=list(found.notes))

    def _report(self, number: int, iteration: int, total: int, values: Mapping[str, float]) -> None:
        if iteration <= 10 or iteration % max(1, total // EVENTS) == 0 or iteration == total:
            numbers = {name: float(value) for name, value in values.items()}
            self.journal.write("attack_step", message=number, iteration=iteration, total=total, values=numbers)
            self.show(number, iteration / max(total, 1), ", ".join(f"{name} {value:.4g}" for name, value in numbers.items()))
        stop_if_asked(self.request)

    def _save(self, name: str, **content: Any) -> None:
        save_checkpoint(self.run.checkpoint(name), {}, self.victim.specification, victim=self.victim.fingerprint, **content)

    def _load(self, name: str) -> dict[str, Any]:
        path = self.run.checkpoint(name)
        content = load_checkpoint(path)
        if content["victim"] != self.victim.fingerprint:
            raise UserError(
                f"{path}: was made with victim {content['victim']}, and the victim is now {self.victim.fingerprint}: its run was trained "
                "again; move this attack's folder away to attack the new weights"
            )
        return content


class _Keeper:
    """Writes the states that an attack saves, not more often than is good for the disk, and always before a stop."""

    def __init__(self, write: Callable[[dict[str, Any]], None], request: StopRequest) -> None:
        self.write, self.request, self.last = write, request, time.monotonic()

    def save(self, state: Mapping[str, Any]) -> None:
        if self.request.signal is not None or time.monotonic() - self.last >= SAVE_SECONDS:
            self.write(dict(state))
            self.last = time.monotonic()
        stop_if_asked(self.request)


def stop_if_asked(request: StopRequest) -> None:
    """Leave if a stop was asked for.

    Raises:
        Interrupted: it was.
    """
    if request.signal is not None:
        raise Interrupted(request.signal, f"attack stopped by signal {request.signal}; the same command continues it")


def _plain(found: Reconstruction) -> dict[str, Any]:
    return {
        "features": None if found.features is None else [one.detach().cpu().clone() for one in found.features],
        "characters": None if found.characters is None else sorted(found.characters),
        "by_utterance": None if found.by_utterance is None else [sorted(one) for one in found.by_utterance],
        "symbols": None if found.symbols is None else [int(one) for one in found.symbols],
        "transcripts": None if found.transcripts is None else list(found.transcripts),
        "proved": None if found.proved is None else list(found.proved),
        "objective": None if found.objective is None else float(found.objective),
        "gradients": int(found.gradients),
        "notes": list(found.notes),
        "gave_up": found.gave_up,
    }


def _reconstruction(saved: Mapping[str, Any]) -> Reconstruction:
    return Reconstruction(
        features=None if saved["features"] is None else tuple(saved["features"]),
        characters=None if saved["characters"] is None else frozenset(saved["characters"]),
        by_utterance=None if saved["by_utterance"] is None else tuple(frozenset(one) for one in saved["by_utterance"]),
        symbols=None if saved["symbols"] is None else tuple(saved["symbols"]),
        transcripts=None if saved["transcripts"] is None else tuple(saved["transcripts"]),
        proved=None if saved["proved"] is None else tuple(saved["proved"]),
        objective=saved["objective"],
        gradients=saved["gradients"],
        notes=tuple(saved["notes"]),
        gave_up=saved["gave_up"],
    )
