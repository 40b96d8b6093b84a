"""DeepSpeech 1: per-frame layers over stacked context, one recurrent layer, CTC.

The paper's network exists in three public forms whose parameter counts differ by a factor of four, so a "DeepSpeech 1" without
its form is not a statement; `variant` names it. Frames are neither strided nor convolved: context comes stacked from the
front-end (`mfcc_context`), and only the recurrence can leak padding, which packing prevents.
Mozilla's TensorFlow LSTM has one bias vector where torch has two. A constant input of one carries it: the extra column of the
input weights is the bias. Rejected: freezing torch's second vector at zero, which still counts it and still writes it out.
Sources: Hannun et al. 2014 (arXiv 1412.5567), mozilla/DeepSpeech, MyrtleSoftware/deepspeech, torchaudio.models.DeepSpeech.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from auscult.audio.front_end import Features, FrontEnd
from auscult.models.masking import frame_mask, zero_padding
from auscult.models.output import FrameLogits
from auscult.models.recognition import RecognitionModel, widen_half
from auscult.models.recurrent import merge_directions, run_recurrent
from auscult.registry import INJECTED, Component, register
from auscult.specification import Specification


@register("model", "deepspeech1")
class DeepSpeech1(RecognitionModel):
    """DeepSpeech 1: three clipped-ReLU layers, a recurrent layer, a clipped-ReLU layer, a linear output; one output frame per input frame.

    Parameter parts: `input` (three layers), `rnn.0`, `hidden`, `fc`.

    Args:
        variant: "mozilla": one LSTM forward in time, so no frame sees the future beyond its stacked context;
            "myrtle": bidirectional LSTM, directions side by side, third layer twice as wide;
            "torchaudio": bidirectional plain ReLU recurrence, directions added.
        hidden: units of every layer (2048 in all three forms).
        dropout: after each per-frame layer, in training.
    """

    SIZES: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"model": {"hidden": 128}, "optimizer": {"lr": 1e-3}, "data": {"batch": {"seconds": 30.0}}},
        "small": {"model": {"hidden": 512}, "optimizer": {"lr": 5e-4}, "data": {"batch": {"seconds": 60.0}}},
        "base": {"model": {"hidden": 2048}, "optimizer": {"lr": 1e-4}, "data": {"batch": {"seconds": 120.0}}},
    }

    def __init__(
        self,
        specification: Annotated[Specification, INJECTED],
        front_end: Annotated[FrontEnd, Component("front_end", default="mfcc_context")],
        feature_augmentation: Annotated[list[nn.Module], Component("feature_augmentation", many=True)],
        variant: Literal["mozilla", "myrtle", "torchaudio"] = "mozilla",
        hidden: Annotated[int, Field(gt=0)] = 2048,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.25,
    ) -> None:
        super().__init__(specification, front_end, feature_augmentation)
        self.variant = variant
        wide = 2 * hidden if variant == "myrtle" else hidden
        sizes = (front_end.bins, hidden, hidden, wide)
        self.input = nn.ModuleList(nn.Linear(inputs, outputs) for inputs, outputs in pairwise(sizes))
        self.rnn = nn.ModuleList([self._recurrent(variant, wide, hidden)])
        self.hidden = nn.Linear(wide, hidden)
        self.fc = nn.Linear(hidden, self.classes)
        self.dropout = nn.Dropout(dropout)

    @staticmethod
    def _recurrent(variant: str, inputs: int, hidden: int) -> nn.RNNBase:
        if variant == "mozilla":
            return nn.LSTM(inputs + 1, hidden, bias=False)
        if variant == "myrtle":
            return nn.LSTM(inputs, hidden, bidirectional=True)
        return nn.RNN(inputs, hidden, nonlinearity="relu", bidirectional=True)

    def output_frames(self, frames: Tensor) -> Tensor:
        """(batch,) -> (batch,): unchanged."""
        return frames

    def encode(self, features: Features) -> FrameLogits:
        """features (batch, frames, bins) -> logits (batch, frames, classes) and lengths (batch,) int64."""
        lengths = self._checked_lengths(features)
        mask = frame_mask(lengths, features.values.shape[1], features.values.device)
        values = zero_padding(features.values, mask, 1)
        for layer in self.input:
            values = self._clipped(layer(values))
        values = values.transpose(0, 1)
        if self.variant == "mozilla":
            values = F.pad(values, (0, 1), value=1.0)
        values = run_recurrent(self.rnn[0], values, lengths)
        values = merge_directions(values, "sum") if self.variant == "torchaudio" else values
        logits = self.fc(self._clipped(self.hidden(values.transpose(0, 1))))
        return FrameLogits(widen_half(zero_padding(logits, mask, 1)), features.lengths)

    def _clipped(self, values: Tensor) -> Tensor:
        clipped: Tensor = self.dropout(F.hardtanh(values, 0.0, 20.0))
        return clipped
