"""What a private run has spent, by Opacus' accountants, and the noise that a wanted epsilon needs.

Problem: an epsilon is printed by whoever multiplies the right numbers, whether or not the run took that many updates at that rate. Choice:
the account counts updates where they are taken, its history travels in the checkpoint, and a checkpoint of another rate or noise is
refused. An update that was refused afterwards counts, because the decision to refuse it has seen the data. Two accountants are offered,
both upper bounds: "prv" (Gopi, Lee and Wutschitz 2021, arXiv:2106.02848) and "rdp" (Mironov 2017). Rejected: "gdp", a central limit
theorem and no bound.

All numbers are for neighbours that differ by the presence of one utterance, the number of utterances taken as known.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from auscult.errors import UserError
from auscult.training.dp_gradients import INSTALL

Accountant = Literal["prv", "rdp"]
LEAST_NOISE, MOST_NOISE = 0.2, 500.0
PRECISION, STRIDE = 1.005, 1.2
"""Ratio to which the noise for a wanted epsilon is found, from above; and that of the steps in which it is looked for."""


def epsilon_spent(noise_multiplier: float, rate: float, updates: int, delta: float, accountant: Accountant = "prv") -> float:
    """Return epsilon of so many updates, an upper bound.

    Args:
        noise_multiplier: deviation of the noise on the sum of clipped gradients, in clipping norms.
        rate: probability with which an utterance joins a batch.
        updates: 0 or more.
        delta: of the epsilon.
        accountant: "prv" is within 0.01 of the truth.

    Raises:
        UserError: Opacus is not installed, or finds no bound.

    >>> round(epsilon_spent(1.0, 1.0, 1, 1e-5), 1)  # the exact value is 4.377
    4.4
    >>> round(epsilon_spent(1.0, 0.05, 300, 1e-5, "rdp"), 2)
    6.46
    """
    if updates == 0:
        return 0.0
    counting = _accountant(accountant)
    counting.history = [(noise_multiplier, rate, updates)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = float(counting.get_epsilon(delta))
        except (ValueError, RuntimeError, MemoryError) as error:
            raise UserError(
                f"differential_privacy: the {accountant} accountant finds no epsilon for noise {noise_multiplier:g}, rate {rate:g}, "
                f"{updates} updates, delta {delta:g} ({error}); use more noise"
            ) from error
    if not math.isfinite(found):
        raise UserError(f"differential_privacy: noise {noise_multiplier:g} has no finite epsilon after {updates} updates; use more noise")
    return found


def noise_for(epsilon: float, rate: float, updates: int, delta: float, accountant: Accountant = "prv") -> float:
    """Return the least noise multiplier, to 0.5 %, whose epsilon after so many updates is not above the wanted one.

    "prv" takes seconds; what it needs lies just below what "rdp" needs, so the search starts there.

    Raises:
        UserError: it would be outside 0.2 to 500.

    >>> noise = noise_for(8.0, 1.0, 1, 1e-5, "rdp")
    >>> 7.9 < epsilon_spent(noise, 1.0, 1, 1e-5, "rdp") <= 8.0
    True
    """

    def enough(noise: float) -> bool:
        return epsilon_spent(noise, rate, updates, delta, accountant) <= epsilon

    high = noise_for(epsilon, rate, updates, delta, "rdp") if accountant == "prv" else 1.0
    while not enough(high):
        high *= 2
        if high > MOST_NOISE:
            raise UserError(f"differential_privacy.epsilon: {epsilon:g} at delta {delta:g} takes noise of more than {MOST_NOISE:g} x clip")
    low = high / STRIDE
    while enough(low):
        low, high = low / STRIDE, low
        if high < LEAST_NOISE:
            raise UserError(
                f"differential_privacy.epsilon: {epsilon:g} would be reached with noise below {LEAST_NOISE:g} times clip, which protects "
                "nobody; give a smaller epsilon"
            )
    while high / low > PRECISION:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if enough(middle) else (middle, high)
    return math.ceil(high * 1e4) / 1e4


def _accountant(name: Accountant) -> Any:
    try:
        from opacus.accountants import create_accountant
    except ImportError as error:
        raise UserError(INSTALL) from error
    return create_accountant(name)


@dataclass(frozen=True)
class PrivacyStatement:
    """What may be said of the weights after so many updates.

    Attributes:
        epsilon: upper bound.
        delta: of the epsilon.
        noise_multiplier: deviation of the noise on the sum of clipped gradients, in clipping norms.
        clip: greatest norm of one utterance's gradient.
        rate: probability with which an utterance joined a batch.
        updates: taken.
        accountant: how they were added up.
    """

    epsilon: float
    delta: float
    noise_multiplier: float
    clip: float
    rate: float
    updates: int
    accountant: Accountant

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, with what the numbers are about."""
        return {**asdict(self), "unit": "utterance", "neighbours": "one utterance added or removed", "sampling": "poisson"}


def sentence(record: Mapping[str, Any]) -> str:
    """Return a statement's record in one sentence."""
    return (
        f"epsilon {record['epsilon']:.3g} at delta {record['delta']:g} per {record['unit']} after {record['updates']} updates (noise "
        f"{record['noise_multiplier']:g} x clip {record['clip']:g}, batches drawn at rate {record['rate']:.4g}, {record['accountant']}"
        + (f"; noise from {record['noise_from']})" if "noise_from" in record else ")")
    )


class PrivacyAccount:
    """Counts the updates of one run.

    Args:
        noise_multiplier: of every update.
        rate: of every update.
        clip: of every update.
        delta: of the statements.
        accountant: of the statements.
    """

    def __init__(self, noise_multiplier: float, rate: float, clip: float, delta: float, accountant: Accountant) -> None:
        self.noise_multiplier, self.rate, self.clip, self.delta = noise_multiplier, rate, clip, delta
        self.accountant: Accountant = accountant
        self.updates = 0

    def spend(self) -> None:
        """Count one update; to be called before anything of it is known."""
        self.updates += 1

    def statement(self, updates: int | None = None) -> PrivacyStatement:
        """Return what may be said now, or after so many updates in all."""
        count = self.updates if updates is None else updates
        epsilon = epsilon_spent(self.noise_multiplier, self.rate, count, self.delta, self.accountant)
        return PrivacyStatement(epsilon, self.delta, self.noise_multiplier, self.clip, self.rate, count, self.accountant)

    def state_dict(self) -> dict[str, Any]:
        """Return the history as Opacus writes it: noise, rate and number of updates."""
        return {"history": [[self.noise_multiplier, self.rate, self.updates]]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`.

        Raises:
            UserError: the updates so far had another noise or rate.
        """
        [[noise, rate, updates]] = state["history"]
        if (noise, rate) != (self.noise_multiplier, self.rate):
            raise UserError(
                f"the checkpoint's updates had noise {noise:g} at rate {rate:g}, this run {self.noise_multiplier:g} at {self.rate:g}; "
                "their epsilons do not add up under one statement, start a new run"
            )
        self.updates = int(updates)
