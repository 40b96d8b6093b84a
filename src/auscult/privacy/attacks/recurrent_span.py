"""DeepSpeech 2 gives its input away: features from the gradients of its first recurrent layer and its second convolution.

Problem: no attack on DeepSpeech 2 was known to work; descent on the features stalls near 0 dB, because clipping makes derivatives through
the convolutions meaningless. Choice: no descent. The states of a recurrent layer are nonlinear functions of its inputs, and the gradients
of its two matrices hold the spans of both: its inputs are solved frame by frame (`auscult.privacy.recurrent_inputs`), and with them the
slopes of the loss by them. What lies below is two convolutions whose active units are then known, and the gradient of the second one's
weights is linear in its input (`auscult.privacy.convolution_inputs`). No transcript is needed, and what lies above does not matter: layers,
dropout, the state of training.

Whether it worked is known without the truth: features that are right make the message's gradients of both convolutions again.

Batch normalisation by stored statistics or by those of the batch itself (`auscult.privacy.batch_statistics`): the latter hides the scale of
the features, which the front-end fixes to mean 0 and deviation 1.

Limits: one utterance in a message of one step; fewer frames than the equations of a plane allow (124 at the defaults, 2.4 s at 20 ms).
"""

from __future__ import annotations

import copy
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from auscult.errors import UserError
from auscult.models.deepspeech2 import DeepSpeech2
from auscult.models.masking import MaskedBatchNorm
from auscult.privacy.attack import Attack, Reconstruction, Watch
from auscult.privacy.convolution_inputs import convolution_inputs
from auscult.privacy.message import Knowledge, Leak
from auscult.privacy.plane_equations import Convolution, Seen
from auscult.privacy.recurrent_inputs import SOLVED, Inputs, recurrent_inputs
from auscult.privacy.spectrum import leading, rank
from auscult.privacy.victim import Victim
from auscult.registry import register

Array = NDArray[np.float64]
_INPUT, _STATE = "rnn.0.weight_ih_l0", "rnn.0.weight_hh_l0"
RECURRENT = (_INPUT, f"{_INPUT}_reverse", _STATE, f"{_STATE}_reverse")
SECOND = "conv.1.weight"
MOST = 300
"""Frames that are looked for where their number is not known."""
CERTAIN = 0.1
"""Relative error of the gradients of the convolutions up to which features are said to be right: about 30 dB. A single unit at zero whose
sign rounding changes makes 0.002 at the defaults, and more in small networks."""


class _Candidate(NamedTuple):
    features: Tensor
    error: float


@register("attack", "recurrent_span")
class RecurrentSpan(Attack):
    """Reconstruct features of DeepSpeech 2 from gradients of its first recurrent layer and second convolution; needs no transcript.

    A length that is not known is read from the rank of the gradient, up to one frame, which the check of the result decides.
    """

    def run(self, victim: Victim, leak: Leak, knowledge: Knowledge, watch: Watch) -> Reconstruction:
        """Return the features of the one utterance; raises as the contract says."""
        model = _attackable(victim, leak)
        step = -leak.rate if leak.kind == "delta" and leak.rate is not None else 1.0
        sent = {name: value.double().cpu() / step for name, value in leak.tensors.items()}
        gradients = [sent[name].numpy() for name in self.needed(leak, RECURRENT)]
        self.needed(leak, [SECOND])
        if not all(np.any(gradient) for gradient in gradients):
            return _nothing(victim, max(knowledge.frames or (model.minimum_frames,)), "a recurrent gradient is zero everywhere")
        choices = knowledge.frames or _frame_counts(model, rank(leading(np.concatenate(gradients[:2]), MOST)[0]))
        outputs = int(model.output_frames(torch.tensor(choices[0])))
        watch.report(0, 2, {})
        if problem := _too_long(model, choices[-1], outputs):
            return _nothing(victim, choices[-1], problem)
        found = _recurrent(victim, gradients, outputs)
        watch.report(1, 2, {"outside": found.worst})
        if found.worst > SOLVED:
            return _nothing(victim, choices[-1], f"no frame fits the span of states (share outside {found.worst:.2g})")
        best = min((_candidate(victim, model, found, sent, frames) for frames in choices), key=lambda one: one.error)
        watch.report(2, 2, {"outside": found.worst, "error": best.error})
        if best.error <= CERTAIN:
            return Reconstruction((best.features,), objective=best.error)
        doubt = f"the features leave {best.error:.2g} of the gradients of the convolutions unexplained; they are probably wrong"
        return Reconstruction((best.features,), objective=best.error, notes=(doubt,), gave_up=doubt)


def _attackable(victim: Victim, leak: Leak) -> DeepSpeech2:
    victim.accept(leak)
    model = victim.model
    if not isinstance(model, DeepSpeech2):
        raise UserError("recurrent_span reads a recurrent layer over two convolutions; it attacks deepspeech2, and nothing else")
    layer = cast(nn.RNNBase, model.rnn[0])
    if layer.mode != "GRU" or layer.bias or model.activation != "hardtanh":
        raise UserError(
            "recurrent_span knows cell gru without rnn_bias and activation hardtanh; "
            f"the attacked network has {layer.mode.lower()}, rnn_bias {layer.bias} and {model.activation}"
        )
    if not isinstance(model.bn["conv_0"], MaskedBatchNorm):
        raise UserError("recurrent_span undoes batch normalisation; the attacked network has another, and no attack on that is built")
    if victim.mode == "train" and (getattr(model.front_end, "normalise", None) != "utterance" or _convolution(model, 1).padding != (0, 0)):
        raise UserError(
            "recurrent_span under the statistics of the batch needs a front-end with normalise: utterance, which fixes the scale that they "
            "hide, and convolution_padding: myrtle"
        )
    if leak.batch * leak.clients != 1:
        raise UserError(f"recurrent_span follows the states of one utterance, and the message holds {leak.batch * leak.clients}")
    if leak.steps != 1:
        raise UserError(f"recurrent_span: {leak.steps} local steps mix gradients at different weights; it needs a message of one step")
    return model


def _frame_counts(model: DeepSpeech2, outputs: int) -> tuple[int, ...]:
    """Return the feature frames that make so many frames after the convolutions."""
    counts = torch.arange(model.minimum_frames, 4 * outputs + 2 * model.minimum_frames)
    return tuple(counts[model.output_frames(counts) == outputs].tolist())


def _too_long(model: DeepSpeech2, frames: int, outputs: int) -> str | None:
    hidden = cast(nn.RNNBase, model.rnn[0]).hidden_size
    second, size = _convolution(model, 1), _convolution(model, 0).size(model.front_end.bins, frames)
    equations = second.weight[:, 0].numel()
    if 2 * outputs > hidden:
        return f"{outputs} frames are too many for states of {hidden} units"
    if size[0] * size[1] > equations:
        return f"the {equations} weights of the second convolution that see a plane are fewer than its {size[0]} x {size[1]} values"
    return None


def _nothing(victim: Victim, frames: int, reason: str) -> Reconstruction:
    zeros = torch.zeros(frames, victim.features.width, dtype=torch.float64)
    return Reconstruction((zeros,), objective=1.0, notes=(f"{reason}; zeros are returned",), gave_up=reason)


def _recurrent(victim: Victim, gradients: list[Array], outputs: int) -> Inputs:
    own = [victim.parameters[name].detach().double().cpu().numpy() for name in RECURRENT]
    weights = np.concatenate(own[:2]), np.concatenate(own[2:])
    return recurrent_inputs(weights, (gradients[0], gradients[2]), (gradients[1], gradients[3]), outputs)


def _convolution(model: DeepSpeech2, place: int) -> Convolution:
    layer, norm = cast(nn.Conv2d, model.conv[place]), cast(MaskedBatchNorm, model.bn[f"conv_{place}"])
    assert layer.bias is not None  # the model's convolutions have one
    scale, shift = norm.weight.detach().double(), norm.bias.detach().double()
    if not norm.training:  # normalised by stored statistics, which are known
        scale = scale / (norm.running_var.double() + norm.epsilon).sqrt()
        shift = shift + (layer.bias.detach().double() - norm.running_mean.double()) * scale
    stride, padding = cast(tuple[int, int], layer.stride), cast(tuple[int, int], layer.padding)
    return Convolution(layer.weight.detach().double(), stride, padding, scale, shift)


def _planes(model: DeepSpeech2, values: Array) -> Tensor:
    """(frames, channels * rows) -> (channels, rows, frames)."""
    channels = cast(nn.Conv2d, model.conv[1]).out_channels
    return torch.from_numpy(values).T.reshape(channels, -1, len(values))


def _candidate(victim: Victim, model: DeepSpeech2, found: Inputs, sent: dict[str, Tensor], frames: int) -> _Candidate:
    seen = Seen(_planes(model, found.frames), _planes(model, found.slopes), sent[SECOND])
    layers, of_batch = (_convolution(model, 0), _convolution(model, 1)), victim.mode == "train"
    try:
        features = convolution_inputs(*layers, seen, victim.features.width, frames, of_batch)
    except np.linalg.LinAlgError:
        return _Candidate(torch.zeros(frames, victim.features.width, dtype=torch.float64), 1.0)
    return _Candidate(features, _unexplained(model, features, torch.from_numpy(found.slopes), sent))


def _unexplained(model: DeepSpeech2, features: Tensor, slopes: Tensor, sent: dict[str, Tensor]) -> float:
    """Return the largest relative error of the gradients of the convolutions' weights that features and slopes make."""
    exact = copy.deepcopy(model).double()
    outputs, _ = exact._convolve(features[None], torch.tensor([len(features)]))
    names = [name for name in ("conv.0.weight", SECOND) if name in sent]
    made = torch.autograd.grad((outputs[:, 0] * slopes).sum(), [exact.get_parameter(name) for name in names])
    return max(float((one - sent[name]).norm() / sent[name].norm().clamp(min=1e-300)) for name, one in zip(names, made, strict=True))
