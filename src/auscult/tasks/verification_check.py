"""What a speaker network makes of one utterance: is the right speaker nearest, how near, and does anything else in the batch matter?

Kept apart from the task, which only says which of these exist. A check learns an utterance beside one of another speaker, each as two
crops that overlap (its first and its last three quarters): losses that compare within a batch have nothing to learn from one
speaker, and encoders that normalise over the embeddings of a batch turn two crops alone into opposites, whatever is said in them. "Right"
is free of the margin: every crop's nearest class is its speaker. Rejected: judging by a trial, for which one utterance has no partner.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lhotse.cut import Cut
from torch import nn

from auscult.audio.front_ends.log_mel import log_mel
from auscult.data.strings import speaker_of
from auscult.data.verification_batch import VerificationBatch
from auscult.errors import UserError
from auscult.losses.speaker_loss import SpeakerLossOutput
from auscult.tasks.base import Independence, Learned

SHARE = 0.75
"""Of an utterance in each of the two crops."""


def partner(cut: Cut, cuts: Sequence[Cut]) -> Cut:
    """Return the cut that an utterance is learned beside: the first of the speaker who comes next by name.

    Raises:
        UserError: the cuts are all of one speaker.
    """
    own = speaker_of(cut)
    firsts: dict[str, Cut] = {}
    for one in sorted(cuts, key=lambda one: str(one.id)):
        firsts.setdefault(speaker_of(one), one)
    others = sorted(name for name in firsts if name != own)
    if not others:
        raise UserError(f"data.train: all utterances are of {own}; telling speakers apart needs two")
    return firsts[next((name for name in others if name > own), others[0])]


def two_crops(samples: np.ndarray) -> list[np.ndarray]:
    """Return the first and the last three quarters of samples (time,), equally long.

    >>> [one.tolist() for one in two_crops(np.arange(4))]
    [[0, 1, 2], [1, 2, 3]]
    """
    length = max(1, round(SHARE * len(samples)))
    return [samples[:length], samples[len(samples) - length :]]


def learned(model: Any, batch: VerificationBatch, labels: tuple[str, ...], sample_rate: int) -> Learned:
    """Return who the first utterance of a batch was taken for, and the cosines to the right and to the nearest wrong speaker.

    Args:
        model: a `SpeakerNetwork`, in evaluation mode.
        batch: crops of an utterance, and of one of another speaker.
        labels: training speakers, in class order.
        sample_rate: in hertz.
    """
    output = _output(model, batch)
    own = len(output.cosines) // len(batch.speakers)  # rows of the first speaker: a metric loss may keep an utterance of each for reference
    true = int(batch.speakers[0])
    classes = [labels[int(one)] for one in batch.speakers] if output.cosines.shape[1] == len(batch.speakers) else list(labels)
    measures = _measures(output, batch)
    item = {
        "id": batch.ids[0],
        "beside": batch.ids[batch.utterances],
        "seconds": int(batch.sample_lengths[0].max()) / sample_rate,
        "speaker": labels[true],
        "chosen": classes[int(output.cosines[:own].mean(0).argmax())],
        **measures,
    }
    return Learned(item, measures, bool(output.correct.all()))


def diagnose(model: Any, batch: VerificationBatch) -> dict[str, float]:
    """Return margin-free accuracy over the crops of both, and cosines to the right and to the nearest wrong speaker."""
    return _measures(_output(model, batch), batch)


def _output(model: Any, batch: VerificationBatch) -> SpeakerLossOutput:
    embeddings = model(batch.samples.flatten(0, 1), batch.sample_lengths.flatten()).unflatten(0, batch.sample_lengths.shape)
    output: SpeakerLossOutput = model.criterion(embeddings, batch.speakers)
    return output


def _measures(output: SpeakerLossOutput, batch: VerificationBatch) -> dict[str, float]:
    """Name the accuracy as the loss does; a loss that compares within the batch has one class per speaker of it."""
    rows = torch.arange(len(batch.speakers), device=batch.speakers.device)
    within = output.accuracy_name == "batch_accuracy"
    true = (rows if within else batch.speakers).repeat_interleave(len(output.cosines) // len(rows))[:, None]  # (items, 1)
    right = output.cosines.gather(1, true)
    wrong = output.cosines.scatter(1, true, -torch.inf).amax(1)
    return {
        output.accuracy_name: float(output.correct.float().mean()),
        "target_similarity": float(right.mean()),
        "other_similarity": float(wrong.mean()),
    }


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
    output = _output(model, batch)
    if output.accuracy_name == "accuracy":
        cosines = output.cosines[0].cpu().numpy()
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
