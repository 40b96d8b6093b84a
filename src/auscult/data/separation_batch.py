"""The batch of separation: mixtures and the signals to be heard in them.

Problem: a target of another recording, or one sample late, trains without complaint; the loss merely stays high. A mixture that is not
the sum of its layers loses noise silently. Choice: one record whose construction compares shapes, types and lengths and says in words what
is wrong. Items of different length are padded, and `of_one_length` takes the batch apart again, because separation models know no masks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from auscult.data.layers import Example
from auscult.errors import UserError


@dataclass(frozen=True)
class SeparationBatch:
    """Mixtures with their sources.

    Attributes:
        mixture: (batch, time) float32, zero-padded.
        sources: (batch, source, time) float32, zero-padded.
        lengths: (batch,) int64 true samples, at least 1.
        variants: which layers each mixture has kept.
        ids: of the mixtures, unique.

    Raises:
        UserError: at construction, where shapes, types or lengths do not fit; the message names the field and the mixture.
    """

    mixture: Tensor
    sources: Tensor
    lengths: Tensor
    variants: tuple[str, ...]
    ids: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", tuple(self.ids))
        object.__setattr__(self, "variants", tuple(self.variants))
        for name, dimensions, dtype, layout in (
            ("mixture", 2, torch.float32, "(batch, time)"),
            ("sources", 3, torch.float32, "(batch, source, time)"),
            ("lengths", 1, torch.int64, "(batch,)"),
        ):
            value = getattr(self, name)
            if value.dim() != dimensions or value.dtype != dtype or value.shape[0] != len(self.ids):
                raise UserError(
                    f"SeparationBatch.{name}: expected {dtype} {layout} with batch = {len(self.ids)} (number of ids), got {value.dtype} "
                    f"{tuple(value.shape)}"
                )
        if self.sources.shape[2] != self.mixture.shape[1]:
            raise UserError(
                f"SeparationBatch: mixture has {self.mixture.shape[1]} samples, sources have {self.sources.shape[2]}; they must be equal"
            )
        if not self.ids or len(set(self.ids)) < len(self.ids) or len(self.variants) != len(self.ids):
            raise UserError(f"SeparationBatch: expected mixtures with unique ids and a variant each, got {self.ids} and {self.variants}")
        wrong = (self.lengths < 1) | (self.lengths > self.mixture.shape[1])
        if bool(wrong.any()):
            names = [self.ids[int(index)] for index in wrong.nonzero()[:3, 0]]
            raise UserError(f"SeparationBatch.lengths: expected 1 to {self.mixture.shape[1]}, not so for {', '.join(names)}")

    @classmethod
    def pad(cls, examples: Sequence[Example], variants: Sequence[str], ids: Sequence[str]) -> SeparationBatch:
        """Build a batch from examples of any length and the same number of sources.

        >>> one = Example(np.ones(3, np.float32), np.ones((2, 3), np.float32))
        >>> SeparationBatch.pad([one], ["C"], ["a"]).sources.shape
        torch.Size([1, 2, 3])
        """
        counts = {len(one.sources) for one in examples}
        if len(counts) != 1:
            raise UserError(f"SeparationBatch: mixtures of one batch have {sorted(counts)} sources; expected one and the same number")
        longest = max(len(one.mixture) for one in examples)
        mixture = np.zeros((len(examples), longest), dtype=np.float32)
        sources = np.zeros((len(examples), counts.pop(), longest), dtype=np.float32)
        for row, one in enumerate(examples):
            if one.sources.shape[1] != len(one.mixture):
                raise UserError(f"{ids[row]}: the mixture has {len(one.mixture)} samples, its sources {one.sources.shape[1]}")
            mixture[row, : len(one.mixture)] = one.mixture
            sources[row, :, : len(one.mixture)] = one.sources
        lengths = torch.tensor([len(one.mixture) for one in examples], dtype=torch.int64)
        return cls(torch.from_numpy(mixture), torch.from_numpy(sources), lengths, tuple(variants), tuple(ids))

    def to(self, device: torch.device | str) -> SeparationBatch:
        """Return the batch with its tensors on a device."""
        moved = {name: getattr(self, name).to(device, non_blocking=True) for name in ("mixture", "sources", "lengths")}
        return replace(self, **moved)

    def select(self, indices: Sequence[int]) -> SeparationBatch:
        """Return the batch of some mixtures, padding trimmed to the longest of them.

        Raises:
            UserError: no index, or an index outside the batch.
        """
        chosen = [int(index) for index in indices]
        if not chosen or min(chosen) < 0 or max(chosen) >= len(self.ids):
            raise UserError(f"SeparationBatch.select: expected indices from 0 to {len(self.ids) - 1}, got {chosen}")
        rows = torch.tensor(chosen, device=self.mixture.device)
        lengths = self.lengths[rows]
        longest = int(lengths.max())
        return SeparationBatch(
            self.mixture[rows, :longest],
            self.sources[rows, :, :longest],
            lengths,
            tuple(self.variants[index] for index in chosen),
            tuple(self.ids[index] for index in chosen),
        )

    def of_one_length(self) -> Iterator[tuple[list[int], SeparationBatch]]:
        """Yield parts of the batch whose items have one length, without padding, with their places in this batch."""
        for length in sorted(set(self.lengths.tolist())):
            places = [place for place, other in enumerate(self.lengths.tolist()) if other == length]
            yield places, self if len(places) == len(self.ids) else self.select(places)
