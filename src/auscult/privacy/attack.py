"""The contract of an attack, and what it returns.

An attack is a registered class: its constructor's signature is its section of a recipe. It gets the victim's network, the message and the
knowledge, and nothing that holds the truth. Long attacks report each iteration to a `Watch`, which also carries what a resumed attack
continues from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from auscult.errors import UserError
from auscult.privacy.message import Knowledge, Leak
from auscult.privacy.victim import Victim


@dataclass(frozen=True)
class Reconstruction:
    """What an attack found; None is what it does not look for.

    Attributes:
        features: (frames, width) of each utterance, in the order of the knowledge; what an attack cannot order is in an order of its own.
        characters: characters that occur in the batch's transcripts.
        by_utterance: characters of each utterance, in the order of the features.
        symbols: length of each transcript, likewise.
        transcripts: of each utterance, likewise; None where none was found.
        proved: whether each transcript, put back through the network, predicts the message, and its nearest rivals do not.
        objective: value of what was minimised, as the attacker sees it; lower is better.
        gradients: how many gradients of the victim's loss were computed.
        notes: sentences about what did not hold (a test that failed, a rank that was too low).
        gave_up: why the attack itself says that its features are no reconstruction; None where it stands by them.
    """

    features: tuple[Tensor, ...] | None = None
    characters: frozenset[str] | None = None
    by_utterance: tuple[frozenset[str], ...] | None = None
    symbols: tuple[int, ...] | None = None
    transcripts: tuple[str | None, ...] | None = None
    proved: tuple[bool, ...] | None = None
    objective: float | None = None
    gradients: int = 0
    notes: tuple[str, ...] = ()
    gave_up: str | None = None


@dataclass
class Watch:
    """What a run hands to an attack: where to report, and where to continue.

    Attributes:
        random: of this attack on this utterance; all randomness comes from it.
        report: called with the iteration, how many there will be, and numbers to show and record.
        resume: what `save` was given last, or None at the start.
        save: called now and then with everything the attack needs to continue (tensors, numbers); may write a file, or do nothing.
    """

    random: np.random.Generator
    report: Callable[[int, int, Mapping[str, float]], None] = lambda iteration, total, values: None
    resume: Mapping[str, Any] | None = None
    save: Callable[[Mapping[str, Any]], None] = lambda state: None
    generator: torch.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(int(self.random.integers(2**62)))


class Attack(ABC):
    """Base of registered attacks."""

    @abstractmethod
    def run(self, victim: Victim, leak: Leak, knowledge: Knowledge, watch: Watch) -> Reconstruction:
        """Reconstruct what the message gives away.

        Raises:
            UserError: the message or the knowledge lacks what the attack needs.
        """

    def needed(self, leak: Leak, names: Iterable[str]) -> dict[str, Tensor]:
        """Return tensors of a message by name.

        Raises:
            UserError: one was not sent.
        """
        wanted = list(names)
        missing = [name for name in wanted if name not in leak.tensors]
        if missing:
            raise UserError(
                f"{type(self).__name__} needs the gradient of {missing[0]}, which was not sent; the message holds "
                f"{', '.join(sorted(leak.tensors)[:6])}: widen leak.layers"
            )
        return {name: leak.tensors[name] for name in wanted}
