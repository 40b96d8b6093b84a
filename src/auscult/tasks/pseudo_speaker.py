"""Speakers put into two classes at will, and what that can teach: nothing about speakers who were not there.

Problem: an experiment gave every speaker one of two labels and read 61.5 % on other speakers as progress towards diarization. Which of two
classes a new speaker was given is a coin toss, so accuracy on unseen speakers is chance by construction; what was seen came from
labels that changed between processes (`hash` is salted), from 70 to 30 splits, from maps rebuilt in every epoch, and from the best of
thirty looks at few speakers. Choice: the task is kept, to repeat and refute the experiment, with everything done right: the map is
sorted, balanced within each split, part of the labels (and so written into the run, hashed, and compared at resume and
evaluation); accuracy comes with the chance line and an interval that resamples speakers, and an alarm says on which side of chance it
lies. What the experiment wanted is the task `diarization` on simulated conversations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import log
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field
from torch import nn

from auscult.data.audit import audit
from auscult.data.audit_audio import Progress
from auscult.data.audit_report import AuditReport
from auscult.data.disjoint import check_disjoint
from auscult.data.splits import Splits, load_splits
from auscult.data.store import AudioStore
from auscult.data.strings import UNKNOWN_SPEAKER, speaker_of
from auscult.data.verification_batch import VerificationBatch
from auscult.errors import UserError
from auscult.metrics.bootstrap import bootstrap_ratio
from auscult.recipe import Recipe
from auscult.registry import INJECTED, register
from auscult.specification import Specification
from auscult.tasks.base import Expectation, Item, Loss, Task

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import Cut

CHANCE = 0.5
MOST_SKEWED = 0.6
"""Share of the training utterances in one class above which training is refused: a constant answer would be that good."""


def pseudo_labels(speakers: Iterable[str]) -> dict[str, int]:
    """Return class 0 or 1 of each speaker: sorted names in turn, so the classes differ by one speaker at most.

    >>> pseudo_labels(["cid", "ann", "bob", "ann"])
    {'ann': 0, 'bob': 1, 'cid': 0}
    """
    return {name: place % 2 for place, name in enumerate(sorted(set(speakers)))}


@register("task", "pseudo_speaker")
class PseudoSpeaker(Task):
    """In which of two arbitrary classes is the speaker of a clip?

    Args:
        recipe: supplied by the program.
        seconds: length of a clip; the middle of an utterance is judged, a random part trains; shorter utterances are repeated.
    """

    primary_metric = "error_rate"

    def __init__(self, recipe: Annotated[Recipe, INJECTED], seconds: Annotated[float, Field(gt=0)] = 3.0) -> None:
        self.recipe = recipe
        self.splits: Splits = load_splits(recipe)
        check_disjoint(dict(self.splits))
        self.data_hash = self.splits.hash
        rate = recipe.data.sample_rate
        self.samples = round(seconds * rate)
        self.map = self._map()
        self.speakers = {cut.id: speaker_of(cut) for cuts in self.splits.values() for cut in cuts}
        self.specification = Specification("pseudo_speaker", rate, label_names(self.map))
        self.store = AudioStore(rate, recipe.data.cache_megabytes)
        self.augmentations = [section.build() for section in recipe.data.augment]
        if "train" in self.splits:
            self._check_balance()

    def _map(self) -> dict[str, int]:
        labels: dict[str, int] = {}
        for cuts in self.splits.values():
            for cut in cuts:
                if speaker_of(cut) == UNKNOWN_SPEAKER:
                    raise UserError(f"{cut.id}: pseudo_speaker labels speakers, and this utterance names none; add speakers to the corpus")
            labels |= pseudo_labels(speaker_of(cut) for cut in cuts)
        return labels

    def _check_balance(self) -> None:
        classes = np.array([self.map[self.speakers[cut.id]] for cut in self.splits["train"]])
        share = max(float(classes.mean()), 1 - float(classes.mean()))
        if share > MOST_SKEWED:
            raise UserError(
                f"data.train: {100 * share:.0f} % of the utterances fall into one class, so a constant answer is that good; speakers "
                "differ too much in their number of utterances: select equally many of each"
            )

    def build_model(self) -> nn.Module:
        """Construct the recipe's model."""
        model: nn.Module = self.recipe.model.build(specification=self.specification, sample_rate=self.specification.sample_rate)
        return model

    def cuts(self, split: str) -> CutSet:
        """Return the cuts of a split."""
        return self.splits[split]

    def audit(self, audio: bool = True, progress: Progress | None = None) -> AuditReport:
        """Look for leaks, duplicates, silence and files that cannot be read."""
        return audit(self.splits, sample_rate=self.specification.sample_rate, audio=audio, progress=progress)

    def collate(self, cuts: Sequence[Cut], random: Sequence[np.random.Generator] | None = None) -> VerificationBatch:
        """Read clips, one utterance per row; with generators, a random part of each, augmented."""
        generators: Sequence[np.random.Generator | None] = random if random is not None else [None] * len(cuts)
        clips = [[self._clip(cut, generator)] for cut, generator in zip(cuts, generators, strict=True)]
        return VerificationBatch.pad(clips, [self.map[speaker_of(cut)] for cut in cuts], [cut.id for cut in cuts])

    def _clip(self, cut: Cut, random: np.random.Generator | None) -> np.ndarray:
        spare = max(0, round(cut.duration * self.specification.sample_rate) - self.samples)
        start = spare // 2 if random is None else int(random.integers(spare + 1))
        samples = self.store.stretch(cut, start, self.samples)
        for augmentation in self.augmentations if random is not None else ():
            samples = augmentation(samples, self.specification.sample_rate, random)
        return samples

    def loss(self, model: nn.Module, batch: VerificationBatch) -> Loss:
        """Cross-entropy, in float32."""
        logits = model(batch.samples[:, 0], batch.sample_lengths[:, 0]).float()
        return Loss(nn.functional.cross_entropy(logits, batch.speakers), items=len(batch.ids))

    def judge(self, model: nn.Module, batch: VerificationBatch) -> list[Item]:
        """Return the class given to the speaker and the class chosen, one record per utterance."""
        logits = model(batch.samples[:, 0], batch.sample_lengths[:, 0]).float()
        losses = nn.functional.cross_entropy(logits, batch.speakers, reduction="none")
        rows = zip(batch.ids, batch.speakers.tolist(), logits.argmax(1).tolist(), losses.tolist(), strict=True)
        return [
            {"id": one, "speaker": self.speakers[one], "given": true, "chosen": guess, "correct": int(true == guess), "loss": loss}
            for one, true, guess, loss in rows
        ]

    def summarise(self, items: Sequence[Item]) -> dict[str, float]:
        """Return accuracy beside chance and beside the share of the larger class."""
        first = sum(item["given"] == 0 for item in items) / len(items)
        accuracy = sum(item["correct"] for item in items) / len(items)
        return {
            "error_rate": 1 - accuracy,
            "accuracy": accuracy,
            "chance": CHANCE,
            "majority_accuracy": max(first, 1 - first),
            "loss": float(np.mean([item["loss"] for item in items])),
            "speakers": float(len({item["speaker"] for item in items})),
        }

    def intervals(self, items: Sequence[Item]) -> dict[str, tuple[float, float]]:
        """Return 95 % intervals, speakers resampled before utterances: a speaker's utterances share one coin toss."""
        low, high = bootstrap_ratio([item["correct"] for item in items], [1] * len(items), [item["speaker"] for item in items])
        return {"accuracy": (low, high), "error_rate": (1 - high, 1 - low)}

    def alarms(self, items: Sequence[Item]) -> list[str]:
        """Return on which side of chance the interval lies, and what that means."""
        low, high = self.intervals(items)["accuracy"]
        interval = f"accuracy {self.summarise(items)['accuracy']:.3f}, 95 % interval [{low:.3f}, {high:.3f}]"
        trained = {self.speakers[cut.id] for cut in self.splits["train"]} if "train" in self.splits else set()
        if any(item["speaker"] in trained for item in items):
            return [f"{interval} is of speakers who were trained on: memory, which says nothing about others"]
        if low <= CHANCE <= high:
            return [f"{interval} does not exclude chance (0.5): as it must be for speakers who were not trained on"]
        return [f"{interval} excludes chance (0.5): on speakers who were not trained on look for a leak, or for luck over several looks"]

    def protocol(self) -> dict[str, str]:
        """Say what the accuracy is of."""
        return {
            "labels": "each speaker given one of two classes at will: sorted names in turn, within each split",
            "accuracy": "chance by construction on speakers who were not trained on; the alarm says whether the interval excludes it",
            "clips": f"{self.samples / self.specification.sample_rate:g} s from the middle of each utterance",
            "intervals": "speakers resampled, then utterances; one trained model",
        }

    def expected_initial_loss(self, batch: Any) -> Expectation | None:
        """Return ln 2; a loss that stays there has learned nothing."""
        return Expectation(log(2), tolerance=0.25, formula="ln 2, for uniform outputs")


def label_names(labels: Mapping[str, int]) -> tuple[str, str]:
    """Return the two labels: each holds the names of its speakers, so that the whole map travels with the run.

    >>> label_names({"ann": 0, "bob": 1, "cid": 0})
    ('0: ann, cid', '1: bob')
    """
    first, second = (", ".join(sorted(name for name, own in labels.items() if own == which)) for which in (0, 1))
    return f"0: {first}", f"1: {second}"
