"""The distance between the message and what a guess of the features would have sent, and its gradient by the features.

Problem: the message is itself a gradient, so descending on it takes a second derivative of the client's loss. Two ways lead there, and a
published attack that trusted one of them could not tell a bad optimum from a bad derivative. Choice: both, and a check of one against the
other (`agreement`).

- Exact: differentiate the client's computation twice. Memory grows with the layers matched and with local steps.
- Pearlmutter: for r = dD/dg held fixed, d<r, g(x)>/dx is the derivative of the features' ordinary gradient when the *parameters* move along
  r: (grad_x L(theta + h r) - grad_x L(theta - h r)) / 2h, two ordinary backward passes and nothing differentiated twice (Pearlmutter
  1994). Through k local steps the same holds backwards in time: the cotangent of step k, moved by its own Hessian product (the same
  two passes, by the parameters), is that of step k - 1.

A message of several clients is the sum of what each would send, each from a batch of its own, because losses are means over a client's
batch; local steps are the client's arithmetic in the client's order, so that the truth is matched to rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from auscult.errors import UserError
from auscult.privacy.evidence import Evidence, weigh
from auscult.privacy.message import Knowledge, Leak
from auscult.privacy.objectives import GradientDistance
from auscult.privacy.victim import Victim

Method = Literal["exact", "pearlmutter"]
Precision = Literal["float32", "float64"]
STEP: dict[torch.dtype, float] = {torch.float32: 1e-3, torch.float64: 1e-4}
"""Length of a Pearlmutter step, as a share of the norm of the parameters that move."""


class Matching:
    """One message to match: what was sent, and how a guess is turned into what would have been.

    Args:
        victim: accepted the message; it is copied.
        leak: the message.
        target: tensors of the message to match, by name.
        knowledge: lengths and transcripts.
        distance: of gradients.
        precision: of all arithmetic.
        coordinates: share of the target's largest magnitudes, over all tensors together, that is compared; the others are not looked at.

    Attributes:
        lengths: (utterances,) int64, of all clients in order.
        shape: of the unknowns, (utterances, frames, width).
        dtype: of the unknowns.
        passes: backward passes through the victim so far.

    Raises:
        UserError: lengths or transcripts are not known, or are not of the message's number of utterances; or the objective is "declared"
            and the message's defences cannot be read backwards.
    """

    def __init__(
        self,
        victim: Victim,
        leak: Leak,
        target: Mapping[str, Tensor],
        knowledge: Knowledge,
        distance: GradientDistance,
        precision: Precision = "float32",
        coordinates: float = 1.0,
    ) -> None:
        self.dtype = torch.float64 if precision == "float64" else torch.float32
        self.victim = copy.deepcopy(victim)
        self.victim.model.to(self.dtype)
        self.leak, self.distance, self.passes = leak, distance, 0
        self.lengths, self.token_lengths, self.tokens = _known(leak, knowledge)
        self.shape = (len(self.lengths), int(self.lengths.max()), self.victim.features.width)
        self.weights = {name: value.detach() for name, value in self.victim.parameters.items()}
        self.target = {name: value.to(self.dtype) for name, value in target.items()}
        self.evidence: Evidence | None = weigh(leak, target, self.dtype) if distance.kind == "declared" else None
        if self.evidence is not None and coordinates < 1:
            raise UserError('coordinates: the objective "declared" looks at every value that was sent; leave coordinates at 1')
        self.kept = _largest(self.target, coordinates) if coordinates < 1 else None
        if self.kept is not None:
            self.target = {name: value * self.kept[name] for name, value in self.target.items()}

    def message(self, frames: Tensor, graph: bool = False) -> dict[str, Tensor]:
        """Return what clients with a guess (utterances, frames, width) would have sent; with `graph`, differentiable."""
        return self._message(frames if graph else frames.detach(), graph)

    def value(self, frames: Tensor) -> float:
        """Return the distance of one guess (utterances, frames, width)."""
        return float(self.compared(self.message(frames)))

    def gradient(self, frames: Tensor, method: Method) -> tuple[float, Tensor]:
        """Return the distance and its gradient by the frames (utterances, frames, width).

        Raises:
            UserError: the gradient is not finite.
        """
        found = self._exact(frames) if method == "exact" else self._pearlmutter(frames, STEP[self.dtype])
        if not bool(torch.isfinite(found[1]).all()):
            raise UserError(
                "gradient matching: the gradient by the features is not finite, as where the guess's own gradient is zero; "
                "start from gaussian, or lower the rate"
            )
        return found

    def agreement(self, frames: Tensor, step: float | None = None) -> float:
        """Return the norm of Pearlmutter's gradient minus the exact one, as a share of the exact one's norm.

        Args:
            frames: where, (utterances, frames, width).
            step: share of the parameters' norm, instead of `STEP`.
        """
        exact, near = self._exact(frames)[1], self._pearlmutter(frames, STEP[self.dtype] if step is None else step)[1]
        return float((near - exact).norm() / exact.norm().clamp_min(torch.finfo(self.dtype).tiny))

    def compared(self, message: Mapping[str, Tensor]) -> Tensor:
        """Return the distance of a message of the target's names and shapes, (), float64."""
        if self.evidence is not None:
            return self.evidence.distance(message)
        if self.kept is not None:
            message = {name: message[name] * kept for name, kept in self.kept.items()}
        return self.distance(message, self.target)

    def _exact(self, frames: Tensor) -> tuple[float, Tensor]:
        unknown = frames.detach().requires_grad_()
        value = self.compared(self._message(unknown, graph=True))
        self.passes += self.leak.clients * self.leak.steps
        found = torch.autograd.grad(value, unknown, allow_unused=True, materialize_grads=True)[0]
        return float(value.detach()), found.detach()

    def _pearlmutter(self, frames: Tensor, step: float) -> tuple[float, Tensor]:
        paths: list[list[dict[str, Tensor]]] = []
        message = self._message(frames.detach(), graph=False, paths=paths)
        leaves = {name: value.requires_grad_() for name, value in message.items()}
        value = self.compared(leaves)
        cotangent = dict(zip(leaves, torch.autograd.grad(value, list(leaves.values())), strict=True))
        found = torch.zeros_like(frames)
        for client, path in enumerate(paths):
            rows, longest = self._rows(client)
            found[rows, :longest] += self._backwards(frames.detach()[rows, :longest], client, path, cotangent, step)
        return float(value.detach()), found

    def _backwards(
        self, frames: Tensor, client: int, path: Sequence[dict[str, Tensor]], cotangent: dict[str, Tensor], step: float
    ) -> Tensor:
        """Return d <cotangent, message of a client> / d frames; `path` holds the weights before each step."""
        factor = 1.0 if self.leak.kind == "gradient" else -float(self.leak.rate or 0.0)
        found = torch.zeros_like(frames)
        for number in reversed(range(len(path))):
            by_frames, by_weights = self._along(frames, client, path[number], cotangent, step, moving=number > 0)
            found += factor * by_frames
            if number > 0:  # a step's own Hessian product changes what the steps before it are worth
                cotangent = {name: cotangent.get(name, 0.0) + factor * value for name, value in by_weights.items()}
        return found

    def _along(
        self, frames: Tensor, client: int, weights: dict[str, Tensor], direction: dict[str, Tensor], step: float, moving: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return derivatives, along a direction of the weights, of the gradients by frames and (where `moving`) by all weights."""
        size = float(torch.stack([value.double().square().sum() for value in direction.values()]).sum().sqrt())
        reach = float(torch.stack([weights[name].double().square().sum() for name in direction]).sum().sqrt())
        if size == 0.0:
            return torch.zeros_like(frames), {name: torch.zeros_like(value) for name, value in weights.items()}
        width = step * max(reach, 1e-12) / size
        sides = []
        for sign in (1.0, -1.0):
            moved = {name: value + sign * width * direction[name] if name in direction else value for name, value in weights.items()}
            unknown = frames.detach().requires_grad_()
            moved = {name: value.detach().requires_grad_(moving) for name, value in moved.items()}
            inputs = [unknown, *moved.values()] if moving else [unknown]
            self.passes += 1
            sides.append(torch.autograd.grad(self._loss(unknown, client, moved), inputs, allow_unused=True, materialize_grads=True))
        ahead, behind = sides
        slopes = [(first - second) / (2 * width) for first, second in zip(ahead, behind, strict=True)]
        return slopes[0], dict(zip(weights, slopes[1:], strict=True)) if moving else {}

    def _message(self, frames: Tensor, graph: bool, paths: list[list[dict[str, Tensor]]] | None = None) -> dict[str, Tensor]:
        """Return what would have been sent; with `paths`, also the weights before each step of each client."""
        total: dict[str, Tensor] = {}
        for client in range(self.leak.clients):
            rows, longest = self._rows(client)
            part, path = self._client(frames[rows, :longest], client, graph)
            if paths is not None:
                paths.append(path)
            total = {name: total[name] + value for name, value in part.items()} if total else part
        return total

    def _client(self, frames: Tensor, client: int, graph: bool) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
        if self.leak.kind == "gradient":
            return self._slopes(frames, client, self.weights, list(self.target), graph), [self.weights]
        weights, path = self.weights, []
        for number in range(self.leak.steps):
            path.append(weights)
            # the last step moves nothing that is not sent
            names = list(self.target) if number == self.leak.steps - 1 else list(weights)
            slopes = self._slopes(frames, client, weights, names, graph)
            weights = {
                name: value - float(self.leak.rate or 0.0) * slopes[name] if name in slopes else value for name, value in weights.items()
            }
        return {name: weights[name] - self.weights[name] for name in self.target}, path

    def _slopes(self, frames: Tensor, client: int, weights: Mapping[str, Tensor], names: list[str], graph: bool) -> dict[str, Tensor]:
        """Return gradients of a client's loss by the named weights."""
        used = dict(weights)
        for name in names:
            if not used[name].requires_grad:
                used[name] = used[name].detach().requires_grad_()
        self.passes += 1
        loss = self._loss(frames, client, used)
        found = torch.autograd.grad(loss, [used[name] for name in names], create_graph=graph, allow_unused=True, materialize_grads=True)
        return dict(zip(names, found, strict=True))

    def _loss(self, frames: Tensor, client: int, weights: Mapping[str, Tensor]) -> Tensor:
        rows, _ = self._rows(client)
        return self.victim.loss(frames, self.lengths[rows], self.tokens[rows], self.token_lengths[rows], weights)

    def _rows(self, client: int) -> tuple[slice, int]:
        """Return the utterances of a client, and the frames of the longest: a client's batch is padded to its own longest."""
        rows = slice(client * self.leak.batch, (client + 1) * self.leak.batch)
        return rows, int(self.lengths[rows].max())


def _known(leak: Leak, knowledge: Knowledge) -> tuple[Tensor, Tensor, Tensor]:
    """Return frames (utterances,), symbols (utterances,) and tokens (utterances, symbols), padded with -1."""
    frames, rows = knowledge.needed_frames("gradient matching"), knowledge.needed_tokens("gradient matching")
    count = leak.clients * leak.batch
    if len(frames) != count:
        raise UserError(f"gradient matching: the message is of {count} utterances and the knowledge of {len(frames)}; they must agree")
    tokens = torch.full((count, max(map(len, rows))), -1, dtype=torch.int64)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = torch.tensor(row, dtype=torch.int64)
    return torch.tensor(frames), torch.tensor([len(row) for row in rows]), tokens


def _largest(target: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return 1 where a magnitude is among the largest share of all tensors together, else 0."""
    if not share > 0:
        raise UserError(f"coordinates: expected a share above 0 and up to 1, got {share}")
    magnitudes = torch.cat([value.abs().reshape(-1) for value in target.values()])
    least = torch.kthvalue(magnitudes, max(1, len(magnitudes) - max(1, round(share * len(magnitudes))) + 1)).values
    return {name: (value.abs() >= least).to(value.dtype) for name, value in target.items()}
