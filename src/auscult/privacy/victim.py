"""The server's side: a network, the loss that clients train it with, and the rule that a message must fit both.

Problem: an attack differentiates the client's loss, and every published mismatch between the client's computation and the attacker's copy
of it (another CTC, another mode of batch normalisation, running statistics moved by the attack itself) shows only as a low objective beside
a bad reconstruction. Choice: one object computes the loss for both; its mode is fixed when it is made, batch normalisation never touches
its running statistics, and `accept` compares every fact of a message. It holds no data.
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from auscult.audio.front_end import Features
from auscult.errors import UserError, did_you_mean
from auscult.losses.ctc import Reduction, ctc_loss
from auscult.models.masking import MaskedBatchNorm
from auscult.models.recognition import RecognitionModel
from auscult.privacy.features import FeatureSpace
from auscult.privacy.message import Leak, Mode
from auscult.specification import Specification


class Victim:
    """A recogniser whose clients send gradients.

    Args:
        model: copied; parameters and buffers stay as they are.
        specification: labels and blank.
        reduction: of the clients' loss over their batches.
        mode: of batch normalisation while clients compute.
        dropout: probability with which clients drop values; 0 switches dropout off. An attacker never knows masks: `loss` has none unless
            `model.training` modules are asked for by `capture`.

    Attributes:
        features: how single frames become features.
    """

    def __init__(
        self,
        model: RecognitionModel,
        specification: Specification,
        reduction: Reduction = "target_mean",
        mode: Mode = "eval",
        dropout: float = 0.0,
    ) -> None:
        if reduction in ("none",):
            raise UserError('victim: reduction "none" gives no gradient; use target_mean, batch_mean, frame_mean or sum')
        self.model = copy.deepcopy(model)
        self.specification, self.reduction, self.mode, self.dropout = specification, reduction, mode, dropout
        self.features = FeatureSpace.of(model.front_end)
        self.parameters = {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}
        self.set_dropout(False)

    def set_dropout(self, active: bool) -> None:
        """Set the modes of all modules: dropout as asked, batch normalisation as the victim's mode says, statistics frozen."""
        self.model.eval()
        for module in self.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = self.dropout
                module.train(active and self.dropout > 0)
            if isinstance(module, nn.modules.batchnorm._BatchNorm | MaskedBatchNorm):
                module.train(self.mode == "train")
                module.momentum = 0.0  # a forward pass must not move what the next one is compared with

    @property
    def blank(self) -> int:
        """Index of the blank class."""
        assert self.specification.blank is not None  # a RecognitionModel refuses a specification without one
        return self.specification.blank

    @property
    def fingerprint(self) -> str:
        """Checksum of all weights and buffers, 8 hex characters."""
        begun = 0
        for name, value in sorted(self.model.state_dict().items()):
            if not name.endswith("num_batches_tracked"):
                begun = zlib.crc32(
                    value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data, zlib.crc32(name.encode(), begun)
                )
        return f"{begun:08x}"

    def loss(
        self, frames: Tensor, lengths: Tensor, tokens: Tensor, token_lengths: Tensor, parameters: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Return the clients' loss, twice differentiable in the frames and the parameters.

        Args:
            frames: (batch, time, width) single frames.
            lengths: (batch,) int64.
            tokens: (batch, symbols) int64, padded with -1.
            token_lengths: (batch,) int64.
            parameters: used instead of the model's own of the same names (local steps, differences in parameter space).
        """
        stacked = self.features.stack(frames, lengths)
        output = functional_call(_Encoder(self.model), {f"model.{name}": value for name, value in (parameters or {}).items()}, (stacked,))
        return ctc_loss(
            output.logits, output.lengths, tokens, token_lengths, blank=self.blank, reduction=self.reduction, allow_empty=True, order=2
        )

    def chosen(self, layers: Sequence[str]) -> dict[str, nn.Parameter]:
        """Return the parameters of layers: prefixes of names (`fc`, `rnn.0`, `input.0.weight`), or "all".

        Raises:
            UserError: no parameter has such a name.
        """
        found: dict[str, nn.Parameter] = {}
        for layer in layers:
            matching = {
                name: value for name, value in self.parameters.items() if layer == "all" or name == layer or name.startswith(f"{layer}.")
            }
            if not matching:
                parts = sorted(
                    {".".join(name.split(".")[:2]) for name in self.parameters} | {name.split(".")[0] for name in self.parameters}
                )
                raise UserError(f'layers: the victim has no layer "{layer}"{did_you_mean(layer, parts)}; it has {", ".join(parts)}')
            found |= matching
        return found

    def accept(self, leak: Leak) -> None:
        """Refuse a message that was not computed with this network, loss and mode.

        Raises:
            UserError: says what differs.
        """
        for what, theirs, ours in (
            ("reduction", leak.reduction, self.reduction),
            ("mode", leak.mode, self.mode),
            ("victim", leak.victim, self.fingerprint),
        ):
            if theirs != ours:
                raise UserError(f"leak: its {what} is {theirs} and the attacked network's is {ours}; both sides must compute the same loss")
        for name, tensor in leak.tensors.items():
            if name not in self.parameters:
                raise UserError(f"leak: parameter {name} is none of the network's{did_you_mean(name, self.parameters)}")
            if tensor.shape != self.parameters[name].shape:
                raise UserError(
                    f"leak: {name} has shape {tuple(tensor.shape)} and the network's parameter {tuple(self.parameters[name].shape)}"
                )


class _Encoder(nn.Module):
    """Gives `encode` of a model the shape of a forward pass, which `functional_call` needs."""

    def __init__(self, model: RecognitionModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Features) -> object:
        return self.model.encode(features)
