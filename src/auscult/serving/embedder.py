"""A trained speaker encoder in a person's hands: load a run, embed files, compare two of them.

Needs the run directory only. A score alone says nothing to a user, so `verify` gives a log-likelihood ratio and a probability, from the
calibration that the run's validation trials give; a run without any says so instead of inventing a threshold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from auscult.data.embedding_cache import EmbeddingCache
from auscult.data.sampling import plan_sorted
from auscult.errors import UserError
from auscult.metrics.calibration import Calibration, duration_measures, probability
from auscult.metrics.embedding_scores import cosine_scores
from auscult.models.speaker_encoder import SpeakerEncoder
from auscult.runs.directory import RunDirectory
from auscult.runs.files import replace_with
from auscult.runs.identity import canonical_hash
from auscult.serving.audio_input import check_length, read_at
from auscult.specification import Specification
from auscult.tasks.speaker_start import weights_digest
from auscult.tasks.trial_records import calibration_of
from auscult.training.checkpoint import load_checkpoint
from auscult.training.evaluate import recipe_of
from auscult.training.precision import choose_device

BATCH_SECONDS = 60.0
"""Most padded audio embedded at a time."""


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of files.

    Attributes:
        paths: the files, in the order they were asked for.
        vectors: (files, dimensions) float32.
        seconds: (files,) length of each.
        notes: what the caller should know (files recorded at a lower rate than the model's).
    """

    paths: tuple[str, ...]
    vectors: NDArray[np.float32]
    seconds: NDArray[np.float64]
    notes: tuple[str, ...] = ()

    def save(self, path: Path) -> None:
        """Write an .npz file with `ids`, `embeddings` and `seconds`, whole or not at all."""
        replace_with(path, lambda file: np.savez(file, ids=np.array(self.paths), embeddings=self.vectors, seconds=self.seconds))


@dataclass(frozen=True)
class Comparison:
    """Whether two recordings are of one speaker.

    Attributes:
        score: cosine of their embeddings.
        log_likelihood_ratio: natural logarithm, above 0 speaks for one speaker; None without a calibration.
        probability: of one speaker, at `prior`; None without a calibration.
        prior: share of same-speaker pairs assumed before listening.
        calibration: where the calibration comes from, in words.
    """

    first: str
    second: str
    score: float
    log_likelihood_ratio: float | None
    probability: float | None
    prior: float
    calibration: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


class SpeakerEmbedder:
    """A speaker encoder read from a run.

    Args:
        encoder: in evaluation mode.
        specification: its facts.
        calibration: score and durations to log-likelihood ratio; None where the run has no validation trials.
        cache: embeddings known already.
    """

    def __init__(
        self, encoder: SpeakerEncoder, specification: Specification, calibration: Calibration | None, cache: EmbeddingCache | None = None
    ) -> None:
        self.encoder = encoder.eval()
        self.specification, self.calibration, self.cache = specification, calibration, cache

    def embed(self, paths: Iterable[str | Path]) -> Embeddings:
        """Embed whole files of any sample rate and channel count; a file named twice is computed once.

        Raises:
            AudioError: a file cannot be read.
            UserError: a file is too short for the encoder, or no file is given.
        """
        names = [str(path) for path in paths]
        if not names:
            raise UserError("no audio files to embed; name at least one WAV, FLAC or OGG file")
        unique = list(dict.fromkeys(names))
        waves, notes = [], []
        for name in unique:
            samples, said = self._samples(Path(name))
            waves.append(samples)
            notes += said
        vectors = self._embed(waves)
        rows = [unique.index(name) for name in names]
        seconds = np.array([len(wave) for wave in waves]) / self.specification.sample_rate
        return Embeddings(tuple(names), vectors[rows], seconds[rows], tuple(notes))

    def embed_samples(self, sounds: Sequence[NDArray[np.float32]], names: Sequence[str]) -> NDArray[np.float32]:
        """Embed sounds (time,) at the model's rate; returns (sounds, dimensions).

        Args:
            sounds: at least one; the cache, which is for recordings, is neither asked nor filled.
            names: what messages call them.

        Raises:
            UserError: one is too short for the encoder.
        """
        for sound, name in zip(sounds, names, strict=True):
            check_length(len(sound), self.encoder.minimum_samples, self.specification.sample_rate, name)
        return SpeakerEmbedder(self.encoder, self.specification, None)._embed(sounds)

    def verify(self, first: str | Path, second: str | Path, prior: float = 0.5) -> Comparison:
        """Compare two recordings.

        Args:
            first: audio file.
            second: audio file.
            prior: share of same-speaker pairs among those that will be asked about.

        Raises:
            AudioError, UserError: as `embed`; the prior is not between 0 and 1.
        """
        embedded = self.embed([first, second])
        score = float(cosine_scores(embedded.vectors, [0], [1])[0])
        if self.calibration is None:
            probability([0.0], prior)  # a prior that makes no sense is refused all the same
            return Comparison(str(first), str(second), score, None, None, prior, "none: the run has no validation trials")
        ratio = self.calibration.log_likelihood_ratio([score], duration_measures(embedded.seconds[:1], embedded.seconds[1:]))
        told = f"logistic, fitted on {self.calibration.trials} validation trials of the run"
        return Comparison(str(first), str(second), score, float(ratio[0]), float(probability(ratio, prior)[0]), prior, told)

    def _samples(self, path: Path) -> tuple[NDArray[np.float32], list[str]]:
        samples, notes = read_at(path, self.specification.sample_rate)
        check_length(len(samples), self.encoder.minimum_samples, self.specification.sample_rate, path)
        return samples, notes

    def _embed(self, waves: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return (files, dimensions), computed in batches of similar length."""
        vectors = np.empty((len(waves), self.encoder.dimensions), np.float32)
        device = next(self.encoder.parameters()).device
        keys = [EmbeddingCache.key(wave) if self.cache is not None else "" for wave in waves]
        known = {row: found for row, key in enumerate(keys) if self.cache is not None and (found := self.cache.get(key)) is not None}
        for row, found in known.items():
            vectors[row] = found[0]
        todo = [row for row in range(len(waves)) if row not in known]
        lengths = np.array([len(waves[row]) for row in todo])
        for batch in plan_sorted(lengths / self.specification.sample_rate, seconds=BATCH_SECONDS):
            rows = [todo[place] for place in batch.tolist()]
            held = torch.zeros(len(rows), max(len(waves[row]) for row in rows))
            for place, row in enumerate(rows):
                held[place, : len(waves[row])] = torch.from_numpy(waves[row])
            with torch.inference_mode():
                found = self.encoder(held.to(device), torch.tensor([len(waves[row]) for row in rows], device=device)).float().cpu().numpy()
            vectors[rows] = found
            if self.cache is not None:
                for row, vector in zip(rows, found, strict=True):
                    self.cache.put(keys[row], vector[None])
        if self.cache is not None:
            self.cache.save()
        return vectors


def load_embedder(run: str | Path, checkpoint: str = "best", device: str = "auto") -> SpeakerEmbedder:
    """Load a trained speaker encoder.

    Args:
        run: run directory.
        checkpoint: which weights.
        device: "auto", "cpu" or "cuda".

    Raises:
        UserError: not a run, no or damaged checkpoint, or a run of another task.

    Example:
        >>> load_embedder("runs/verification-small_tdnn-0123456789ab").verify("a.wav", "b.wav").probability  # doctest: +SKIP
    """
    directory = RunDirectory.open(Path(run))
    recipe = recipe_of(directory)
    payload = load_checkpoint(directory.checkpoint(checkpoint))
    specification = Specification.from_dict(payload["specification"])
    if specification.task != "verification":
        raise UserError(f"{directory.path}: trained for {specification.task}; embedding needs a verification run")
    torch.set_num_threads(recipe.data.threads)
    encoder: SpeakerEncoder = recipe.model.build(specification=specification, sample_rate=specification.sample_rate)
    prefix = "encoder."
    encoder.load_state_dict({name.removeprefix(prefix): value for name, value in payload["model"].items() if name.startswith(prefix)})
    calibration = None
    if recipe.task["crops"] == 0:  # the calibration belongs to scores of whole files, as given here
        try:
            calibration = calibration_of(directory.read_items("validation"))
        except UserError:
            calibration = None
    cache = EmbeddingCache(directory.path / "cache", canonical_hash([recipe.model.to_dict(), "whole", weights_digest(encoder)]))
    return SpeakerEmbedder(encoder.to(choose_device(device)), specification, calibration, cache)
