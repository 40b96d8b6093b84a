"""What a segmentation model makes of one window, for the log and the figures of a check.

Kept apart from the task, which only says which of these exist. True classes are named in the order of speakers that suits the outputs
best, as the loss does it, so that a picture of both shows errors and not the names.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from auscult.audio.front_ends.log_mel import log_mel
from auscult.data.diarization_batch import DiarizationBatch
from auscult.losses.powerset import Powerset, permutation_free_loss


def describe(model: Any, batch: DiarizationBatch, powerset: Powerset, sample_rate: int) -> dict[str, Any]:
    """Return the lengths of a batch of one, and the shares of its classes."""
    frames = int(batch.frame_lengths[0])
    classes = powerset.to_classes(powerset.most_active(batch.activity))[0, :frames]
    counts = torch.bincount(classes.cpu(), minlength=powerset.classes).tolist()
    front_end = model.front_end
    return {
        "samples": int(batch.sample_lengths[0]),
        "sample_rate": sample_rate,
        "input_frames": int(front_end.frames(batch.sample_lengths[:1])[0]),
        "bins": int(front_end.bins),
        "output_frames": frames,
        "speakers": int(batch.activity[0, :frames].any(dim=0).sum()),
        "classes": {label: count / frames for label, count in zip(powerset.labels, counts, strict=True)},
    }


def arrays(model: Any, batch: DiarizationBatch, powerset: Powerset, sample_rate: int) -> dict[str, np.ndarray]:
    """Return waveform, its log-mel picture, the features the model saw, class probabilities and true classes of the first window."""
    samples, lengths = batch.samples[:1], batch.sample_lengths[:1]
    frames = int(batch.frame_lengths[0])
    features = model.front_end(samples, lengths)
    output = model(samples, lengths)
    _, orders = permutation_free_loss(output.logits[:, :frames], batch.frame_lengths[:1], batch.activity[:1, :frames], powerset)
    classes = powerset.to_classes(powerset.most_active(batch.activity[:1, :frames]))[0].cpu()
    waveform = samples[0, : int(lengths[0])].cpu().numpy()
    return {
        "waveform": waveform,
        "sample_rate": np.array(sample_rate),
        "waveform_log_mel": log_mel(waveform, sample_rate),
        "features": features.values[0, : int(features.lengths[0])].cpu().numpy(),
        "probabilities": torch.softmax(output.logits[0, :frames].float(), -1).cpu().numpy(),
        "classes": powerset.class_permutations[int(orders[0])][classes].numpy(),
        "labels": np.array(powerset.labels),
    }
