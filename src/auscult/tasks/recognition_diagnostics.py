"""What a recogniser's output looks like from inside: errors of single frames, arrays for figures, influence between items.

Kept apart from the task, which only says which of these exist. The frame error is the mean absolute difference between the
output probabilities and the posterior alignment (the gradient CTC sends back), so it is defined wherever the loss is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from auscult.audio.front_ends.log_mel import log_mel
from auscult.data.alphabet import Alphabet
from auscult.data.recognition_batch import RecognitionBatch
from auscult.losses.ctc import occupancy, required_frames
from auscult.tasks.base import Independence


def describe(model: nn.Module, batch: RecognitionBatch, alphabet: Alphabet, sample_rate: int) -> dict[str, Any]:
    """Return reference, lengths before and after the model, and the frames CTC needs, for the first utterance of a batch."""
    frames = _front_end(model).frames(batch.sample_lengths)
    tokens = batch.tokens[0, : int(batch.token_lengths[0])].tolist()
    return {
        "reference": alphabet.decode(tokens),
        "samples": int(batch.sample_lengths[0]),
        "sample_rate": sample_rate,
        "input_frames": int(frames[0]),
        "bins": int(_front_end(model).bins),
        "output_frames": int(model.output_lengths(batch.sample_lengths)[0]),  # type: ignore[operator]
        "symbols": len(tokens),
        "required_frames": int(required_frames(batch.tokens, batch.token_lengths)[0]),
    }


def frame_error(logits: Tensor, lengths: Tensor, batch: RecognitionBatch, blank: int) -> float:
    """Return the mean over true frames of half the L1 distance between output probabilities and the posterior alignment, in [0, 1]."""
    target = occupancy(logits, lengths, batch.tokens, batch.token_lengths, blank=blank)
    distance = 0.5 * (torch.softmax(logits.float(), -1) - target).abs().sum(-1)  # (batch, frames)
    inside = torch.arange(distance.shape[1], device=lengths.device)[None] < lengths[:, None]
    return float(distance[inside].mean())


def arrays(model: nn.Module, batch: RecognitionBatch, alphabet: Alphabet, sample_rate: int) -> dict[str, np.ndarray]:
    """Return waveform, its log-mel picture, the features the model saw, output probabilities and target of the first utterance."""
    samples, lengths = batch.samples[:1], batch.sample_lengths[:1]
    features = _front_end(model)(samples, lengths)
    logits, frames = model(samples, lengths)
    waveform = samples[0, : int(lengths[0])].cpu().numpy()
    return {
        "waveform": waveform,
        "sample_rate": np.array(sample_rate),
        "waveform_log_mel": log_mel(waveform, sample_rate),
        "features": features.values[0, : int(features.lengths[0])].cpu().numpy(),
        "probabilities": torch.softmax(logits[0, : int(frames[0])].float(), -1).cpu().numpy(),
        "tokens": batch.tokens[0, : int(batch.token_lengths[0])].cpu().numpy(),
        "labels": np.array([*alphabet.labels, "<blank>"]),
    }


def independence(model: nn.Module, batch: RecognitionBatch) -> Independence:
    """Return the influence of utterances on one another: through gradients, and through the padding they cause."""
    gradient = padding = 0.0
    for index in range(len(batch.ids)):
        samples = batch.samples.clone().requires_grad_()
        logits, lengths = model(samples, batch.sample_lengths)
        found = torch.autograd.grad(logits[index, : int(lengths[index])].square().sum(), samples)[0].abs()
        found[index, : int(batch.sample_lengths[index])] = 0.0
        gradient = max(gradient, float(found.max()))
        with torch.no_grad():
            alone = batch.select([index])
            single = model(alone.samples, alone.sample_lengths).logits[0, : int(lengths[index])]
            padding = max(padding, float((single - logits[index, : int(lengths[index])]).abs().max()))
    return Independence(gradient, padding)


def _front_end(model: nn.Module) -> Any:
    return model.front_end
