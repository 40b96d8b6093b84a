"""What a client sends: its side of the protocol, computed once and turned into a message.

The only place where real utterances and a `Victim` meet. Local steps are plain gradient descent, as in federated averaging; every client
of a secure sum has a batch of its own and starts from the same weights. Dropout is active here alone, with masks that leave with the
client. Defences act on each client's message, before any sum.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from auscult.data.recognition_batch import RecognitionBatch
from auscult.errors import UserError
from auscult.privacy.defence import Defence
from auscult.privacy.message import Knowledge, Leak, Truth
from auscult.privacy.victim import Victim
from auscult.recipe.attack import Known
from auscult.recipe.attack import LeakSettings as LeakSettings  # beside `capture`, which it belongs to
from auscult.streams import Streams


def capture(
    victim: Victim,
    batches: Sequence[RecognitionBatch],
    speakers: Sequence[str],
    settings: LeakSettings,
    streams: Streams,
    defences: Sequence[Defence] = (),
) -> tuple[Leak, Knowledge, Truth]:
    """Compute the message of clients, one batch each.

    Args:
        victim: what they start from.
        batches: one per client.
        speakers: of all utterances, in order.
        settings: see `LeakSettings`.
        streams: of dropout masks and of what defences draw, by client.
        defences: what each client does to its message, in order.

    Raises:
        UserError: batches do not fit the settings, or a gradient is not finite.
    """
    sizes = [len(batch.ids) for batch in batches]
    if len(batches) != settings.clients or any(size != settings.batch for size in sizes):
        raise UserError(f"capture: expected {settings.clients} clients with {settings.batch} utterances each, got batches of {sizes}")
    parts = []
    for number, batch in enumerate(batches):
        tensors = _client(victim, batch, settings, streams.integer("dropout", number))
        for place, defence in enumerate(defences):
            tensors = defence.transform(tensors, streams.generator("defence", number, place))
        parts.append(tensors)
    names = list(parts[0])
    leak = Leak(
        kind=settings.kind, tensors={name: torch.stack([part[name] for part in parts]).sum(0) for name in names},
        batch=settings.batch, reduction=victim.reduction, mode=victim.mode, victim=victim.fingerprint, dropout=victim.dropout,
        steps=settings.steps if settings.kind == "delta" else 1, rate=settings.rate if settings.kind == "delta" else None,
        clients=settings.clients, buffers=dict(victim.model.named_buffers()) if settings.send_buffers else None,
        defences=tuple(defence.describe() for defence in defences),
        changes=tuple(change for defence in defences for change in defence.declare()),
    )  # fmt: skip
    truth = _truth(victim, batches, speakers)
    return leak, _knowledge(batches, truth, settings.knowledge), truth


def client_features(victim: Victim, batch: RecognitionBatch) -> tuple[Tensor, Tensor]:
    """Return the single frames (batch, time, width) of a batch and their lengths, without gradient."""
    with torch.no_grad():
        features = victim.model.front_end(batch.samples, batch.sample_lengths)
    dtype = next(iter(victim.parameters.values())).dtype
    return victim.features.single(features).to(dtype).clone(), features.lengths


def _client(victim: Victim, batch: RecognitionBatch, settings: LeakSettings, seed: int) -> dict[str, Tensor]:
    frames, lengths = client_features(victim, batch)
    chosen = victim.chosen(settings.layers)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        victim.set_dropout(True)
        try:
            if settings.kind == "gradient":
                loss = victim.loss(frames, lengths, batch.tokens, batch.token_lengths)
                found = torch.autograd.grad(loss, list(chosen.values()), allow_unused=True, materialize_grads=True)
                return dict(zip(chosen, found, strict=True))
            return {name: delta for name, delta in _local_steps(victim, batch, frames, lengths, settings).items() if name in chosen}
        finally:
            victim.set_dropout(False)


def _local_steps(victim: Victim, batch: RecognitionBatch, frames: Tensor, lengths: Tensor, settings: LeakSettings) -> dict[str, Tensor]:
    before = {name: value.detach() for name, value in victim.parameters.items()}
    weights = dict(before)
    for _ in range(settings.steps):
        weights = {name: value.detach().requires_grad_() for name, value in weights.items()}
        loss = victim.loss(frames, lengths, batch.tokens, batch.token_lengths, weights)
        gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True, materialize_grads=True)
        weights = {name: value - settings.rate * slope for (name, value), slope in zip(weights.items(), gradients, strict=True)}
    return {name: (weights[name] - before[name]).detach() for name in before}


def _truth(victim: Victim, batches: Sequence[RecognitionBatch], speakers: Sequence[str]) -> Truth:
    features, texts, ids, samples = [], [], [], []
    labels = victim.specification.labels
    for batch in batches:
        frames, lengths = client_features(victim, batch)
        for index, utterance in enumerate(batch.ids):
            features.append(frames[index, : int(lengths[index])])
            texts.append("".join(labels[int(token)] for token in batch.tokens[index, : int(batch.token_lengths[index])]))
            ids.append(utterance)
            samples.append(batch.samples[index, : int(batch.sample_lengths[index])])
    return Truth(tuple(features), tuple(texts), tuple(ids), tuple(speakers), tuple(samples))


def _knowledge(batches: Sequence[RecognitionBatch], truth: Truth, known: Known) -> Knowledge:
    if known == "nothing":
        return Knowledge()
    frames = tuple(len(one) for one in truth.features)
    if known == "lengths":
        return Knowledge(frames, token_lengths=tuple(int(length) for batch in batches for length in batch.token_lengths))
    rows = [
        tuple(int(token) for token in row[: int(length)])
        for batch in batches
        for row, length in zip(batch.tokens, batch.token_lengths, strict=True)
    ]
    return Knowledge(frames, tuple(rows))
