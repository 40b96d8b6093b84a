"""The batch of speaker verification: utterances by speaker, named, checked and never averaged.

Problem: the usual (batch, time) tensor leaves it to every caller how utterances of one speaker lie in it; flattening in the wrong order
pairs embeddings with other speakers' labels, and a loss that broadcasts hides it. Choice: speakers and utterances are axes of
their own, there is one label per speaker, and construction refuses what does not fit. Judging uses the same record: one row per
recording, and its crops (or the whole file) along the second axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from auscult.errors import UserError

NOT_TRAINED = -1
"""Label of a speaker who is not among the training speakers; fine for judging, refused by every loss."""


@dataclass(frozen=True)
class VerificationBatch:
    """Utterances of several speakers.

    Attributes:
        samples: (speakers, utterances, time) float32 in [-1, 1], zero beyond the lengths.
        sample_lengths: (speakers, utterances) int64, at least 1.
        speakers: (speakers,) int64 class of each, or `NOT_TRAINED`.
        ids: utterance ids, speaker-major: the utterances of speaker k are ids[k * utterances : (k + 1) * utterances].

    Raises:
        UserError: at construction, where shapes, types or ranges do not fit; the message names the field.
    """

    samples: Tensor
    sample_lengths: Tensor
    speakers: Tensor
    ids: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.samples.dim() != 3 or self.samples.dtype != torch.float32:
            raise UserError(
                f"VerificationBatch.samples: expected float32 (speakers, utterances, time), got {self.samples.dtype} "
                f"{tuple(self.samples.shape)}"
            )
        shape = tuple(self.samples.shape[:2])
        if tuple(self.sample_lengths.shape) != shape or self.sample_lengths.dtype != torch.int64:
            raise UserError(
                f"VerificationBatch.sample_lengths: expected int64 {shape}, "
                f"got {self.sample_lengths.dtype} {tuple(self.sample_lengths.shape)}"
            )
        if tuple(self.speakers.shape) != shape[:1] or self.speakers.dtype != torch.int64:
            raise UserError(
                f"VerificationBatch.speakers: expected one int64 label for each of {shape[0]} speakers, got {self.speakers.dtype} "
                f"{tuple(self.speakers.shape)}"
            )
        if len(self.ids) != shape[0] * shape[1]:
            raise UserError(
                f"VerificationBatch.ids: {len(self.ids)} ids for {shape[0]} x {shape[1]} utterances; "
                "expected one per utterance, speaker-major"
            )
        lengths = self.sample_lengths
        if lengths.numel() and not (int(lengths.min()) >= 1 and int(lengths.max()) <= self.samples.shape[2]):
            raise UserError(
                f"VerificationBatch.sample_lengths: expected 1 to {self.samples.shape[2]}, got {lengths.flatten().tolist()[:8]}"
            )

    @classmethod
    def pad(cls, groups: Sequence[Sequence[np.ndarray]], speakers: Sequence[int], ids: Sequence[str]) -> VerificationBatch:
        """Build a batch from the utterances of each speaker, arrays (time,); every speaker has as many.

        >>> batch = VerificationBatch.pad([[np.zeros(3), np.zeros(2)]], [7], ["a", "b"])
        >>> tuple(batch.samples.shape), batch.sample_lengths.tolist()
        ((1, 2, 3), [[3, 2]])
        """
        counts = sorted({len(group) for group in groups})
        if len(counts) != 1:
            raise UserError(f"VerificationBatch.pad: speakers have {counts} utterances; every speaker of a batch needs as many")
        lengths = np.array([[len(one) for one in group] for group in groups], dtype=np.int64)
        samples = np.zeros((*lengths.shape, int(lengths.max())), dtype=np.float32)
        for row, group in enumerate(groups):
            for column, one in enumerate(group):
                samples[row, column, : len(one)] = one
        labels = torch.tensor(list(speakers), dtype=torch.int64)
        return cls(torch.from_numpy(samples), torch.from_numpy(lengths), labels, tuple(ids))

    @classmethod
    def fill(cls, crops: Iterable[np.ndarray], length: int, speakers: Sequence[int], ids: Sequence[str]) -> VerificationBatch:
        """Build a batch from crops (length,), speaker-major, each of which is copied to its place as it comes.

        Keeping the crops of a batch until all are there costs more than reading them: 64 of 2 s are 8 MB of fresh memory a batch.

        >>> VerificationBatch.fill((np.full(3, place) for place in range(4)), 3, [7, 8], ["a", "b", "c", "d"]).samples[1].tolist()
        [[2.0, 2.0, 2.0], [3.0, 3.0, 3.0]]
        """
        if not speakers or len(ids) % len(speakers):
            raise UserError(f"VerificationBatch.fill: {len(ids)} ids for {len(speakers)} speakers; every speaker needs as many utterances")
        samples = np.empty((len(ids), length), dtype=np.float32)
        for row, identity, crop in zip(samples, ids, crops, strict=True):
            if crop.shape != row.shape:
                raise UserError(f"VerificationBatch.fill: the crop of {identity} is of shape {crop.shape}, expected {row.shape}")
            row[:] = crop
        batch = torch.from_numpy(samples.reshape(len(speakers), -1, length))
        lengths = torch.full(batch.shape[:2], length, dtype=torch.int64)
        return cls(batch, lengths, torch.tensor(list(speakers), dtype=torch.int64), tuple(ids))

    @property
    def utterances(self) -> int:
        """Utterances of each speaker."""
        return self.samples.shape[1]

    def to(self, device: torch.device | str) -> VerificationBatch:
        """Return the batch with its tensors on a device."""
        return replace(
            self,
            samples=self.samples.to(device, non_blocking=True),
            sample_lengths=self.sample_lengths.to(device),
            speakers=self.speakers.to(device),
        )

    def select(self, indices: Sequence[int]) -> VerificationBatch:
        """Return a batch of some utterances only, each as a speaker of its own that stands in for all of the speaker's utterances.

        Finding out which utterance is at fault needs batches of one, and a loss between utterances of a speaker needs several; so the
        chosen utterance fills every place, and `ids` names it once for each.

        Raises:
            UserError: no index, or an index outside the batch.
        """
        chosen = [int(index) for index in indices]
        if not chosen or min(chosen) < 0 or max(chosen) >= len(self.ids):
            raise UserError(f"VerificationBatch.select: expected indices from 0 to {len(self.ids) - 1}, got {chosen}")
        rows = torch.tensor(chosen, device=self.samples.device)
        lengths = self.sample_lengths.flatten()[rows]
        samples = self.samples.flatten(0, 1)[rows, : int(lengths.max())]
        return VerificationBatch(
            samples=samples[:, None].repeat(1, self.utterances, 1),
            sample_lengths=lengths[:, None].repeat(1, self.utterances),
            speakers=self.speakers[rows // self.utterances],
            ids=tuple(self.ids[index] for index in chosen for _ in range(self.utterances)),
        )
