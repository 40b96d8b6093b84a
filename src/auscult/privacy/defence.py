"""The contract of a defence: a transform of the message a client sends.

A defence acts on the tensors of one client's message before they leave (and before any sum); the message says its name, because protocols
are public and an adaptive attack knows them. What such an attack may use is declared as types (`auscult.privacy.declared`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
from torch import Tensor

from auscult.privacy.declared import Change, Unknown


class Defence(ABC):
    """Base of registered defences."""

    @abstractmethod
    def transform(self, tensors: Mapping[str, Tensor], random: np.random.Generator) -> dict[str, Tensor]:
        """Return the tensors that are sent instead, same names and shapes; the given ones are not changed."""

    @abstractmethod
    def describe(self) -> str:
        """Return name and strength in a few words, for tables."""

    def declare(self) -> tuple[Change, ...]:
        """Return what was done to every value, in order, as far as the protocol tells it: strengths, and nothing that was drawn."""
        return (Unknown(),)
