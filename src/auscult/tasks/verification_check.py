"""What a speaker network makes of one utterance: is the right speaker nearest, how near, and does anything else in the batch matter?

Kept apart from the task, which only says which of these exist. A check learns an utterance as two crops that overlap, the first and the
last three quarters of it: some encoders normalise over the embeddings of a batch, which has no meaning for one of them, and
training shows crops, too. "Right" is free of the margin: each crop's nearest class is its speaker. Rejected: judging by a trial, for which
one utterance has no partner.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from auscult.audio.front_ends.log_mel import log_mel
from auscult.data.verification_batch import VerificationBatch
from auscult.tasks.base import Independence, Learned

SHARE = 0.75
"""Of an utterance in each of the two crops."""


def two_crops(samples: np.ndarray) -> list[np.ndarray]:
    """Return the first and the last three quarters of samples (time,), equally long.

    >>> [one.tolist() for one in two_crops(np.arange(4))]
    [[0, 1, 2], [1, 2, 3]]
    """
    length = max(1, round(SHARE * len(samples)))
    return [samples[:length], samples[len(samples) - length :]]


def learned(model: Any, batch: VerificationBatch, labels: tuple[str, ...], sample_rate: int) -> Learned:
    """Return who the utterance of a batch was taken for, and the cosines to the right and to the nearest wrong speaker.

    Args:
        model: a `SpeakerNetwork`, in evaluation mode.
        batch: crops of one utterance of a training speaker.
        labels: training speakers, in class order.
        sample_rate: in hertz.
    """
    output = _output(model, batch)
    true = int(batch.speakers[0])
    measures = _measures(output.correct, output.cosines, true)
    chosen = int(output.cosines.mean(0).argmax())
    item = {
        "id": batch.ids[0],
        "seconds": int(batch.sample_lengths.max()) / sample_rate,
        "speaker": labels[true],
        "chosen": labels[chosen] if output.cosines.shape[1] == len(labels) else None,
        **measures,
    }
    return Learned(item, measures, bool(output.correct.all()))


def diagnose(model: Any, batch: VerificationBatch) -> dict[str, float]:
    """Return margin-free accuracy over the crops, and the cosines to the right and to the nearest wrong speaker."""
    output = _output(model, batch)
    return _measures(output.correct, output.cosines, int(batch.speakers[0]))


def _output(model: Any, batch: VerificationBatch) -> Any:
    embeddings = model(batch.samples.flatten(0, 1), batch.sample_lengths.flatten()).unflatten(0, batch.sample_lengths.shape)
    return model.criterion(embeddings, batch.speakers)


def _measures(correct: Tensor, cosines: Tensor, true: int) -> dict[str, float]:
    measures = {"accuracy": float(correct.float().mean())}
    if cosines.shape[1] > true and cosines.shape[1] > 1:  # a loss that compares within the batch has no classes
        wrong = torch.cat([cosines[:, :true], cosines[:, true + 1 :]], dim=1)
        measures |= {"target_cosine": float(cosines[:, true].mean()), "other_cosine": float(wrong.amax(1).mean())}
    return measures


def describe(model: Any, batch: VerificationBatch, labels: tuple[str, ...], sample_rate: int) -> dict[str, Any]:
    """Return speaker, lengths and sizes for a log."""
    lengths = batch.sample_lengths.flatten().cpu()
    return {
        "speaker": labels[int(batch.speakers[0])],
        "samples": int(lengths[0]),
        "sample_rate": sample_rate,
        "input_frames": int(model.front_end.frames(lengths)[0]),
        "bins": int(model.front_end.bins),
        "crops": batch.utterances,
        "dimensions": model.criterion.dimensions,
        "speakers": model.criterion.classes,
    }


def arrays(model: Any, batch: VerificationBatch, labels: tuple[str, ...], sample_rate: int) -> dict[str, np.ndarray]:
    """Return waveform, its log-mel picture, the features the model saw, and the cosines to every speaker, of the first crop."""
    samples, lengths = batch.samples[:1, 0], batch.sample_lengths[:1, 0]
    features = model.front_end(samples, lengths)
    waveform = samples[0, : int(lengths[0])].cpu().numpy()
    found = {
        "waveform": waveform,
        "sample_rate": np.array(sample_rate),
        "waveform_log_mel": log_mel(waveform, sample_rate),
        "features": features.values[0, : int(features.lengths[0])].cpu().numpy(),
    }
    cosines = _output(model, batch).cosines[0].cpu().numpy()
    if len(cosines) == len(labels):
        found |= {"cosines": cosines, "labels": np.array(labels), "target": np.array(int(batch.speakers[0]))}
    return found


def independence(model: nn.Module, batch: VerificationBatch) -> Independence:
    """Return how far utterances of a batch influence one another's embeddings: through gradients, and through the padding they cause."""
    samples, lengths = batch.samples.flatten(0, 1), batch.sample_lengths.flatten()
    gradient = padding = 0.0
    for row in range(len(lengths)):
        given = samples.clone().requires_grad_()
        embeddings = model(given, lengths)
        found = torch.autograd.grad(embeddings[row].square().sum(), given)[0].abs()
        found[row, : int(lengths[row])] = 0.0
        gradient = max(gradient, float(found.max()))
        with torch.no_grad():
            own = samples[row : row + 1, : int(lengths[row])]
            alone = model(own, lengths[row : row + 1])[0]
            largest = float(embeddings[row].abs().max())
            padding = max(padding, float((alone - embeddings[row]).abs().max()) / max(largest, 1e-12))
    return Independence(gradient, padding)
