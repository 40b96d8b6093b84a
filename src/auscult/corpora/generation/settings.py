"""What a generated corpus is made from: a YAML file in the manner of a recipe.

Problem: a corpus that cannot be made again is a corpus nobody can argue about. Choice: everything that decides a sample stands in one
file, which is written into the corpus with the defaults filled in; the number of processes is not in it, because it decides nothing. Keys
are strict, and a wrong one is reported with file, line and the nearest known key, by the same code that reads recipes. The defaults are
the published ranges, except that no speaker is mixed with himself and no speaker, scene or event is shared by two splits: the original
allows all of that, and its labels cannot be learned where it happens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationError, create_model, field_validator, model_validator

from auscult.corpora.generation.built_in import EVENTS, SCENES
from auscult.corpora.generation.scene_classes import Room
from auscult.errors import UserError, did_you_mean
from auscult.recipe.document import apply_overrides
from auscult.recipe.fields import Part
from auscult.recipe.filling import fill_sections
from auscult.recipe.problems import validation_problems
from auscult.recipe.sections import Section, section_field
from auscult.recipe.text import Node, Problem, read_file

Split = Literal["train", "val", "test"]
Positive = Annotated[int, Field(ge=1)]


class RecordingSource(Part):
    """Recordings of scenes or events: a folder, or the library that is computed on the spot."""

    folder: str | None = None
    """Searched with all folders below it; `${VARIABLES}` are replaced."""
    classes: dict[str, str] = {}
    """Class by a pattern with * and ? on the path below the folder; the first that fits counts, and other files are not used."""
    pattern: str | None = None
    """Regular expression on the path below the folder with a group `class` and perhaps one `split`. Without this and `classes`, the
    first folder is the class, or the second where the first is called train, val or test."""
    built_in: Positive | None = None
    """Number of computed recordings per class and split."""
    only: Annotated[list[str], Field(min_length=1)] | None = None
    """These classes of the computed recordings; all if left out."""

    @model_validator(mode="after")
    def _one_kind(self) -> RecordingSource:
        if (self.folder is None) == (self.built_in is None):
            raise ValueError("needs either `folder` or `built_in`: the path of recordings, or a number of computed ones per class")
        if self.built_in is not None and (self.classes or self.pattern):
            raise ValueError("`classes` and `pattern` are about a folder; `only` chooses among computed classes")
        if self.folder is not None and self.only is not None:
            raise ValueError("`only` is about computed recordings; choose files of a folder with `classes`")
        if self.classes and self.pattern:
            raise ValueError("`classes` and `pattern` both say what the class of a file is; keep one")
        return self

    @field_validator("pattern")
    @classmethod
    def _expression(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            groups = re.compile(value).groupindex
        except re.error as error:
            raise ValueError(f"not a regular expression ({error})") from error
        if "class" not in groups:
            raise ValueError('needs a group named "class", such as (?P<class>[a-z_]+)-.*')
        return value


class GeneratorSettings(Part):
    """Everything that decides a corpus of the PolSESS kind; made by `load_settings`."""

    speech: Section
    """A corpus of recordings of single speakers, as in a recipe."""
    scenes: Annotated[list[RecordingSource], Field(min_length=1)]
    """Where scenes come from."""
    events: Annotated[list[RecordingSource], Field(min_length=1)]
    """Where events come from."""
    counts: Annotated[dict[Split, Positive], Field(min_length=1)]
    """Number of mixtures per split."""
    rate: Annotated[int, Field(ge=4000, le=48_000)] = 8000
    """Sample rate in hertz."""
    seconds: Annotated[float, Field(ge=0.5, le=60)] = 4.0
    """Length of every mixture."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Feeds every draw."""
    draw: Literal["speaker", "file"] = "speaker"
    """Draw a speaker with the square root of his number of files, then a file; or a file, as the original does."""
    same_speaker: bool = False
    """Allow two files of one speaker in a mixture, as the original does."""
    speaker_disjoint: bool = True
    """No speaker in two splits."""
    scene_disjoint: bool = True
    """No recording of a scene in two splits."""
    event_disjoint: bool = True
    """No recording of an event in two splits."""
    speech_splits: dict[Split, Annotated[list[str], Field(min_length=1)]] | None = None
    """Splits of the speech corpus by split, with wildcards; if left out, its own where it has them, or its speakers are divided."""
    shares: dict[Split, Annotated[float, Field(gt=0, lt=1)]] = {"train": 0.8, "val": 0.1, "test": 0.1}
    """How speakers, scenes and events are divided where nothing else says it."""
    join_short: bool = False
    """Append recordings of the same speaker to one that is too short, instead of leaving it out."""
    indoor_share: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of indoor mixtures, evenly spread over the order; if left out, as the scenes fall."""
    ssr: tuple[int, int] = (-5, 5)
    """Lowest and highest level of the first speaker above the second, in whole dB."""
    scene_level: tuple[float, float] = (-14.0, 0.0)
    """Lowest and highest level of the scene above the speech, in dB."""
    rooms: dict[str, Room | None] = {}
    """Reverberation of further scene classes, or other ranges of known ones; null is outdoors."""
    matches: str | dict[str, list[str]] | None = None
    """Which events may happen in which scenes: a table (.csv, .yaml), or scenes by event; "*" stands for all other events."""

    @model_validator(mode="after")
    def _consistent(self) -> GeneratorSettings:
        for name in ("ssr", "scene_level"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} is [lowest, highest]; swap {low} and {high}")
        for name, known in (("scenes", SCENES), ("events", EVENTS)):
            for one in (one for source in getattr(self, name) for one in source.only or () if one not in known):
                raise ValueError(f'{name}: no computed class "{one}"{did_you_mean(one, known)}; there are {", ".join(known)}')
        missing = [split for split in self.counts if split not in self.shares]
        if missing:
            raise ValueError(f"shares: names no share for {', '.join(missing)}, which counts asks for")
        if self.speech_splits is not None and set(self.counts) - set(self.speech_splits):
            raise ValueError(f"speech_splits: must name {', '.join(self.counts)}, the splits that counts asks for")
        return self

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that are made, in their usual order."""
        return tuple(split for split in get_args(Split) if split in self.counts)

    @property
    def samples(self) -> int:
        """Length of a mixture."""
        return round(self.seconds * self.rate)

    def stated(self) -> dict[str, Any]:
        """Return all values, defaults included, as plain JSON."""
        return self.model_dump(mode="json", serialize_as_any=True)


def load_settings(path: Path, overrides: Iterable[str] = ()) -> GeneratorSettings:
    """Read settings from a YAML file.

    Args:
        path: the file.
        overrides: such as "counts.train=200" or "seed=3"; the values are YAML.

    Raises:
        UserError: the file cannot be read, or anything in it is wrong: one line per problem, with file, line and dotted key.
    """
    problems: list[Problem] = []
    root = read_file(path, problems)
    if not isinstance(root.value, dict):
        raise UserError(f"{path}: expected keys such as speech, scenes, events and counts")
    return _validated(apply_overrides(root, overrides, problems), problems)


def _validated(root: Node, problems: list[Problem]) -> GeneratorSettings:
    fields: dict[str, Any] = {"speech": (section_field("corpus"), Field(...))}
    model = create_model("Settings", __base__=GeneratorSettings, **fields)
    fill_sections(root, model)
    values: dict[str, Any] = {}
    try:
        values = dict(model.model_validate_json(json.dumps(root.plain())))
    except ValidationError as error:
        problems = [*problems, *validation_problems(error, root, model)]
    if problems:
        raise UserError("\n".join(str(problem) for problem in sorted(problems, key=lambda one: one.place.line or 0)))
    return GeneratorSettings.model_construct(**values)  # a class made on the spot could not be sent to another process
