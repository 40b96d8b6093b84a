"""A trained recogniser in a person's hands: load a run, transcribe files.

Needs the run directory only: the checkpoint carries the specification and the recipe its architecture and decoder, so no
corpus has to be present.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from auscult.data.alphabet import Alphabet
from auscult.errors import UserError
from auscult.runs.directory import RunDirectory
from auscult.serving.audio_input import check_length, read_at
from auscult.specification import Specification
from auscult.training.checkpoint import load_checkpoint, load_weights
from auscult.training.evaluate import recipe_of
from auscult.training.precision import choose_device


class Recognizer:
    """A speech recogniser read from a run.

    Args:
        model: in evaluation mode.
        specification: its facts.
        decoder: turns log-probabilities into text.
    """

    def __init__(self, model: nn.Module, specification: Specification, decoder: Any) -> None:
        self.model = model.eval()
        self.specification = specification
        self.alphabet = Alphabet(specification.labels)
        self.decoder = decoder

    def transcribe(self, paths: Iterable[str | Path]) -> list[dict[str, Any]]:
        """Recognise audio files of any sample rate and channel count.

        Returns:
            One record per file: `path`, `text`, `seconds`.

        Raises:
            AudioError: a file cannot be read.
            UserError: a file is too short for the model.
        """
        return [self._transcribe(Path(path)) for path in paths]

    def _transcribe(self, path: Path) -> dict[str, Any]:
        samples, _ = read_at(path, self.specification.sample_rate)
        return {"path": str(path), "text": self.text(samples, path), "seconds": len(samples) / self.specification.sample_rate}

    def text(self, samples: NDArray[np.float32], name: str | Path = "the samples") -> str:
        """Recognise samples (time,) at the model's rate; `name` is what messages call them.

        Raises:
            UserError: too short for the model.
        """
        check_length(len(samples), int(getattr(self.model, "minimum_samples", 1)), self.specification.sample_rate, name)
        device = next(self.model.parameters()).device
        with torch.inference_mode():
            output = self.model(torch.from_numpy(samples)[None].to(device), torch.tensor([len(samples)], device=device))
        log_probabilities = torch.log_softmax(output.logits[0, : int(output.lengths[0])].float(), -1).cpu().numpy()
        return str(self.decoder(log_probabilities, self.alphabet))


def load(run: str | Path, checkpoint: str = "best", device: str = "auto") -> Recognizer:
    """Load a trained recogniser.

    Args:
        run: run directory.
        checkpoint: which weights.
        device: "auto", "cpu" or "cuda".

    Raises:
        UserError: not a run, no or damaged checkpoint, or a run of another task.

    Example:
        >>> load("runs/recognition-conv_ctc-0123456789ab").transcribe(["some.wav"])[0]["text"]  # doctest: +SKIP
    """
    directory = RunDirectory.open(Path(run))
    recipe = recipe_of(directory)
    path = directory.checkpoint(checkpoint)
    payload = load_checkpoint(path)
    specification = Specification.from_dict(payload["specification"])
    if specification.task != "recognition":
        raise UserError(f"{directory.path}: trained for {specification.task}; transcribing needs a recognition run")
    torch.set_num_threads(recipe.data.threads)
    model = recipe.model.build(specification=specification, sample_rate=specification.sample_rate)
    load_weights(model, payload, specification, path)
    return Recognizer(model.to(choose_device(device)), specification, recipe.task["decoder"].build())
