"""What a protocol says publicly of a defence, as types: the kind and the strength, never what was drawn.

Problem: a defence that is measured against an attacker who ignores it looks better than it is, and an attacker who reads a client's masks
looks better than any server can be. Choice: each defence declares what it did to every value in one of five forms, and an adaptive attack
knows these and the message. A defence that declares nothing is `Unknown`, and adaptive attacks say so instead of treating it as none.
Rejected: reading the sentences that tables show; a new defence would be attacked as if it were absent until somebody taught a parser.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shortened:
    """All values were multiplied by one positive factor that is not told."""


@dataclass(frozen=True)
class Noised:
    """Independent normal noise was added to every value.

    Args:
        deviation: of the noise, on the scale of what was sent.
    """

    deviation: float


@dataclass(frozen=True)
class Pruned:
    """Zeros were not sent, other values are exact.

    Args:
        largest: those sent are the largest magnitudes, so that no value that was not sent is above the least of them.
    """

    largest: bool


@dataclass(frozen=True)
class Signed:
    """Signs are exact, and magnitudes were replaced by one for each tensor."""


@dataclass(frozen=True)
class Rounded:
    """Values are whole steps of each tensor's largest magnitude.

    Args:
        levels: steps from zero to the largest magnitude.
        reach: how many steps a value can be off.
    """

    levels: int
    reach: float


@dataclass(frozen=True)
class Unknown:
    """Nothing is declared."""


Change = Shortened | Noised | Pruned | Signed | Rounded | Unknown
