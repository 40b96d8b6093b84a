"""From a batch to one record per recording: who speaks, how long, and the embeddings, packed into text.

Records are plain JSON values so that processes can gather them and a run can keep them; 512 numbers as JSON take ten times the room
of their bits, so embeddings travel as base64 of float32. They are keyed by utterance id from the first moment: the reference
experiment's evaluator filed crops by index arithmetic, and with files of other lengths most of them under another file's name.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from auscult.audio.front_ends.log_mel import LogMel
from auscult.data.embedding_cache import EmbeddingCache
from auscult.data.verification_batch import VerificationBatch
from auscult.tasks.base import Item

Vectors = NDArray[np.float32]


def embed_batch(
    model: nn.Module, batch: VerificationBatch, sample_rate: int, picture: LogMel | None, cache: EmbeddingCache | None
) -> list[Item]:
    """Return one record per row of a batch: id, seconds, packed embeddings of its crops and, with a picture, the untrained ones.

    Args:
        model: (batch, time), (batch,) -> (batch, dimensions), in evaluation mode.
        batch: one row per recording, its crops along the second axis.
        sample_rate: in hertz.
        picture: log-mel front-end of the untrained baseline.
        cache: embeddings known already; new ones are added.
    """
    ids = batch.ids[:: batch.utterances]
    lengths = batch.sample_lengths.cpu()
    embeddings = _embeddings(model, batch, cache)  # (rows, crops, dimensions)
    items: list[Item] = []
    for row, utterance_id in enumerate(ids):
        item: Item = {"id": utterance_id, "seconds": int(lengths[row].max()) / sample_rate, "embedding": pack(embeddings[row])}
        if picture is not None:
            item["untrained"] = pack(untrained_embedding(picture, batch.samples[row, :, :].cpu(), lengths[row]))
        items.append(item)
    return items


def _embeddings(model: nn.Module, batch: VerificationBatch, cache: EmbeddingCache | None) -> Vectors:
    rows, crops = batch.sample_lengths.shape
    if cache is None:
        flat = model(batch.samples.flatten(0, 1), batch.sample_lengths.flatten())
        return np.asarray(flat.float().cpu().numpy().reshape(rows, crops, -1), np.float32)
    samples, lengths = batch.samples.cpu().numpy(), batch.sample_lengths.tolist()
    keys = [cache.key(np.concatenate([samples[row, crop, : lengths[row][crop]] for crop in range(crops)])) for row in range(rows)]
    missing = [row for row, key in enumerate(keys) if cache.get(key) is None]
    if missing:
        chosen = torch.tensor(missing, device=batch.samples.device)
        kept = batch.sample_lengths[chosen]
        part = batch.samples[chosen][:, :, : int(kept.max())]
        fresh = model(part.flatten(0, 1), kept.flatten()).float().cpu().numpy().reshape(len(missing), crops, -1)
        for row, vectors in zip(missing, fresh, strict=True):
            cache.put(keys[row], vectors)
    return np.stack([_known(cache, key) for key in keys])


def _known(cache: EmbeddingCache, key: str) -> Vectors:
    found = cache.get(key)
    assert found is not None  # put there a moment ago
    return found


def untrained_embedding(picture: LogMel, samples: Tensor, lengths: Tensor) -> Vectors:
    """Return mean and deviation of each log-mel bin over all frames of all crops, (1, 2 * bins): what a voice looks like untrained."""
    values, counts = picture(samples, lengths)
    frames = torch.cat([one[:count] for one, count in zip(values, counts.tolist(), strict=True)])  # (frames, bins)
    return torch.cat([frames.mean(0), frames.std(0, correction=0)])[None].numpy()


def pack(vectors: Vectors) -> str:
    """Return embeddings (crops, dimensions) as text.

    >>> unpack(pack(np.ones((2, 3), np.float32))).shape
    (2, 3)
    """
    crops = np.ascontiguousarray(vectors, dtype="<f4")
    return f"{crops.shape[0]}:{base64.b64encode(crops.tobytes()).decode()}"


def unpack(text: str) -> Vectors:
    """Return what `pack` was given."""
    crops, _, data = text.partition(":")
    return np.frombuffer(base64.b64decode(data), dtype="<f4").reshape(int(crops), -1)


def stacked(items: Sequence[Item], key: str) -> Vectors:
    """Return the embeddings of records: (records, crops, dimensions)."""
    return np.stack([unpack(item[key]) for item in items])
