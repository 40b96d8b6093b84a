"""What determines an attack: a recognition recipe and, beside its sections, who attacks whom with what.

Problem: an attack needs everything a training run needs to name its victim (task, data, model, seed), and its own sections besides; a
second kind of file that points at a recipe would hide half of the threat model, and attack keys in every recipe would change the hash
of every run there is. Choice: the document is one, validated as a whole against a class that is made of both when it is asked for, so
that all errors come at once and ordinary recipes know nothing of it. Rejected: a subclass of `Recipe` (its fields would be narrowed twice).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, create_model, model_validator

from auscult import registry
from auscult.errors import UserError
from auscult.recipe.document import apply_overrides, expand_selections, load_layers
from auscult.recipe.fields import Part, Positive, Split
from auscult.recipe.recipe import Recipe, narrowed, redeclared, resolve
from auscult.recipe.sections import Section, section_field
from auscult.recipe.text import Node, Problem, from_plain

Known = Literal["nothing", "lengths", "transcripts"]


class LeakSettings(Part):
    """What clients send, and what the attacker knows besides."""

    kind: Literal["gradient", "delta"] = "gradient"
    """The gradient of one batch, or the weight delta of `steps` local steps."""
    layers: Annotated[tuple[str, ...], Field(min_length=1)] = ("all",)
    """Of which parameters are sent: prefixes of parameter names, or "all"."""
    batch: Positive = 1
    """Utterances per client."""
    clients: Positive = 1
    """Clients over whose messages a secure sum is taken."""
    steps: Positive = 1
    """Local steps behind a delta, all on the same batch."""
    rate: Annotated[float, Field(gt=0)] = 0.01
    """Learning rate of the local steps."""
    send_buffers: bool = False
    """Whether clients send the statistics of batch normalisation."""
    knowledge: Known = "lengths"
    """What is known besides the message: transcripts (and lengths), lengths, or nothing."""


class VictimSettings(Part):
    """The attacked network, and how clients run it."""

    run: str | None = None
    """Folder of a training run whose best checkpoint is attacked; null attacks fresh weights of the model section."""
    norm_mode: Literal["eval", "train"] = "eval"
    """Whether batch normalisation uses its stored statistics (eval) or those of the client's batch (train)."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability with which clients drop values; the attacker does not know the masks."""


class UtteranceSettings(Part):
    """Whose speech is attacked."""

    split: Split = "train"
    """Split that the utterances are of."""
    count: Positive = 20
    """Utterances that are attacked, the first by the hash of their ids."""
    seconds: Annotated[float, Field(gt=0)] | None = None
    """Attack only the beginnings, of so many seconds. Their transcripts are the same share of the characters, an approximation."""
    pool: Annotated[int, Field(ge=2)] = 100
    """Most utterances of the split, attacked ones included, that controls are made of and among which a reconstruction must be found."""


class SpeakerSettings(Part):
    """Who is recognised in reconstructions, by a verification model."""

    run: str
    """Folder of a verification run whose model listens."""
    distractors: Split | None = None
    """Split whose speakers are enrolled besides those of the attacked one, so that there are more to be confused with."""
    vocoded: bool = False
    """Whether enrolment goes through the vocoder as reconstructions do: slow, and ranks and error rates disagree on whether it helps."""


class RecogniserSettings(Part):
    """Who reads words in reconstructions."""

    run: str
    """Folder of a recognition run, not the attacked one, whose model listens."""


class Case(Part):
    """The sections that an attack adds to a recipe."""

    attack: Section
    """A registered attack and its parameters."""
    defence: list[Section] = []
    """What each client does to its message before it leaves, in order; a single one needs no list."""
    leak: LeakSettings = LeakSettings()
    """What is sent, and what is known besides."""
    victim: VictimSettings = VictimSettings()
    """The attacked network."""
    utterances: UtteranceSettings = UtteranceSettings()
    """Whose speech is attacked."""
    speakers: Annotated[SpeakerSettings | None, Field(json_schema_extra=registry.LATER)] = None
    """Whether speakers are recognised in reconstructions; null does not ask."""
    recogniser: Annotated[RecogniserSettings | None, Field(json_schema_extra=registry.LATER)] = None
    """Whether another recogniser hears words in reconstructions; null does not ask."""

    @model_validator(mode="after")
    def _fitting(self) -> Case:
        group, count = self.leak.batch * self.leak.clients, self.utterances.count
        if count % group:
            raise ValueError(
                f"utterances.count: {count} is not a multiple of the {group} utterances of a message (leak.batch x leak.clients); "
                f"choose {max(1, round(count / group)) * group}"
            )
        if self.leak.kind == "gradient" and self.leak.steps != 1:
            raise ValueError(
                f'leak.steps: a gradient has one step, not {self.leak.steps}; the message of several steps has leak.kind "delta"'
            )
        if getattr(self, "differential_privacy", None) is not None:  # of the recipe that this is mixed into
            raise ValueError(
                "differential_privacy: an attack is on one message, not on a training; give defence (clipping, then gaussian_noise), or "
                "victim.run for weights trained with it, and set differential_privacy: null"
            )
        return self

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[dict[str, Any]]]:
        return _rebuild, (self.model_dump(mode="json"),)


@dataclass(frozen=True)
class AttackRecipe:
    """A recipe with the sections of an attack.

    Attributes:
        recipe: of the victim; its hash and its YAML hold the attack's sections too.
        case: those sections.
    """

    recipe: Recipe
    case: Case

    @classmethod
    def load(cls, path: str | PathLike[str], overrides: Iterable[str] = ()) -> AttackRecipe:
        """Read a YAML file; arguments and errors as `Recipe.load`."""
        problems: list[Problem] = []
        return resolve_attack(apply_overrides(load_layers(Path(path), problems), overrides, problems), problems)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], overrides: Iterable[str] = ()) -> AttackRecipe:
        """Make one from plain values; arguments and errors as `Recipe.from_dict`."""
        problems: list[Problem] = []
        if not isinstance(values, Mapping):
            raise UserError(f"recipe: expected a dictionary, got {type(values).__name__}")
        root = from_plain(values, "recipe", problems)
        expand_selections(root)
        return resolve_attack(apply_overrides(root, overrides, problems), problems)


def load_recipe(path: str | PathLike[str], overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe of either kind: with the sections of an attack where the file or an override has one."""
    problems: list[Problem] = []
    root = apply_overrides(load_layers(Path(path), problems), overrides, problems)
    return resolve(root, problems) if root.child("attack") is None else resolve_attack(root, problems).recipe


def resolve_attack(root: Node, problems: list[Problem]) -> AttackRecipe:
    """Fill in and validate a document; arguments and errors as `auscult.recipe.recipe.resolve`."""
    grid = root.value.pop("sweep", None) if isinstance(root.value, dict) else None
    if grid is not None:
        problems.append(Problem(grid.place, ("sweep",), "describes a grid of attacks, and this is one; run it with `auscult attack sweep`"))
    defence = root.child("defence")
    if defence is not None and isinstance(defence.value, dict):
        defence.value = [Node(defence.value, defence.place)]
    elif defence is not None and defence.value is None:
        defence.value = []
    found = resolve(root, problems, _narrowed_case())
    assert isinstance(found, Case)  # made of both classes
    return AttackRecipe(found, found)


_narrowed: dict[int, type[Recipe]] = {}


def _narrowed_case() -> type[Recipe]:
    """Return the class of recipes with an attack whose sections are those of the classes registered now."""
    if registry.revision() not in _narrowed:
        base: Any = (Case, narrowed())
        made: type[Recipe] = create_model(
            "AttackRecipe",
            __base__=base,
            attack=redeclared(Case, "attack", section_field("attack")),
            defence=redeclared(Case, "defence", section_field("defence", many=True)),
        )
        _narrowed.clear()
        _narrowed[registry.revision()] = made
    return _narrowed[registry.revision()]


def _rebuild(values: dict[str, Any]) -> Recipe:
    return AttackRecipe.from_dict(values).recipe
