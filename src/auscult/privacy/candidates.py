"""Distances of many guesses at once, for attacks that only compare.

Problem: a search without derivatives asks for the distance of hundreds of guesses at each step, one backward pass each, and the loops over
time of a recurrent layer cost as much for one guess as for sixty. Choice: where only the output layer is matched, one forward pass of all
guesses side by side gives the layer's inputs h and, by a backward pass through CTC alone, the slopes d of its outputs; the gradient of
each guess is the sum of d h^T over its own frames. Nothing says that a network treats a batch as it treats each of its items (batch
statistics in training mode, padding that leaks), so this is not assumed: the first use compares both ways on random guesses, and
falls back to one guess at a time where they differ.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from auscult.privacy.matching import Matching
from auscult.privacy.search import starting_point

LAYER = "fc"
AT_ONCE = 64
"""Guesses in one forward pass."""
SAME = {torch.float32: 1e-3, torch.float64: 1e-8}
"""Largest relative difference between the two ways."""


class Candidates:
    """Distances of guesses.

    Args:
        matching: of the attack.
        generator: of the guesses on which the two ways are compared.

    Attributes:
        together: whether guesses are computed side by side.
    """

    def __init__(self, matching: Matching, generator: torch.Generator) -> None:
        self.matching = matching
        self._axis = 0
        self.together = self._possible() and self._agrees(generator)

    def distances(self, guesses: Tensor) -> list[float]:
        """Return the distance of each guess: (guesses, utterances, frames, width)."""
        if not self.together:
            return [self.matching.value(guess) for guess in guesses]
        found: list[float] = []
        for part in torch.split(guesses, AT_ONCE):
            messages = self._side_by_side(part)
            found += [float(self.matching.compared({name: value[index] for name, value in messages.items()})) for index in range(len(part))]
        return found

    def _possible(self) -> bool:
        leak, model = self.matching.leak, self.matching.victim.model
        wanted = set(self.matching.target) <= {f"{LAYER}.weight", f"{LAYER}.bias"}
        return leak.kind == "gradient" and wanted and isinstance(getattr(model, LAYER, None), nn.Linear)

    def _agrees(self, generator: torch.Generator) -> bool:
        guesses = torch.stack([starting_point("gaussian", self.matching, generator) for _ in range(3)])
        expected = [self.matching.message(guess) for guess in guesses]
        for axis in (0, 1):  # networks differ in whether utterances or frames come first
            self._axis = axis
            found = self._side_by_side(guesses)
            worst = 0.0
            for name, values in found.items():
                true = torch.stack([message[name] for message in expected])
                if true.shape != values.shape:
                    return False
                worst = max(worst, float((values - true).norm() / true.norm().clamp_min(1e-30)))
            if worst <= SAME[self.matching.dtype]:
                return True
        return False

    def _side_by_side(self, guesses: Tensor) -> dict[str, Tensor]:
        """Return what each guess would have sent, by name: (guesses, *shape of the parameter)."""
        matching, count = self.matching, len(guesses)
        layer = getattr(matching.victim.model, LAYER)
        seen: list[Tensor] = []

        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            seen.extend((inputs[0].detach(), output))

        weights = {name: value.detach() for name, value in matching.weights.items()}
        weights[f"{LAYER}.weight"] = weights[f"{LAYER}.weight"].requires_grad_()  # so that the outputs have a gradient, and nothing below
        handle = layer.register_forward_hook(keep)
        try:
            loss = matching.victim.loss(
                guesses.flatten(0, 1).detach(), matching.lengths.repeat(count), matching.tokens.repeat(count, 1),
                matching.token_lengths.repeat(count), weights,
            )  # fmt: skip
        finally:
            handle.remove()
        matching.passes += count
        # a mean over all guesses and clients; each client's own mean is over its batch
        factor = 1.0 if matching.leak.reduction == "sum" else float(count * matching.leak.clients)
        slopes = factor * torch.autograd.grad(loss, seen[1])[0]
        inputs, slopes = (self._by_guess(value, count) for value in (seen[0], slopes))
        found = {f"{LAYER}.weight": torch.einsum("gtc,gth->gch", slopes, inputs), f"{LAYER}.bias": slopes.sum(1)}
        return {name: found[name] for name in matching.target}

    def _by_guess(self, values: Tensor, count: int) -> Tensor:
        """(utterances of all guesses, frames, size), or frames first -> (guesses, frames of all its utterances, size)."""
        first = values if self._axis == 0 else values.transpose(0, 1)
        if first.shape[0] % count:  # the wrong axis
            return first.new_zeros(count, 1, values.shape[2])
        return first.reshape(count, -1, values.shape[2])
