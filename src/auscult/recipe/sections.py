"""Sections of a recipe whose keys are the constructor parameters of registered classes.

Problem: a recipe must reject `model.hiden` before anything is built, without a second configuration class per model.
Choice: for every registered class a pydantic model is made from the constructor's signature (types, `Annotated` bounds,
defaults, and the sentences of the docstring's `Args:`), and a field of the recipe is the tagged union of those models, the
tag being the registry name. Parameters marked `Component` become nested unions of their own kind. Rejected: pydantic's
`Field(discriminator=...)`, which needs two members at least and puts tags that look like keys into error locations.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Optional, get_args

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, create_model
from pydantic.errors import PydanticUserError
from pydantic_core import CoreSchema, core_schema

from auscult import registry
from auscult.errors import UserError


class Section(BaseModel):
    """One choice among the registered classes of a kind, with its parameters.

    Attributes:
        name: registry name of the class.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())
    kind: ClassVar[str] = ""
    name: str

    def __getitem__(self, key: str) -> Any:
        """Return the value of a key, for code that cannot know the section's type."""
        if key not in type(self).model_fields:
            raise KeyError(key)
        return getattr(self, key)

    def to_dict(self) -> dict[str, Any]:
        """Return the name and all parameters, defaults included, as plain values (tuples stay tuples)."""
        return self.model_dump()

    def build(self, **context: Any) -> Any:
        """Construct the object; `context` supplies what the constructor marks as `INJECTED`."""
        return registry.build(self.kind, self.to_dict(), **context)

    def __reduce__(self) -> tuple[Callable[..., Section], tuple[str, dict[str, Any]]]:
        return _rebuild, (self.kind, self.to_dict())


def _rebuild(kind: str, values: dict[str, Any]) -> Section:
    model = section_models(kind)[values["name"]]
    return model.model_validate(values)


@dataclass(frozen=True, eq=False)
class Choice:
    """Annotation of a section field: the models to choose from by name, and what stands in for a missing section."""

    kind: str
    models: Mapping[str, type[Section]]
    default: str | None = None
    default_arguments: Mapping[str, Any] = field(default_factory=dict)
    many: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices: dict[Any, CoreSchema] = {tag(name): handler.generate_schema(model) for name, model in self.models.items()}
        choices = choices or {"no class is registered": core_schema.none_schema()}
        return core_schema.tagged_union_schema(choices=choices, discriminator=_discriminate)


def tag(name: str) -> str:
    """Return the union tag of a registry name; it cannot be confused with a key in an error location."""
    return f"<{name}>"


def _discriminate(value: Any) -> str | None:
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    return None if name is None else tag(str(name))


def section_field(kind: str, default: str | None = None, default_arguments: Mapping[str, Any] | None = None, many: bool = False) -> Any:
    """Return the annotation of a field that holds one section of a kind, or a list of them."""
    choice = Choice(kind, section_models(kind), default, default_arguments or {}, many)
    return list[Annotated[Section, choice]] if many else Annotated[Section, choice]


def contents(annotation: Any, metadata: Sequence[Any] = ()) -> list[type[BaseModel] | Choice]:
    """Return the models and section choices inside an annotation, through lists, unions and `Annotated`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation is not Section:
        return [annotation]
    found: list[type[BaseModel] | Choice] = [
        item for item in (*metadata, *getattr(annotation, "__metadata__", ())) if isinstance(item, Choice)
    ]
    return found + [inner for argument in get_args(annotation) for inner in contents(argument)]


_open: list[str] = []


def section_models(kind: str) -> dict[str, type[Section]]:
    """Return the section model of every registered class of a kind, by name.

    Raises:
        UserError: a class's signature cannot be a schema (the message names the class and the parameter).
    """
    if kind in _open:
        raise UserError(f"components form a cycle: {' -> '.join([*_open, kind])}; a section cannot contain its own kind")
    _open.append(kind)
    try:
        return {name: _section_model(kind, name, cls) for name, cls in registry.registered(kind).items()}
    finally:
        _open.pop()


def _section_model(kind: str, name: str, cls: type) -> type[Section]:
    fields: dict[str, Any] = {"name": (Literal[name], Field(description=f"{kind} to use."))}
    described = describe_parameters(cls)
    for key, parameter in registry.parameters(cls).items():
        if hasattr(Section, key) or key in ("name", "kind"):
            raise UserError(f"{cls.__qualname__}: a constructor parameter cannot be called {key!r} in a recipe; rename it")
        found = _field(parameter, described.get(key))
        if found is not None:
            fields[key] = found
    title = "".join(part.capitalize() for part in f"{kind}_{name}".split("_"))
    try:
        model: type[Section] = create_model(title, __base__=Section, __doc__=(inspect.getdoc(cls) or title).split("\n")[0], **fields)
    except PydanticUserError as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"{cls.__qualname__}: the constructor's types cannot be a recipe section ({reason}); use plain types") from error
    model.kind = kind
    return model


def _field(parameter: inspect.Parameter, description: str | None) -> tuple[Any, Any] | None:
    mark = registry.marker(parameter)
    if mark is registry.INJECTED:
        return None
    if not isinstance(mark, registry.Component):
        default = ... if parameter.default is parameter.empty else parameter.default
        return parameter.annotation, Field(default, description=description)
    annotation = section_field(mark.kind, mark.default, mark.default_arguments, mark.many)
    if mark.many:
        return annotation, Field(default_factory=list, description=description)
    if mark.default is None:
        return Optional[annotation], Field(None, description=description)  # noqa: UP045 (X | None does not take Annotated)
    return annotation, Field(..., description=description)


def describe_parameters(cls: type) -> dict[str, str]:
    """Return the first sentence of each parameter in the `Args:` of the class's or the constructor's docstring."""
    found: dict[str, str] = {}
    for text in (inspect.getdoc(cls) or "", inspect.getdoc(cls.__init__) or ""):  # type: ignore[misc]
        _, _, arguments = text.partition("Args:\n")
        for match in re.finditer(r"^ {4}(\w+)[^:\n]*: (.*(?:\n {8}.*)*)", arguments.split("\n\n")[0], flags=re.MULTILINE):
            found.setdefault(match[1], " ".join(match[2].split()))
    return found
