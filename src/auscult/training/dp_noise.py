"""Where a private run's chance comes from: the recipe's seed, or a key that only the run has.

Problem: epsilon holds for whoever does not know the noise. A seed in a recipe makes a run repeatable, and its noise known to everybody who
has the recipe; noise straight from the operating system cannot be resumed to the same bits. Choice: two sources with one face, both pure
functions of a position. `SeededChance` uses the run's named streams. `SecretChance` draws a key of 256 bits once from the operating
system, expands it with SHAKE-256, and keeps it in the run's last checkpoint and nowhere else. Rejected: a generator of the operating
system for every number, which forgets; numpy's generators under a secret seed, which can be computed back from their output.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from auscult.streams import Streams

Floats = NDArray[np.float64]


class Chance(Protocol):
    """Noise and lots of a private run, each a function of its position."""

    def normal(self, update: int, count: int) -> Floats:
        """Return (count,) standard normal numbers of an update, from 0."""

    def lots(self, epoch: int, batch: int, count: int) -> Floats:
        """Return (count,) numbers uniform in [0, 1)."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""


class SeededChance:
    """Chance from the recipe's seed: who knows the recipe knows the noise."""

    def __init__(self, streams: Streams) -> None:
        self.streams = streams

    def normal(self, update: int, count: int) -> Floats:
        """Return (count,) standard normal numbers of an update, from 0."""
        return self.streams.generator("private noise", update).standard_normal(count)

    def lots(self, epoch: int, batch: int, count: int) -> Floats:
        """Return (count,) numbers uniform in [0, 1)."""
        return self.streams.generator("lots", epoch, batch).random(count)

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the seed is in the recipe."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """There is nothing to take."""


class SecretChance:
    """Chance from a key that the operating system gave."""

    def __init__(self) -> None:
        self.key = secrets.token_bytes(32)

    def normal(self, update: int, count: int) -> Floats:
        """Return (count,) standard normal numbers of an update, from 0, by the inverse of their distribution."""
        found: Floats = ndtri(self._uniform(f"noise {update}", count) + 2.0**-54)  # never 0
        return found

    def lots(self, epoch: int, batch: int, count: int) -> Floats:
        """Return (count,) numbers uniform in [0, 1)."""
        return self._uniform(f"lots {epoch} {batch}", count)

    def _uniform(self, position: str, count: int) -> Floats:
        words = np.frombuffer(hashlib.shake_256(self.key + position.encode()).digest(8 * count), dtype="<u8")
        return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def state_dict(self) -> dict[str, Any]:
        """Return the key."""
        return {"key": self.key.hex()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a key."""
        self.key = bytes.fromhex(state["key"])
