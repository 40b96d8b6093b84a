"""Small recognisers to attack, and batches of made-up utterances for them."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch

from auscult.data.alphabet import Alphabet
from auscult.data.recognition_batch import RecognitionBatch
from auscult.models.recognition import RecognitionModel
from auscult.privacy.message import Mode
from auscult.privacy.victim import Victim
from auscult.registry import build
from auscult.specification import Specification

_SMALL: dict[str, dict[str, Any]] = {
    "deepspeech1": {"hidden": 64, "dropout": 0.0, "front_end": {"name": "mfcc_context", "context": 3}},
    "deepspeech2": {"channels": 4, "hidden": 24, "layers": 2, "front_end": {"name": "log_spectrogram", "window": 0.016, "step": 0.008}},
}


def small_victim(name: str, *, mode: Mode = "eval", dropout: float = 0.0, seed: int = 0, **arguments: Any) -> Victim:
    """Return a small, freshly initialised recogniser of English characters as a victim.

    Args:
        name: "deepspeech1" or "deepspeech2".
        mode: of batch normalisation.
        dropout: of the clients.
        seed: of the weights.
        arguments: recipe keys of the model, over those of the small form.
    """
    labels = Alphabet.named("english")
    specification = Specification("recognition", 16000, labels=labels.labels, blank=labels.blank)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        section = {"name": name, **_SMALL[name], **arguments}
        model = cast(RecognitionModel, build("model", section, specification=specification, sample_rate=16000))
    return Victim(model, specification, mode=mode, dropout=dropout)


def random_batch(victim: Victim, utterances: int, *, seconds: float = 0.6, symbols: int = 5, seed: int = 0) -> RecognitionBatch:
    """Return made-up utterances: noise under a slow envelope, and random characters without repeats."""
    random = np.random.default_rng(seed)
    count = round(seconds * victim.specification.sample_rate)
    samples = []
    for _ in range(utterances):
        envelope = np.abs(np.interp(np.arange(count), np.linspace(0, count, 9), random.normal(size=9)))
        samples.append((0.1 * envelope * np.cumsum(random.normal(size=count)) / 30).astype(np.float32))
    classes = [index for index in range(len(victim.specification.labels)) if index != victim.blank]
    tokens = [[int(token) for token in random.permutation(classes)[:symbols]] for _ in range(utterances)]
    return RecognitionBatch.pad(samples, tokens, [f"utterance-{seed}-{number}" for number in range(utterances)])
