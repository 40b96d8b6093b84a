"""Names to classes: the only place where a word in a YAML file becomes code.

Problem: configuration systems either keep a second class beside every class (the two drift apart) or put import paths in
YAML (a file then runs code). Choice: a decorator registers a class under a kind and a name, and *the signature of its
constructor is the schema*; types, `Annotated` bounds and defaults validate the YAML section.

Two markers describe parameters that are not plain values:

* `Annotated[Specification, INJECTED]`: supplied by the program when the section is built, never by the YAML.
* `Annotated[nn.Module, Component("front_end", default="log_spectrogram")]`: a nested section of another kind; the
  constructor receives the built object, or with `deferred=True` a `Deferred` to build once its own `INJECTED` values are known.

A name is looked up among the modules of the package that houses its kind, and among installed entry points
(`auscult.models`, `auscult.corpora`, `auscult.tasks`). Nothing is imported before a kind is asked for.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from auscult.errors import UserError, did_you_mean

PACKAGES: dict[str, tuple[str, ...]] = {
    "corpus": ("auscult.corpora",),
    "model": ("auscult.models",),
    "front_end": ("auscult.audio.front_ends",),
    "augmentation": ("auscult.audio.augmentation",),
    "feature_augmentation": ("auscult.audio.feature_augmentation",),
    "loss": ("auscult.losses",),
    "decoder": ("auscult.tasks.decoders",),
    "task": ("auscult.tasks",),
    "optimizer": ("auscult.training.optimizers",),
    "schedule": ("auscult.training.schedules",),
    "sink": ("auscult.runs.sinks",),
    "attack": ("auscult.privacy.attacks",),
    "defence": ("auscult.privacy.defences",),
}
"""Where the built-in classes of each kind live: every module of these packages is imported on the first look-up."""

ENTRY_POINT_GROUPS = {"model": "auscult.models", "corpus": "auscult.corpora", "task": "auscult.tasks"}

_Class = TypeVar("_Class", bound=type)
_registered: dict[str, dict[str, type]] = {kind: {} for kind in PACKAGES}
_revision = [0]
_search = [True]


class _Injected:
    """Marks a constructor parameter that the program supplies."""

    def __repr__(self) -> str:
        return "INJECTED"


INJECTED = _Injected()

LATER: dict[str, Any] = {"affects_result": "unless default"}
"""`Field(json_schema_extra=LATER)` marks a key that was added after runs had been made without it: at its default it stays out of the
recipe's hash, so that those runs remain the same runs."""


@dataclass(frozen=True)
class Component:
    """Marks a constructor parameter that is a nested section of another kind.

    Args:
        kind: the registry kind of the nested section.
        default: registry name used when the section is left out; None means the component is then absent.
        many: the parameter takes a list of sections.
        deferred: the constructor receives a `Deferred` instead of the object (a loss that needs the number of classes, say, which
            is known only when the data have been read).
    """

    kind: str
    default: str | None = None
    many: bool = False
    deferred: bool = False
    default_arguments: dict[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Deferred:
    """A validated section that is built later, when the program knows what its class needs.

    Attributes:
        kind: registry kind.
        section: `{"name": registry name, parameter: value, ...}`.
    """

    kind: str
    section: dict[str, Any]

    @property
    def cls(self) -> type:
        """The class that will be built."""
        return lookup(self.kind, self.section["name"])

    def build(self, **context: Any) -> Any:
        """Construct the object; arguments and errors as `registry.build`."""
        return build(self.kind, self.section, **context)


def register(kind: str, name: str) -> Callable[[_Class], _Class]:
    """Register a class under a kind and a lower_snake_case name.

    Raises:
        UserError: the kind is unknown, or the name already belongs to another class.
    """
    if kind not in _registered:
        raise UserError(f'unknown registry kind "{kind}"{did_you_mean(kind, _registered)}; kinds: {", ".join(_registered)}')
    if not (name.isidentifier() and name == name.lower()):
        raise UserError(f'registry name "{name}" of kind {kind}: expected lower_snake_case')

    def add(cls: _Class) -> _Class:
        known = _registered[kind].get(name)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise UserError(f'{kind} "{name}" is already registered by {known.__module__}.{known.__qualname__}')
        _registered[kind][name] = cls
        _revision[0] += 1
        return cls

    return add


def revision() -> int:
    """Return a number that changes whenever a class is registered; schemas made from the registry are valid for one revision."""
    return _revision[0]


@contextmanager
def scope(empty: bool = False) -> Iterator[None]:
    """Forget, at the end of the block, every class registered inside it (for tests and notebooks).

    Built-in classes whose modules happen to be imported inside the block stay: a module registers its classes only once.

    Args:
        empty: start with no classes at all, and do not look for any.
    """
    for kind in () if empty else PACKAGES:
        _discover(kind)
    before, searched = {kind: dict(classes) for kind, classes in _registered.items()}, _search[0]
    if empty:
        _registered.update({kind: {} for kind in _registered})
        _search[0] = False
    _revision[0] += 1
    try:
        yield
    finally:
        for kind, classes in _registered.items():
            imported = {name: cls for name, cls in classes.items() if cls.__module__.startswith(PACKAGES[kind])}
            _registered[kind] = {**imported, **before[kind]}
        _search[0] = searched
        _revision[0] += 1


def lookup(kind: str, name: str) -> type:
    """Return the class registered under a kind and a name.

    Raises:
        UserError: no such name; the message lists what exists and the nearest match.
    """
    classes = registered(kind)
    if name not in classes:
        raise UserError(f'unknown {kind} "{name}"{did_you_mean(name, classes)}; known: {", ".join(classes) or "none"}')
    return classes[name]


def registered(kind: str) -> dict[str, type]:
    """Return every class of a kind by name, sorted."""
    if kind not in _registered:
        raise UserError(f'unknown registry kind "{kind}"{did_you_mean(kind, _registered)}; kinds: {", ".join(_registered)}')
    if _search[0]:
        _discover(kind)
    return dict(sorted(_registered[kind].items()))


@cache
def _discover(kind: str) -> None:
    for package_name in PACKAGES[kind]:
        package = importlib.import_module(package_name)
        for module in pkgutil.iter_modules(getattr(package, "__path__", [])):
            if not module.ispkg:
                importlib.import_module(f"{package_name}.{module.name}")
    if kind in ENTRY_POINT_GROUPS:
        for point in entry_points(group=ENTRY_POINT_GROUPS[kind]):
            _load_plugin(point)


def _load_plugin(point: EntryPoint) -> None:
    try:
        point.load()
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"the installed plug-in {point.name} ({point.value}) cannot be imported ({error}); repair or uninstall it"
        ) from error


@cache
def parameters(cls: type) -> dict[str, inspect.Parameter]:
    """Return the constructor parameters of a registered class with their annotations resolved.

    Raises:
        UserError: the constructor takes *args or **kwargs, or leaves a parameter without annotation: neither can be a schema.
    """
    try:
        signature = inspect.signature(cls, eval_str=True)
    except NameError as error:
        raise UserError(
            f"{cls.__qualname__}: a constructor annotation cannot be read ({error}); import its type outside TYPE_CHECKING"
        ) from error
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or parameter.annotation is parameter.empty:
            raise UserError(
                f"{cls.__qualname__}: parameter {parameter.name!r} cannot be a recipe key; give every parameter a name and a type"
            )
    return dict(signature.parameters)


def marker(parameter: inspect.Parameter) -> _Injected | Component | None:
    """Return the marker in a parameter's `Annotated` metadata, if any."""
    for item in getattr(parameter.annotation, "__metadata__", ()):
        if isinstance(item, (_Injected, Component)):
            return item
    return None


def build(kind: str, section: dict[str, Any], **context: Any) -> Any:
    """Construct the object a validated section describes.

    Args:
        kind: registry kind.
        section: `{"name": registry name, parameter: value, ...}`, nested sections as dictionaries.
        context: values for `INJECTED` parameters; those a constructor does not declare are left out.

    Raises:
        UserError: unknown name or key, or a missing context value.
    """
    cls = lookup(kind, section["name"])
    declared = parameters(cls)
    arguments: dict[str, Any] = {}
    for key, value in section.items():
        if key == "name":
            continue
        if key not in declared:
            raise UserError(f'{kind} "{section["name"]}": unknown key "{key}"{did_you_mean(key, declared)}')
        arguments[key] = value
    for key, parameter in declared.items():
        mark = marker(parameter)
        if isinstance(mark, Component):
            arguments[key] = _build_component(mark, arguments.get(key), context)
        elif mark is INJECTED and key in context:
            arguments[key] = context[key]
        elif mark is INJECTED and parameter.default is parameter.empty:
            raise UserError(f'{kind} "{section["name"]}" needs {key!r} from the program; pass {key}=... to build()')
    return cls(**arguments)


def _build_component(mark: Component, value: Any, context: dict[str, Any]) -> Any:
    if mark.many:
        return [build(mark.kind, section, **context) for section in value or []]
    if value is None and mark.default is not None:
        value = {"name": mark.default, **mark.default_arguments}
    if mark.deferred:
        return None if value is None else Deferred(mark.kind, dict(value))
    return None if value is None else build(mark.kind, value, **context)
