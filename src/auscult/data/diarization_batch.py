"""The batch of diarization: samples, and for every frame who is active.

Problem: labels and samples that disagree by a few frames train without complaint and end in boundaries that are all a little off; labels
of another conversation's speakers do not even look wrong. Choice: one record whose construction compares what can be compared:
shapes, lengths, values, padding, and the duration of the frames with that of the samples. Speakers are columns without names: their
order means nothing, and every loss and score must be indifferent to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from auscult.errors import UserError


@dataclass(frozen=True)
class DiarizationBatch:
    """Windows of conversations.

    Attributes:
        samples: (batch, time) float32 in [-1, 1], zero-padded.
        sample_lengths: (batch,) int64, at least 1.
        activity: (batch, frames, speakers) float32, 1 where a speaker is active at the centre of a frame, else 0; 0 beyond the lengths.
        frame_lengths: (batch,) int64 true frames, at least 1.
        ids: of the windows, unique.

    Raises:
        UserError: at construction, where shapes, types, values or durations do not fit; the message names the field and the window.
    """

    samples: Tensor
    sample_lengths: Tensor
    activity: Tensor
    frame_lengths: Tensor
    ids: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", tuple(self.ids))
        self._check_shapes()
        self._check_lengths()
        self._check_values()
        self._check_durations()

    def _check_shapes(self) -> None:
        for name, dimensions, dtype, layout in (
            ("samples", 2, torch.float32, "(batch, time)"),
            ("sample_lengths", 1, torch.int64, "(batch,)"),
            ("activity", 3, torch.float32, "(batch, frames, speakers)"),
            ("frame_lengths", 1, torch.int64, "(batch,)"),
        ):
            value = getattr(self, name)
            if value.dim() != dimensions or value.dtype != dtype or value.shape[0] != len(self.ids):
                raise UserError(
                    f"DiarizationBatch.{name}: expected {dtype} {layout} with batch = {len(self.ids)} (number of ids), got {value.dtype} "
                    f"{tuple(value.shape)}"
                )
        if not self.ids:
            raise UserError("DiarizationBatch: no windows; a batch holds at least one")
        if len(set(self.ids)) < len(self.ids):
            twice = sorted({one for one in self.ids if self.ids.count(one) > 1})
            raise UserError(f"DiarizationBatch.ids: window ids must be unique, found twice: {', '.join(twice[:3])}")

    def _check_lengths(self) -> None:
        for name, lengths, most in (
            ("sample_lengths", self.sample_lengths, self.samples.shape[1]),
            ("frame_lengths", self.frame_lengths, self.activity.shape[1]),
        ):
            wrong = (lengths < 1) | (lengths > most)
            if bool(wrong.any()):
                raise UserError(f"DiarizationBatch.{name}: expected 1 to {most}, not so for {self._describe(wrong, lengths)}")

    def _check_values(self) -> None:
        other = ((self.activity != 0) & (self.activity != 1)).flatten(1).any(dim=1)
        if bool(other.any()):
            raise UserError(f"DiarizationBatch.activity: expected 0 or 1, found other values for {self._describe(other)}")
        frames = torch.arange(self.activity.shape[1], device=self.activity.device)
        beyond = ((frames >= self.frame_lengths[:, None]) & self.activity.any(dim=2)).any(dim=1)
        if bool(beyond.any()):
            raise UserError(f"DiarizationBatch.activity: a speaker is active beyond frame_lengths for {self._describe(beyond)}")

    def _check_durations(self) -> None:
        """Every window has the same number of samples per frame, within two frames: frames are at a fixed step from the first sample."""
        longest = int(self.sample_lengths.argmax())
        samples, frames = self.sample_lengths.double(), self.frame_lengths.double()
        step = samples[longest] / frames[longest]
        wrong = (samples / step - frames).abs() > 2
        if bool(wrong.any()):
            raise UserError(
                f"DiarizationBatch: {self._describe(wrong, self.frame_lengths)} frames do not last as long as the samples, at the "
                f"{float(step):.0f} samples per frame of {self.ids[longest]}; labels and audio are of different windows"
            )

    def _describe(self, wrong: Tensor, values: Tensor | None = None) -> str:
        indices = [int(index) for index in wrong.nonzero()[:, 0]]
        names = [self.ids[index] + ("" if values is None else f" ({int(values[index])})") for index in indices[:3]]
        return ", ".join(names) + (f" and {len(indices) - 3} more" if len(indices) > 3 else "")

    @classmethod
    def pad(cls, samples: Sequence[np.ndarray], activity: Sequence[np.ndarray], ids: Sequence[str]) -> DiarizationBatch:
        """Build a batch from samples (time,) and activity (frames, speakers) of each window; speakers may differ in number.

        >>> batch = DiarizationBatch.pad([np.zeros(4), np.zeros(2)], [np.ones((2, 1)), np.zeros((1, 2))], ["a", "b"])
        >>> tuple(batch.activity.shape), batch.frame_lengths.tolist()
        ((2, 2, 2), [2, 1])
        """
        frames, speakers = max((len(one) for one in activity), default=0), max((one.shape[1] for one in activity), default=0)
        padded = np.zeros((len(samples), max(map(len, samples), default=0)), dtype=np.float32)
        labels = np.zeros((len(activity), frames, max(speakers, 1)), dtype=np.float32)
        for row, (one, active) in enumerate(zip(samples, activity, strict=True)):
            padded[row, : len(one)] = one
            labels[row, : len(active), : active.shape[1]] = active
        return cls(
            samples=torch.from_numpy(padded),
            sample_lengths=torch.tensor([len(one) for one in samples], dtype=torch.int64),
            activity=torch.from_numpy(labels),
            frame_lengths=torch.tensor([len(one) for one in activity], dtype=torch.int64),
            ids=tuple(ids),
        )

    def to(self, device: torch.device | str) -> DiarizationBatch:
        """Return the batch with its tensors on a device."""
        return replace(
            self,
            samples=self.samples.to(device, non_blocking=True),
            sample_lengths=self.sample_lengths.to(device),
            activity=self.activity.to(device, non_blocking=True),
            frame_lengths=self.frame_lengths.to(device),
        )

    def select(self, indices: Sequence[int]) -> DiarizationBatch:
        """Return the batch of some windows, padding trimmed to the longest of them.

        Raises:
            UserError: no index, or an index outside the batch.
        """
        chosen = [int(index) for index in indices]
        if not chosen or min(chosen) < 0 or max(chosen) >= len(self.ids):
            raise UserError(f"DiarizationBatch.select: expected indices from 0 to {len(self.ids) - 1}, got {chosen}")
        rows = torch.tensor(chosen, device=self.samples.device)
        sample_lengths, frame_lengths = self.sample_lengths[rows], self.frame_lengths[rows]
        return DiarizationBatch(
            samples=self.samples[rows, : int(sample_lengths.max())],
            sample_lengths=sample_lengths,
            activity=self.activity[rows, : int(frame_lengths.max())],
            frame_lengths=frame_lengths,
            ids=tuple(self.ids[index] for index in chosen),
        )
