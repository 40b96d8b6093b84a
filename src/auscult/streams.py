"""Named random streams from one seed.

Problem: with one generator for everything, a new augmentation shifts every later draw, and yesterday's run cannot be repeated.
Choice: every consumer asks for a stream by name (and keys such as epoch or utterance id); the name is hashed into the spawn
key of a `numpy.random.SeedSequence`, so streams are independent, do not depend on the order in which they are asked for, and
a new consumer changes no other. Rejected: `SeedSequence.spawn`, which numbers children in order, and `seed + constant`, whose
streams collide between seeds.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


class Streams:
    """Independent random streams of one seed, by name.

    >>> Streams(7).integer("initialisation") == Streams(7).integer("initialisation")
    True
    >>> Streams(7).integer("order", 1) == Streams(7).integer("order", 2)
    False
    """

    def __init__(self, seed: int) -> None:
        if seed < 0:
            raise ValueError(f"seed {seed} is negative; a seed is a whole number from 0")
        self.seed = seed

    def __repr__(self) -> str:
        return f"Streams(seed={self.seed})"

    def generator(self, name: str, *keys: int | str) -> np.random.Generator:
        """Return a fresh generator at the start of the stream of a name and keys.

        Args:
            name: the consumer, such as "order" or "augmentation".
            keys: what tells its streams apart, such as an epoch and an utterance id; 1 and "1" are different keys.
        """
        import numpy as np

        return np.random.Generator(np.random.PCG64(self._sequence(name, *keys)))

    def integer(self, name: str, *keys: int | str) -> int:
        """Return a seed in [0, 2**63) for a library with a generator of its own (torch)."""
        return int(self._sequence(name, *keys).generate_state(1, "uint64")[0]) >> 1

    def _sequence(self, name: str, *keys: int | str) -> np.random.SeedSequence:
        import numpy as np

        parts = [f"s{len(name)}:{name}"] + [f"s{len(key)}:{key}" if isinstance(key, str) else f"i:{int(key)}" for key in keys]
        digest = hashlib.blake2b("|".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()
        words = tuple(int.from_bytes(digest[start : start + 4], "little") for start in range(0, 16, 4))
        return np.random.SeedSequence(entropy=self.seed, spawn_key=words)
