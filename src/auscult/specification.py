"""The facts that a model, its checkpoint and every export of it must agree on.

A task writes a `Specification`, a model is built from it, and the checkpoint carries it; it is the only thing the two share,
so a model can be loaded and served without the recipe that trained it (the idea of pyannote's `Specifications`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Specification:
    """What a trained model is for.

    Attributes:
        task: registry name of the task.
        sample_rate: of the samples the model takes, in hertz.
        labels: ordered output labels (characters for recognition, blank excluded; speakers for verification).
        blank: index of the CTC blank among the model's output classes, where there is one.
        sources: separated sources or simultaneous speakers, where it applies.
    """

    task: str
    sample_rate: int
    labels: tuple[str, ...] = ()
    blank: int | None = None
    sources: int | None = None

    @property
    def classes(self) -> int:
        """Number of output classes, the blank included."""
        return len(self.labels) + (self.blank is not None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for checkpoints and export metadata."""
        return {**asdict(self), "labels": list(self.labels)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Specification:
        """Read back what `to_dict` wrote."""
        return cls(**{**values, "labels": tuple(values["labels"])})
