"""The batch record of speech recognition.

Problem: nested tuples `((samples, lengths), targets)` get unpacked in the wrong order, keep one target of many, or carry int32
targets that fail deep inside a loss. Choice: one frozen record with named fields whose construction checks the contract and
says in words, with utterance ids, what is wrong. Not checked on purpose: finite samples; a batch of NaN must be able to reach
the guard that reports it. Rejected: padding targets with the blank, which native CTC accepts inside a target without a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from auscult.errors import UserError

TOKEN_PADDING = -1
"""Value of `tokens` beyond the length of an utterance: no class index, so it can never be mistaken for one."""

_INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8)


@dataclass(frozen=True)
class RecognitionBatch:
    """Samples and characters of a few utterances.

    Attributes:
        samples: (batch, time) float32 in [-1, 1], zero-padded.
        sample_lengths: (batch,) int64, samples of each utterance, at least 1.
        tokens: (batch, symbols) int64, class indices from 0, padded with -1; any integer dtype is cast.
        token_lengths: (batch,) int64; 0 means an empty transcript.
        ids: utterance ids, unique.

    Raises:
        UserError: a shape, dtype, length or index does not hold; the message names the field and the utterances.
    """

    samples: Tensor
    sample_lengths: Tensor
    tokens: Tensor
    token_lengths: Tensor
    ids: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", tuple(self.ids))
        for name in ("sample_lengths", "tokens", "token_lengths"):
            object.__setattr__(self, name, _as_int64(name, getattr(self, name)))
        self._check_shapes()
        self._check_lengths()
        self._check_tokens()

    def _check_shapes(self) -> None:
        if self.samples.dtype != torch.float32:
            raise UserError(
                f"RecognitionBatch.samples: expected float32 in [-1, 1], got {self.samples.dtype}; divide integers by full scale"
            )
        for name, dimensions, layout in (
            ("samples", 2, "(batch, time)"),
            ("sample_lengths", 1, "(batch,)"),
            ("tokens", 2, "(batch, symbols)"),
            ("token_lengths", 1, "(batch,)"),
        ):
            shape = tuple(getattr(self, name).shape)
            if len(shape) != dimensions or shape[0] != len(self.ids):
                raise UserError(
                    f"RecognitionBatch.{name}: expected {layout} with batch = {len(self.ids)} (number of ids), got shape {shape}"
                )
        if not self.ids:
            raise UserError("RecognitionBatch: no utterances; a batch holds at least one")
        if len(set(self.ids)) < len(self.ids):
            twice = sorted({one for one in self.ids if self.ids.count(one) > 1})
            raise UserError(f"RecognitionBatch.ids: utterance ids must be unique, found twice: {_some(twice)}")

    def _check_lengths(self) -> None:
        time, symbols = self.samples.shape[1], self.tokens.shape[1]
        for name, lengths, low, high in (
            ("sample_lengths", self.sample_lengths, 1, time),
            ("token_lengths", self.token_lengths, 0, symbols),
        ):
            wrong = (lengths < low) | (lengths > high)
            if bool(wrong.any()):
                raise UserError(f"RecognitionBatch.{name}: expected {low} to {high}, not so for {self._describe(wrong, lengths)}")

    def _check_tokens(self) -> None:
        inside = torch.arange(self.tokens.shape[1], device=self.tokens.device) < self.token_lengths[:, None]  # (batch, symbols)
        negative = (inside & (self.tokens < 0)).any(dim=1)
        if bool(negative.any()):
            raise UserError(f"RecognitionBatch.tokens: negative class index inside the text of {self._describe(negative)}")
        unpadded = (~inside & (self.tokens != TOKEN_PADDING)).any(dim=1)
        if bool(unpadded.any()):
            raise UserError(
                f"RecognitionBatch.tokens: expected {TOKEN_PADDING} beyond token_lengths, found other values for {self._describe(unpadded)}"
            )

    def _describe(self, wrong: Tensor, values: Tensor | None = None) -> str:
        indices = [int(index) for index in wrong.nonzero()[:, 0]]
        return _some([self.ids[index] + ("" if values is None else f" ({int(values[index])})") for index in indices])

    @classmethod
    def pad(cls, samples: Sequence[np.ndarray], tokens: Sequence[Sequence[int]], ids: Sequence[str]) -> RecognitionBatch:
        """Build a batch from one array of samples and one list of class indices per utterance.

        >>> batch = RecognitionBatch.pad([np.zeros(3), np.zeros(2)], [[1], [2, 0]], ["a", "b"])
        >>> batch.tokens.tolist(), batch.sample_lengths.tolist()
        ([[1, -1], [2, 0]], [3, 2])
        """
        time, symbols = max(map(len, samples), default=0), max(map(len, tokens), default=0)
        padded = np.zeros((len(samples), time), dtype=np.float32)
        indices = np.full((len(tokens), symbols), TOKEN_PADDING, dtype=np.int64)
        for row, one in enumerate(samples):
            padded[row, : len(one)] = one
        for row, text in enumerate(tokens):
            indices[row, : len(text)] = text
        return cls(
            samples=torch.from_numpy(padded),
            sample_lengths=torch.tensor([len(one) for one in samples], dtype=torch.int64),
            tokens=torch.from_numpy(indices),
            token_lengths=torch.tensor([len(text) for text in tokens], dtype=torch.int64),
            ids=tuple(ids),
        )

    @property
    def items(self) -> int:
        """Number of utterances."""
        return len(self.ids)

    def to(self, device: torch.device | str) -> RecognitionBatch:
        """Return the batch with its tensors on a device."""
        return replace(
            self,
            samples=self.samples.to(device, non_blocking=True),
            sample_lengths=self.sample_lengths.to(device),
            tokens=self.tokens.to(device),
            token_lengths=self.token_lengths.to(device),
        )

    def select(self, indices: Sequence[int]) -> RecognitionBatch:
        """Return the batch of some utterances, padding trimmed to the longest of them.

        Raises:
            UserError: no index, or an index outside the batch.
        """
        chosen = [int(index) for index in indices]
        if not chosen or min(chosen) < 0 or max(chosen) >= self.items:
            raise UserError(f"RecognitionBatch.select: expected indices from 0 to {self.items - 1}, got {chosen}")
        rows = torch.tensor(chosen, device=self.samples.device)
        sample_lengths, token_lengths = self.sample_lengths[rows], self.token_lengths[rows]
        return RecognitionBatch(
            samples=self.samples[rows, : int(sample_lengths.max())],
            sample_lengths=sample_lengths,
            tokens=self.tokens[rows, : int(token_lengths.max())],
            token_lengths=token_lengths,
            ids=tuple(self.ids[index] for index in chosen),
        )


def _as_int64(name: str, values: Tensor) -> Tensor:
    if values.dtype not in _INTEGERS:
        raise UserError(
            f"RecognitionBatch.{name}: expected integers (int64), got {values.dtype}; class indices and lengths are whole numbers"
        )
    return values.to(torch.int64)


def _some(names: Sequence[str], shown: int = 3) -> str:
    rest = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + rest
