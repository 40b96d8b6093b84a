"""What an attacker has, as types: the message of a client, and what is known besides.

Problem: published attacks were given the transcript, the length, the batch statistics and the dropout masks without saying so, computed
the target gradient with one loss and the dummy gradient with another, and changed the mode of batch normalisation between two phases of
one attack. Such results say nothing about the threat that they claim. Choice: an attack receives exactly two records and the victim's
network; whatever is not in them it cannot use. The message carries the loss, its reduction and the mode of the network, and a victim
refuses a message that does not fit it. The truth is a record of its own, which no signature in this package but the score card's takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, get_args

import torch
from torch import Tensor

from auscult.errors import UserError
from auscult.losses.ctc import Reduction
from auscult.privacy.declared import Change

Kind = Literal["gradient", "delta"]
Mode = Literal["eval", "train"]


@dataclass(frozen=True)
class Leak:
    """What a server receives from a client, or from a secure sum over clients.

    Attributes:
        kind: "gradient" of one batch (FedSGD), or "delta": weights after local steps minus weights before (FedAvg).
        tensors: by parameter name of the victim, float32 or float64; parameters that are not sent are not in it.
        batch: utterances behind each local step of a client.
        reduction: of the loss over a batch, a mean; see `auscult.losses.ctc.Reduction`.
        mode: of batch normalisation while the client computed: its batch's statistics ("train") or the victim's ("eval").
        victim: `Victim.fingerprint` of the weights that the client started from.
        dropout: probability with which the client's network dropped values; the masks are never sent.
        steps: local steps of plain gradient descent behind a delta.
        rate: of those steps; needed for a delta.
        clients: over how many the message is a sum; 1 is a single client's.
        buffers: statistics that the client sent along, by name; None if it sent none.
        defences: names of what was done to the message, in order; protocols are public.
        changes: what they declare of every value, in order; what an adaptive attack uses.

    Raises:
        UserError: a value does not fit, or a tensor is not finite; the message names the field or the parameter.
    """

    kind: Kind
    tensors: Mapping[str, Tensor]
    batch: int
    reduction: Reduction
    mode: Mode
    victim: str
    dropout: float = 0.0
    steps: int = 1
    rate: float | None = None
    clients: int = 1
    buffers: Mapping[str, Tensor] | None = None
    defences: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", MappingProxyType({name: value.detach() for name, value in self.tensors.items()}))
        for name, value, allowed in (("kind", self.kind, Kind), ("mode", self.mode, Mode), ("reduction", self.reduction, Reduction)):
            if value not in get_args(allowed):
                raise UserError(f'Leak.{name}: expected one of {", ".join(get_args(allowed))}, got "{value}"')
        for name, count in (("batch", self.batch), ("steps", self.steps), ("clients", self.clients)):
            if count < 1:
                raise UserError(f"Leak.{name}: expected 1 or more, got {count}")
        if not self.tensors:
            raise UserError("Leak.tensors: the message holds no parameter; name at least one layer to send")
        if self.kind == "delta" and not (self.rate is not None and self.rate > 0):
            raise UserError(
                f"Leak.rate: a weight delta says nothing without the rate of its steps; expected a positive number, got {self.rate}"
            )
        if self.kind == "gradient" and self.steps != 1:
            raise UserError(f'Leak.steps: a gradient has one step, got {self.steps}; the message of several steps is a "delta"')
        for name, tensor in self.tensors.items():
            if not bool(torch.isfinite(tensor).all()):
                raise UserError(
                    f"Leak.tensors: {name} holds values that are not finite; the client's step has failed, nothing can be matched"
                )

    def summary(self) -> dict[str, object]:
        """Return the facts without the tensors, for reports: the threat model's half that is about the message."""
        return {
            "kind": self.kind, "parameters": sorted(self.tensors), "values": sum(value.numel() for value in self.tensors.values()),
            "batch": self.batch, "reduction": self.reduction, "mode": self.mode, "dropout": self.dropout, "steps": self.steps,
            "rate": self.rate, "clients": self.clients, "buffers_sent": self.buffers is not None, "defences": list(self.defences),
            "victim": self.victim,
        }  # fmt: skip


@dataclass(frozen=True)
class Knowledge:
    """What an attacker knows besides the message; None is not known.

    Attributes:
        frames: feature frames of each utterance.
        tokens: class indices of each transcript.
        token_lengths: symbols of each transcript; known whenever `tokens` are.

    Raises:
        UserError: the fields disagree about the number of utterances or their lengths.
    """

    frames: tuple[int, ...] | None = None
    tokens: tuple[tuple[int, ...], ...] | None = None
    token_lengths: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.tokens is not None:
            lengths = tuple(len(row) for row in self.tokens)
            if self.token_lengths is not None and tuple(self.token_lengths) != lengths:
                raise UserError(f"Knowledge.token_lengths: {self.token_lengths} are not the lengths of the tokens, {lengths}")
            object.__setattr__(self, "token_lengths", lengths)
        counts = {len(value) for value in (self.frames, self.token_lengths) if value is not None}
        if len(counts) > 1:
            raise UserError(
                f"Knowledge: frames and transcripts are of {' and '.join(map(str, sorted(counts)))} utterances; they must agree"
            )
        if self.frames is not None and min(self.frames, default=0) < 1:
            raise UserError(f"Knowledge.frames: expected 1 or more for each utterance, got {self.frames}")

    def needed_frames(self, attack: str) -> tuple[int, ...]:
        """Return the frames of each utterance.

        Raises:
            UserError: they are not known.
        """
        if self.frames is None:
            raise UserError(f"{attack} needs the feature frames of each utterance; set leak.knowledge to lengths or transcripts")
        return self.frames

    def needed_tokens(self, attack: str) -> tuple[tuple[int, ...], ...]:
        """Return the transcript of each utterance as class indices.

        Raises:
            UserError: they are not known.
        """
        if self.tokens is None:
            raise UserError(f"{attack} needs the transcripts; set leak.knowledge to transcripts, or choose an attack that needs none")
        return self.tokens

    def summary(self) -> dict[str, bool]:
        """Return what is known, for reports."""
        return {
            "frames": self.frames is not None, "transcripts": self.tokens is not None, "transcript_lengths": self.token_lengths is not None,
        }  # fmt: skip


@dataclass(frozen=True)
class Truth:
    """What a client really had; for the score card alone.

    Attributes:
        features: (frames, bins) of each utterance, as the victim's network took them, without context stacked.
        texts: transcripts.
        ids: of the utterances.
        speakers: of the utterances.
        samples: (time,) of each utterance.
    """

    features: tuple[Tensor, ...] = field(repr=False)
    texts: tuple[str, ...]
    ids: tuple[str, ...]
    speakers: tuple[str, ...]
    samples: tuple[Tensor, ...] = field(repr=False)
