"""What a changed message still says of the values before: bounds, noise, and whether their scale is known.

Problem: an attack that minimises the distance to a pruned, rounded or noisy message is drawn to zeros that were never sent and to steps
that nobody meant; the truth is not where its objective is least. Choice: the message is read through what its defences declare
(`auscult.privacy.declared`). Each value lies between two bounds (both of them the value where it is exact, infinite where nothing was
sent), under noise of a known deviation, perhaps up to one factor for all. The distance is how far a guess lies outside, so that **it is
zero at the truth**, and at whatever else the message cannot tell from it.

Not every chain of defences can be read backwards: after noise no zero is visible, and sums over clients hide what each of them pruned.
Those are refused by name, because a distance that ignored them would be the plain one under another name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from auscult.errors import UserError
from auscult.privacy.declared import Change, Noised, Pruned, Rounded, Shortened, Signed, Unknown
from auscult.privacy.message import Leak

REACH = 3.0
"""Deviations of the sum of squared noise above its mean that still count as noise; one message in a thousand has more."""


@dataclass(frozen=True)
class Evidence:
    """Bounds of values by parameter name.

    Attributes:
        sent: as received.
        low: least that each value can have been, on the scale of what was sent.
        high: most.
        told: 1 where something was sent of a value, else 0.
        deviation: of normal noise on every value, beyond the bounds.
        scaled: whether all of this is known up to one positive factor only.
    """

    sent: Mapping[str, Tensor]
    low: Mapping[str, Tensor]
    high: Mapping[str, Tensor]
    told: Mapping[str, Tensor]
    deviation: float = 0.0
    scaled: bool = False

    def distance(self, found: Mapping[str, Tensor]) -> Tensor:
        """Return the squared distance of values outside the evidence, over the squared norm of what was sent, (), float64.

        Differentiable in `found`. Where the scale is unknown, values are brought to the length of what was sent, because the factor of
        least squares would make bounds that begin at zero hold for zeros.

        Raises:
            UserError: what was sent is zero throughout.
        """
        power, count = sum(float(value.double().square().sum()) for value in self.sent.values()), self._count()
        if not power > 0:
            raise UserError("the message's gradient is zero in every layer that is to be matched; nothing can be matched with it")
        noise = count * self.deviation**2
        factor = self._factor(found, max(power - noise, 1e-3 * power)) if self.scaled else torch.ones((), dtype=torch.float64)
        outside = torch.zeros((), dtype=torch.float64)
        for name in self.sent:
            value = factor.to(found[name].dtype) * found[name]
            gap = torch.relu(value - self.high[name]) + torch.relu(self.low[name] - value)
            outside = outside + gap.square().sum().double()
        allowed = noise + REACH * math.sqrt(2 * count) * self.deviation**2
        return torch.relu(outside - allowed) / power

    def _count(self) -> int:
        return sum(value.numel() for value in self.sent.values())

    def _factor(self, found: Mapping[str, Tensor], power: float) -> Tensor:
        own = torch.stack([(found[name] * self.told[name]).square().sum().double() for name in self.sent]).sum()
        return torch.sqrt(power / own.clamp_min(1e-60))


def obstacle(leak: Leak) -> str | None:
    """Return why a message's defences cannot be read backwards, or None where they can."""
    others = [change for change in leak.changes if not isinstance(change, Shortened)]
    if any(isinstance(change, Unknown) for change in others):
        return "a defence does not declare what it does to values"
    if len(others) > 1:
        return f"{' and then '.join(_name(one) for one in others)} values hide each other"
    if others and leak.clients > 1 and not isinstance(others[0], Noised):
        return f"a sum over {leak.clients} clients hides which values of each were {_name(others[0])}"
    if others and isinstance(others[0], Noised) and isinstance(leak.changes[-1], Shortened):
        return "values were shortened after noise was added, so that its deviation is unknown"
    return None


def weigh(leak: Leak, names: Iterable[str], dtype: torch.dtype = torch.float64) -> Evidence:
    """Read a message through what its defences declare.

    Args:
        leak: the message; without defences its values are exact.
        names: parameters that were sent.
        dtype: of all tensors.

    Raises:
        UserError: its defences cannot be read backwards.
    """
    reason = obstacle(leak)
    if reason is not None:
        raise UserError(f"adaptive attacks cannot read this message ({', '.join(leak.defences)}): {reason}; use one that does not adapt")
    sent = {name: leak.tensors[name].to(dtype) for name in names}
    shortened = any(isinstance(change, Shortened) for change in leak.changes)
    change = next((one for one in leak.changes if not isinstance(one, Shortened)), None)
    told = {name: (value != 0).to(dtype) if isinstance(change, Pruned) else torch.ones_like(value) for name, value in sent.items()}
    bounds = {name: _bounds(value, change, leak) for name, value in sent.items()}
    deviation = change.deviation * math.sqrt(leak.clients) if isinstance(change, Noised) else 0.0
    low, high = ({name: pair[side] for name, pair in bounds.items()} for side in (0, 1))
    return Evidence(sent, low, high, told, deviation, shortened or isinstance(change, Signed))


def _bounds(value: Tensor, change: Change | None, leak: Leak) -> tuple[Tensor, Tensor]:
    """Return least and most of what each value can have been."""
    far = torch.full_like(value, math.inf)
    if isinstance(change, Pruned):
        if change.largest:
            least = min(float(one[one != 0].abs().min()) for one in leak.tensors.values() if bool((one != 0).any()))
            far = torch.full_like(value, least)
        return torch.where(value != 0, value, -far), torch.where(value != 0, value, far)
    if isinstance(change, Signed):
        return torch.where(value > 0, 0.0, torch.where(value < 0, -far, 0.0)), torch.where(value < 0, 0.0, torch.where(value > 0, far, 0.0))
    if isinstance(change, Rounded):
        step = float(value.abs().max()) / change.levels
        return value - change.reach * step, value + change.reach * step
    return value, value


def _name(change: Change) -> str:
    return type(change).__name__.lower()
