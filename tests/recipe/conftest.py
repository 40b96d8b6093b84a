"""A small world of registered classes, so that recipes can be tested without audio, torch or any other room."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field

from auscult import registry
from auscult.registry import INJECTED, Component, register


class Bank:
    """A front-end."""

    def __init__(self, sample_rate: Annotated[int, INJECTED], bins: Annotated[int, Field(ge=1, le=512)] = 257) -> None:
        self.sample_rate, self.bins = sample_rate, bins


class Mask:
    """A feature augmentation."""

    def __init__(self, width: int = 5) -> None:
        self.width = width


class Toy:
    """A model.

    Args:
        hidden: width of a layer, in units
            that have no unit.
        rate: dropout.
    """

    SIZES: ClassVar[dict[str, Any]] = {
        "tiny": {"model": {"hidden": 8}, "optimizer": {"lr": 0.5}, "data": {"batch": {"seconds": 3.0}}},
        "small": {"model": {"hidden": 16, "front_end": {"bins": 80}}},
    }

    def __init__(
        self,
        front_end: Annotated[Bank, Component("front_end", default="bank")],
        masks: Annotated[list[Mask], Component("feature_augmentation", many=True)],
        hidden: Annotated[int, Field(ge=1)],
        decoder: Annotated[Bank | None, Component("front_end")] = None,
        kernel: tuple[int, int] = (3, 3),
        rate: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        mode: Literal["plain", "fancy"] = "plain",
        choice: int | str | None = None,
        table: dict[str, float] = {},  # noqa: B006
        causal: bool = False,
    ) -> None:
        self.front_end, self.masks, self.hidden, self.decoder, self.kernel = front_end, masks, hidden, decoder, kernel


class Plain:
    """A model without sizes."""

    def __init__(self) -> None:
        pass


class Recognition:
    """A task."""

    def __init__(self, alphabet: str = "english") -> None:
        pass


class Folder:
    """A corpus."""

    def __init__(self, path: str, language: str | None = None) -> None:
        pass


class Adam:
    """An optimizer."""

    def __init__(self, lr: Annotated[float, Field(gt=0)] = 1e-3, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        self.lr = lr


class Sgd:
    """Another optimizer."""

    def __init__(self, lr: Annotated[float, Field(gt=0)], momentum: float = 0.0) -> None:
        self.lr = lr


class Constant:
    """A schedule."""


class Speed:
    """An augmentation."""

    def __init__(self, factors: list[float]) -> None:
        self.factors = factors


class Diary:
    """A sink."""

    def __init__(self, folder: str = "logs") -> None:
        pass


@pytest.fixture
def toys() -> Iterator[None]:
    """Only these classes are registered."""
    with registry.scope(empty=True):
        register_toys()
        yield


@pytest.fixture(scope="module")
def module_toys() -> Iterator[None]:
    """The same for a whole module, as hypothesis wants it."""
    with registry.scope(empty=True):
        register_toys()
        yield


def register_toys() -> None:
    """Register the classes above."""
    register("front_end", "bank")(Bank)
    register("feature_augmentation", "mask")(Mask)
    register("model", "toy")(Toy)
    register("model", "plain")(Plain)
    register("task", "recognition")(Recognition)
    register("corpus", "folder")(Folder)
    register("optimizer", "adam")(Adam)
    register("optimizer", "sgd")(Sgd)
    register("schedule", "constant")(Constant)
    register("augmentation", "speed")(Speed)
    register("sink", "diary")(Diary)


@pytest.fixture
def values() -> dict[str, Any]:
    """The smallest valid recipe."""
    return {
        "task": {"name": "recognition"},
        "data": {"corpus": {"name": "folder", "path": "audio"}, "sample_rate": 16000},
        "model": {"name": "toy", "hidden": 4},
        "budget": {"updates": 10},
    }
