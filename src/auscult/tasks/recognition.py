"""Speech recognition: characters from samples by CTC, judged by word and character error counts.

The one file that knows which cuts are recognised, with which alphabet, loss and decoder, and how an utterance is judged.
Every judged utterance becomes a record with its edit counts; rates are ratios of sums over records (never means of ratios).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from auscult.data.alphabet import Alphabet
from auscult.data.audit import audit
from auscult.data.audit_audio import Progress
from auscult.data.audit_report import AuditReport
from auscult.data.recognition_batch import RecognitionBatch
from auscult.data.splits import Splits, load_splits
from auscult.data.store import AudioStore
from auscult.data.strings import speaker_of, text_of
from auscult.errors import UserError
from auscult.losses.ctc import CtcLoss, ctc_loss, required_frames, uniform_loss
from auscult.metrics.bootstrap import bootstrap_ratio
from auscult.metrics.edit_distance import EditCounts
from auscult.metrics.error_rate import character_errors, error_rate, word_errors
from auscult.registry import INJECTED, Component, register
from auscult.specification import Specification
from auscult.tasks import recognition_diagnostics as diagnostics
from auscult.tasks.base import Expectation, Independence, Item, Loss, Task

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import Cut

from auscult.recipe import Recipe


@register("task", "recognition")
class Recognition(Task):
    """Character recognition with CTC.

    Args:
        recipe: supplied by the program.
        alphabet: "english" (space, apostrophe, a-z), "polish", "data" (the characters of the training texts) or the characters themselves.
        unknown: what to do with a character outside the alphabet: refuse, or leave it out.
        loss: the loss section; its reduction must be a mean, so that batches of any size weigh in by their items.
        decoder: how characters are read from the model's output when an utterance is judged.
    """

    primary_metric = "wer"

    def __init__(
        self,
        recipe: Annotated[Recipe, INJECTED],
        loss: Annotated[CtcLoss, Component("loss", default="ctc")],
        decoder: Annotated[Any, Component("decoder", default="greedy")],
        alphabet: str = "english",
        unknown: Literal["error", "drop"] = "error",
    ) -> None:
        if loss.reduction in ("none", "sum"):
            raise UserError(
                f'task.loss.reduction: "{loss.reduction}" cannot be averaged over batches; use batch_mean, target_mean or frame_mean'
            )
        self.recipe = recipe
        self.criterion = loss
        self.decoder = decoder
        self.unknown: Literal["error", "drop"] = unknown
        self.splits: Splits = load_splits(recipe)
        self.data_hash = self.splits.hash
        self.alphabet = self._alphabet(alphabet)
        self._alphabet_from_data = alphabet == "data"
        self.specification = Specification(
            task="recognition", sample_rate=recipe.data.sample_rate, labels=self.alphabet.labels, blank=self.alphabet.blank
        )
        self.store = AudioStore(recipe.data.sample_rate, recipe.data.cache_megabytes)
        self.augmentations = [section.build() for section in recipe.data.augment]
        self._speakers: dict[str, str] | None = None
        self._shape_model: nn.Module | None = None

    def _alphabet(self, name: str) -> Alphabet:
        if name == "data":
            return Alphabet.from_texts(text_of(cut) for cut in self.cuts("train"))
        if name in ("english", "polish"):
            return Alphabet.named(name)
        return Alphabet(tuple(sorted(set(name))))

    def build_model(self) -> nn.Module:
        """Construct the recipe's model from the specification."""
        model: nn.Module = self.recipe.model.build(specification=self.specification, sample_rate=self.specification.sample_rate)
        return model

    def cuts(self, split: str) -> CutSet:
        """Return the cuts of a split."""
        return self.splits[split]

    def audit(self, audio: bool = True, progress: Progress | None = None) -> AuditReport:
        """Audit every split against the alphabet, the model's output lengths and the sample rate."""
        return audit(
            self.splits, alphabet=self.alphabet, output_frames=self._output_frames, sample_rate=self.specification.sample_rate,
            unknown=self.unknown, audio=audio, progress=progress,
        )  # fmt: skip

    def collate(self, cuts: Sequence[Cut], random: Sequence[np.random.Generator] | None = None) -> RecognitionBatch:
        """Read, augment and pad samples; encode texts.

        Raises:
            AudioError: a recording cannot be read.
            UserError: a text holds characters outside the alphabet and `unknown` is "error".
        """
        samples = [self.store.samples(cut) for cut in cuts]
        tokens = [self.alphabet.encode(text_of(cut), unknown=self.unknown, id=cut.id) for cut in cuts]
        if random is not None:
            samples = [self._augmented(*one) for one in zip(samples, tokens, random, strict=True)]
        return RecognitionBatch.pad(samples, tokens, [cut.id for cut in cuts])

    def _augmented(self, samples: np.ndarray, tokens: list[int], random: np.random.Generator) -> np.ndarray:
        """Return augmented samples, or the original ones where they would get too short for their text (faster speech does that)."""
        changed = samples
        for augmentation in self.augmentations:
            changed = augmentation(changed, self.specification.sample_rate, random)
        needed = len(tokens) + sum(first == second for first, second in pairwise(tokens))
        return samples if len(changed) < len(samples) and self._output_frames(len(changed)) < needed else changed

    def loss(self, model: nn.Module, batch: RecognitionBatch) -> Loss:
        """Mean CTC loss of a batch."""
        output = model(batch.samples, batch.sample_lengths)
        value = self.criterion(output, batch.tokens, batch.token_lengths, self.alphabet.blank, batch.ids)
        return Loss(value=value, items=len(batch.ids))

    def obstacle_to_privacy(self) -> str | None:
        """The loss is a mean over utterances, whatever the reduction; an alphabet must not come from their transcripts."""
        if not self._alphabet_from_data:
            return None
        return "task.alphabet: data takes the characters from the transcripts that are to be protected; write the characters themselves"

    def judge(self, model: nn.Module, batch: RecognitionBatch) -> list[Item]:
        """Decode a batch; an utterance whose output is not finite counts as failed, with every word deleted."""
        logits, lengths = model(batch.samples, batch.sample_lengths)
        return self._records(logits, lengths, batch)

    def _records(self, logits: Tensor, lengths: Tensor, batch: RecognitionBatch) -> list[Item]:
        log_probabilities = torch.log_softmax(logits.float(), dim=-1)  # (batch, frames, classes)
        losses = self._symbol_losses(logits, lengths, batch)
        values = log_probabilities.cpu().numpy()
        items = []
        for index, utterance_id in enumerate(batch.ids):
            frames = values[index, : int(lengths[index])]
            reference = self.alphabet.decode(batch.tokens[index, : int(batch.token_lengths[index])].tolist())
            failed = not bool(np.isfinite(frames).all())
            hypothesis = "" if failed else self.decoder(frames, self.alphabet)
            item = transcript_item(utterance_id, reference, hypothesis)
            item["speaker"] = self._speaker(utterance_id)
            item["duration"] = int(batch.sample_lengths[index]) / self.specification.sample_rate
            item["loss"] = float(losses[index])
            item["frames"] = len(frames)
            item["blank_frames"] = 0 if failed else int((frames.argmax(-1) == self.alphabet.blank).sum())
            item["failed"] = failed
            items.append(item)
        return items

    def _symbol_losses(self, logits: Tensor, lengths: Tensor, batch: RecognitionBatch) -> Tensor:
        """Loss per symbol of each utterance, (batch,); infinite where no alignment exists."""
        feasible = lengths.cpu() >= required_frames(batch.tokens, batch.token_lengths).cpu()
        losses = torch.full((len(batch.ids),), float("inf"))
        chosen = [int(index) for index in feasible.nonzero()[:, 0]]
        if chosen:
            part = ctc_loss(
                logits[chosen], lengths[chosen], batch.tokens[chosen], batch.token_lengths[chosen],
                blank=self.alphabet.blank, reduction="none", ids=[batch.ids[index] for index in chosen],
                allow_empty=self.criterion.allow_empty,
            )  # fmt: skip
            losses[chosen] = (part.detach() / batch.token_lengths[chosen].clamp(min=1)).float().cpu()
        return losses

    def _speaker(self, utterance_id: str) -> str:
        if self._speakers is None:
            self._speakers = {cut.id: speaker_of(cut) for cuts in self.splits.values() for cut in cuts}
        return self._speakers.get(utterance_id, "unknown")

    def summarise(self, items: Sequence[Item]) -> dict[str, float]:
        """Return WER, CER and their parts as ratios of sums."""
        words = [item_words(item) for item in items]
        total = max(sum(counts.length for counts in words), 1)
        frames = max(sum(int(item["frames"]) for item in items), 1)
        characters = max(sum(int(item["characters"]) for item in items), 1)
        return {
            "wer": error_rate(words),
            "cer": sum(int(item["character_errors"]) for item in items) / characters,
            "substitution_rate": sum(counts.substitutions for counts in words) / total,
            "insertion_rate": sum(counts.insertions for counts in words) / total,
            "deletion_rate": sum(counts.deletions for counts in words) / total,
            "loss": float(np.mean([item["loss"] for item in items])),
            "blank_rate": sum(int(item["blank_frames"]) for item in items) / frames,
            "utterances": float(len(items)),
            "failed": float(sum(bool(item["failed"]) for item in items)),
        }

    def intervals(self, items: Sequence[Item]) -> dict[str, tuple[float, float]]:
        """Return 95 % bootstrap intervals of WER and CER, speakers resampled before utterances."""
        speakers = [str(item["speaker"]) for item in items]
        errors = [item["substitutions"] + item["insertions"] + item["deletions"] for item in items]
        words = bootstrap_ratio(errors, [item["words"] for item in items], speakers)
        characters = bootstrap_ratio([item["character_errors"] for item in items], [item["characters"] for item in items], speakers)
        return {"wer": (words.low, words.high), "cer": (characters.low, characters.high)}

    def protocol(self) -> dict[str, str]:
        """Say how transcripts were obtained and compared."""
        return {
            "decoder": self.decoder.describe(),
            "text": "lower case, NFC, single spaces; characters count spaces",
            "rate": "ratio of sums",
        }

    def expected_initial_loss(self, batch: RecognitionBatch) -> Expectation | None:
        """Return the loss of uniform outputs (closed form over the number of alignments)."""
        if self.criterion.reduction != "target_mean":
            return None
        needed = required_frames(batch.tokens, batch.token_lengths)
        values = [
            uniform_loss(int(frames), int(symbols), int(need) - int(symbols), self.specification.classes) / max(int(symbols), 1)
            for frames, symbols, need in zip(self._output_lengths(batch), batch.token_lengths, needed, strict=True)
        ]
        return Expectation(float(np.mean(values)), tolerance=0.15, formula="T ln C - ln C(T + L - r, 2L), per symbol, for uniform outputs")

    def describe(self, model: nn.Module, batch: RecognitionBatch) -> dict[str, Any]:
        """Return reference and lengths of a batch of one."""
        facts = diagnostics.describe(model, batch, self.alphabet, self.specification.sample_rate)
        return {**facts, "speaker": self._speaker(batch.ids[0])}

    def diagnose(self, model: nn.Module, batch: RecognitionBatch) -> dict[str, float]:
        """Return frame error and character error rate."""
        logits, lengths = model(batch.samples, batch.sample_lengths)
        error = diagnostics.frame_error(logits, lengths, batch, self.alphabet.blank)
        return {"frame_error": error, "cer": self.summarise(self._records(logits, lengths, batch))["cer"]}

    def arrays(self, model: nn.Module, batch: RecognitionBatch) -> dict[str, np.ndarray]:
        """Return input, features, outputs and target for figures."""
        return diagnostics.arrays(model, batch, self.alphabet, self.specification.sample_rate)

    def independence(self, model: nn.Module, batch: RecognitionBatch) -> Independence:
        """Return the influence of utterances on one another."""
        return diagnostics.independence(model, batch)

    def _output_lengths(self, batch: RecognitionBatch) -> list[int]:
        return [self._output_frames(int(samples)) for samples in batch.sample_lengths]

    def _output_frames(self, samples: int) -> int:
        """Return the model's output frames for a number of samples, by its own formula; the random state is left alone."""
        if self._shape_model is None:
            with torch.random.fork_rng(devices=[]):
                self._shape_model = self.build_model()
        return int(self._shape_model.output_lengths(torch.tensor([samples]))[0])  # type: ignore[operator]


def transcript_item(utterance_id: str, reference: str, hypothesis: str) -> Item:
    """Return the record of one transcript: texts and edit counts."""
    words = word_errors(reference, hypothesis)
    characters = character_errors(reference, hypothesis)
    return {
        "id": utterance_id,
        "reference": reference,
        "hypothesis": hypothesis,
        "substitutions": words.substitutions,
        "insertions": words.insertions,
        "deletions": words.deletions,
        "words": words.length,
        "character_errors": characters.substitutions + characters.insertions + characters.deletions,
        "characters": characters.length,
    }


def item_words(item: Item) -> EditCounts:
    """Return the word edit counts stored in a record."""
    return EditCounts(int(item["substitutions"]), int(item["insertions"]), int(item["deletions"]), int(item["words"]))
