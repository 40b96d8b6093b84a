"""An attack run as read from its directory: what the page and the figures of an attack need, in whatever state the run is."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.errors import UserError
from auscult.runs.directory import RunDirectory
from auscult.runs.files import read_json

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Picture:
    """Features of one utterance, (frames, width) both.

    Attributes:
        id: of the utterance.
        place: among all by score, in words.
    """

    id: str
    place: str
    truth: Floats
    reconstruction: Floats


@dataclass(frozen=True)
class AttackRun:
    """An attack run.

    Attributes:
        run: its directory.
        start: the event it began with.
        model: what was attacked.
        summary: `summary/attack.json`; empty while the attack is not finished.
        items: a record per utterance.
        messages: a record per message.
        course: values by name, by message: iteration to value.
        pictures: of a few utterances.
        listening: index of sounds.
    """

    run: RunDirectory
    start: Mapping[str, Any]
    model: Mapping[str, Any]
    summary: Mapping[str, Any]
    items: tuple[Mapping[str, Any], ...]
    messages: tuple[Mapping[str, Any], ...]
    course: Mapping[str, Mapping[int, Mapping[int, float]]]
    pictures: tuple[Picture, ...]
    listening: Mapping[str, Any]

    @property
    def subtitle(self) -> str:
        """One line about the run, for figures."""
        name = self.start.get("recipe", {}).get("attack", {}).get("name", "attack")
        return f"{name} on {self.start.get('model', '?')}  ·  {self.run.path.name}"


def read_attack(run_path: Path) -> AttackRun:
    """Read an attack run.

    Raises:
        UserError: the path is no run, or one of its files is damaged.
    """
    run = RunDirectory.open(run_path)
    events = run.events.read()
    last = {event["event"]: event for event in events}
    done = (run.path / "summary" / "attack.json").is_file()
    index = run.listening / "attack.json"
    return AttackRun(
        run=run,
        start=last.get("start", {}),
        model=last.get("model", {}),
        summary=run.read_summary("attack") if done else {},
        items=tuple(run.read_items("attack")) if done else (),
        messages=tuple(run.read_items("messages")) if done else (),
        course=_course(events),
        pictures=_pictures(run.path / "arrays") if done else (),
        listening=read_json(index) if done and index.is_file() else {},
    )


def _course(events: list[dict[str, Any]]) -> dict[str, dict[int, dict[int, float]]]:
    """Return the values that attacks reported; of an iteration that was done twice around an interruption, the later."""
    course: dict[str, dict[int, dict[int, float]]] = {}
    for event in events:
        if event["event"] == "attack_step":
            for name, value in event["values"].items():
                course.setdefault(name, {}).setdefault(int(event["message"]), {})[int(event["iteration"])] = float(value)
    return course


def _pictures(folder: Path) -> tuple[Picture, ...]:
    found = []
    for path in sorted(folder.glob("*.npz")):
        try:
            with np.load(path) as arrays:
                found.append(Picture(str(arrays["id"]), str(arrays["place"]), arrays["truth"], arrays["reconstruction"]))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(f"{path}: cannot be read ({error}); restore it from a copy, or delete it") from error
    return tuple(found)
