"""Conformance suite for recognition models, ours and third parties'.

What silently breaks a recognition model is the same in every architecture: lengths that do not match the tensor, logits that
change with the batch, parameters no gradient reaches, a state dict that does not restore, half-precision logits, a crash deep
inside a convolution on a short clip. One call checks all of it and says in words what does not hold.
"""

from __future__ import annotations

import copy
import io
from typing import Any, cast

import torch
from torch import Tensor

from auscult.audio.front_end import Features, FrontEnd
from auscult.errors import UserError
from auscult.models.recognition import RecognitionModel
from auscult.registry import build
from auscult.specification import Specification

ENGLISH = tuple(" 'abcdefghijklmnopqrstuvwxyz")


class FramedSamples(FrontEnd):
    """A front-end that only cuts samples into frames: `bins` consecutive samples are the features of a frame.

    It has no parameters and no arithmetic, so a test of a model sees nothing but the model.

    Args:
        bins: samples per frame.
        sample_rate: in hertz.
    """

    def __init__(self, bins: int, sample_rate: int = 16000) -> None:
        super().__init__()
        self.bins, self.sample_rate, self.frame_step = bins, sample_rate, bins / sample_rate

    def frames(self, sample_lengths: Tensor) -> Tensor:
        """(batch,) int64 samples -> (batch,) int64 whole frames."""
        return sample_lengths.div(self.bins, rounding_mode="floor")

    def forward(self, samples: Tensor, sample_lengths: Tensor) -> Features:
        """(batch, time) -> (batch, frames, bins), zero beyond the lengths."""
        lengths = self.frames(sample_lengths)
        frames = int(lengths.max())
        values = samples[:, : frames * self.bins].reshape(len(samples), frames, self.bins)
        mask = torch.arange(frames, device=samples.device) < lengths.unsqueeze(1)
        return Features(values * mask.unsqueeze(2), lengths)


def english_specification(sample_rate: int = 16000) -> Specification:
    """Return a recognition specification with 28 characters and a blank last: 29 classes."""
    return Specification("recognition", sample_rate, ENGLISH, blank=len(ENGLISH))


def check_model(model: str | RecognitionModel, arguments: dict[str, Any] | None = None, *, sample_rate: int = 16000, seed: int = 0) -> None:
    """Check that a recognition model keeps its contract.

    Args:
        model: registry name, or a built model (it is not changed).
        arguments: recipe keys for a model given by name; choose small ones.
        sample_rate: for a model given by name, in hertz.
        seed: of the random utterances and weights.

    Raises:
        AssertionError: something does not hold; the text says what.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(model, str):
            section = {"name": model, **(arguments or {})}
            model = cast(
                RecognitionModel, build("model", section, specification=english_specification(sample_rate), sample_rate=sample_rate)
            )
        model = copy.deepcopy(model).eval()
        _check_lengths(model)
        _check_batch_independence(model)
        _check_feature_padding(model)
        _check_gradients(model)
        _check_state_dict(model)
        _check_dtype(model)
        _check_too_short(model)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _utterances(model: RecognitionModel, factors: tuple[float, ...] = (1.0, 2.3, 3.7)) -> list[Tensor]:
    return [torch.randn(int(model.minimum_samples * factor)) * 0.1 for factor in factors]


def _batch(utterances: list[Tensor], extra: int = 0) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(utterance) for utterance in utterances])
    samples = torch.zeros(len(utterances), int(lengths.max()) + extra)
    for row, utterance in zip(samples, utterances, strict=True):
        row[: len(utterance)] = utterance
    return samples, lengths


@torch.no_grad()
def _check_lengths(model: RecognitionModel) -> None:
    minimum = model.minimum_samples
    step = max(1, round(model.front_end.sample_rate * model.front_end.frame_step))
    for samples in [minimum + offset for offset in range(0, 9 * step, max(1, step // 3))]:
        lengths = torch.tensor([samples])
        logits, returned = model(torch.randn(1, samples) * 0.1, lengths)
        promised = int(model.output_lengths(lengths))
        _require(promised >= 1, f"output_lengths promises {promised} frames for {samples} samples, which minimum_samples {minimum} allows")
        _require(
            logits.shape[1] == promised, f"{samples} samples: output_lengths promises {promised} frames, the tensor has {logits.shape[1]}"
        )
        _require(
            int(returned[0]) == promised,
            f"{samples} samples: output_lengths promises {promised} frames, forward returns length {int(returned[0])}",
        )
        _require(returned.dtype == torch.int64, f"lengths are {returned.dtype}, not int64")
        _require(logits.shape[2] == model.classes, f"logits have {logits.shape[2]} classes, the specification {model.classes}")


@torch.no_grad()
def _check_batch_independence(model: RecognitionModel, tolerance: float = 1e-5) -> None:
    utterances = _utterances(model)
    together, lengths = model(*_batch(utterances, extra=model.minimum_samples))
    for i, utterance in enumerate(utterances):
        alone = model(*_batch([utterance])).logits[0]
        frames = int(lengths[i])
        _require(frames == len(alone), f"utterance {i} has {frames} output frames in a batch and {len(alone)} alone")
        leak = float((together[i, :frames] - alone).abs().max())
        _require(
            leak <= tolerance, f"logits of utterance {i} change by {leak:.1e} with its batch mates and padding; allowed {tolerance:.0e}"
        )


@torch.no_grad()
def _check_feature_padding(model: RecognitionModel, tolerance: float = 1e-12) -> None:
    wide = copy.deepcopy(model).double()
    lengths = torch.tensor([model.minimum_frames + 13, model.minimum_frames + 2])
    values = torch.randn(2, int(lengths[0]) + 5, model.front_end.bins, dtype=torch.float64)
    logits, output_lengths = wide.encode(Features(values, lengths))
    for i in range(2):
        alone = wide.encode(Features(values[i : i + 1, : int(lengths[i])], lengths[i : i + 1])).logits[0]
        leak = float((logits[i, : int(output_lengths[i])] - alone).abs().max())
        _require(leak <= tolerance, f"encode: what is in the padding moves logits by {leak:.1e} in float64; allowed {tolerance:.0e}")


def _check_gradients(model: RecognitionModel) -> None:
    model.zero_grad()
    logits, lengths = model(*_batch(_utterances(model)))
    mask = torch.arange(logits.shape[1]) < lengths.unsqueeze(1)
    logits.log_softmax(-1)[mask].square().sum().backward()
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        _require(gradient is not None and bool(gradient.any()), f"no gradient reaches {name}")
        _require(bool(cast(Tensor, gradient).isfinite().all()), f"the gradient of {name} is not finite")
    grouped = [id(parameter) for part in model.parameter_groups().values() for parameter in part]
    _require(sorted(grouped) == sorted(id(p) for p in model.parameters()), "parameter_groups does not hold every parameter exactly once")


@torch.no_grad()
def _check_state_dict(model: RecognitionModel) -> None:
    samples, lengths = _batch(_utterances(model))
    expected = model(samples, lengths).logits
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    other = copy.deepcopy(model)
    for parameter in other.parameters():
        parameter.add_(1.0)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    _require(bool(torch.equal(other(samples, lengths).logits, expected)), "logits change when the state dict is saved and loaded")


@torch.no_grad()
def _check_dtype(model: RecognitionModel) -> None:
    batch = _batch(_utterances(model))
    _require(model(*batch).logits.dtype == torch.float32, "logits are not float32")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        dtype = model(*batch).logits.dtype
    _require(dtype == torch.float32, f"logits are {dtype} under autocast, not float32")


def _check_too_short(model: RecognitionModel) -> None:
    samples = model.minimum_samples - 1
    if samples == 0:
        return
    lengths = torch.tensor([samples, 2 * model.minimum_samples])
    _require(
        int(model.output_lengths(lengths)[0]) == 0, f"output_lengths is {int(model.output_lengths(lengths)[0])} for too few samples, not 0"
    )
    try:
        model(torch.zeros(2, int(lengths[1])), lengths)
    except UserError as error:
        _require(
            str(samples) in str(error) or str(model.minimum_frames) in str(error), f"the error for a short clip names no length: {error}"
        )
    else:
        raise AssertionError(f"{samples} samples are too few for an output frame, and forward does not refuse them")
