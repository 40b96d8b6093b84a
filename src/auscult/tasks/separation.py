"""Separation: several people who speak at once become signals of one person each.

The one file that knows how layers become mixtures, which variant an update trains on, which loss needs no order of sources, and how a
mixture is judged. Three aims share it: every source by itself, all speech without its surroundings, and the first speaker alone.

What silently spoils results elsewhere is refused or stated here: mixtures of one speaker with themselves, splits that share speakers or
recordings, variants that a mixture does not have, silent targets in an average, improvements without the level of the untouched mixture.
Models know no padding, so items of different length never meet in one forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from lhotse import CutSet
from lhotse.utils import fastcopy
from pydantic import Field
from torch import nn

from auscult.data.audit import audit
from auscult.data.audit_audio import Progress
from auscult.data.audit_mixtures import same_speaker_mixtures
from auscult.data.audit_report import AuditReport
from auscult.data.layers import Aim, Example, read_example, source_speakers
from auscult.data.remixing import Levels, Remixer
from auscult.data.separation_batch import SeparationBatch
from auscult.data.splits import load_splits
from auscult.data.store import AudioStore
from auscult.errors import UserError
from auscult.metrics.separation_measures import Measure, further_measures
from auscult.metrics.separation_summary import intervals, summary
from auscult.models.separator import Separator
from auscult.recipe import Recipe
from auscult.registry import INJECTED, Component, register
from auscult.specification import Specification
from auscult.tasks import separation_check as checking
from auscult.tasks.base import Independence, Item, Learned, Loss, Task
from auscult.tasks.separation_items import mixture_item
from auscult.tasks.separation_splits import SameSpeaker, Shared, check_augmentations, check_sharing, check_speakers, source_count
from auscult.tasks.separation_variants import Curriculum, Stage, expand

if TYPE_CHECKING:
    from lhotse.cut import Cut

REDRAWS = 8
"""Stretches of a training mixture that are drawn before one with a silent target is taken."""


@register("task", "separation")
class Separation(Task):
    """Permutation-free separation of mixtures with known sources; the model must be a `Separator`.

    Args:
        recipe: supplied by the program.
        aim: what is put out: "separate_both" every source, "enhance_both" their sum, "enhance_single" the first one alone.
        seconds: length of training stretches, drawn anew in every epoch; null takes whole mixtures. Judging always takes whole ones.
        variants: kept layers of training mixtures, one of those a mixture has drawn per item; null keeps everything.
        judged_variants: kept layers of judged mixtures; every mixture is judged in each of those it has; null keeps everything.
        curriculum: [first update, variants] of stages, which replace `variants`; the first stage begins at update 0.
        remix: share of the training items that are mixed anew from the layers of several mixtures.
        remix_ratio: least and greatest level of the first source against each other one in a new mixture, in dB.
        remix_scene: least and greatest level of the scene against all speech in a new mixture, in dB.
        remix_speed: least and greatest speed of a source in a new mixture, drawn for each: few speakers become many voices.
        same_speaker: what to do with mixtures of one speaker with themselves: "refuse", "leave_out" or "keep".
        shared: what to do where train shares speakers, sessions or recordings with what is judged: "refuse" or "report".
        loss: a registered permutation-invariant loss.
        measures: what is measured besides SI-SDR when the test split is judged: "bss_eval", "stoi", "pesq".
    """

    primary_metric = "si_sdri"
    lower_is_better = False
    check_threshold = -16.0

    def __init__(
        self,
        recipe: Annotated[Recipe, INJECTED],
        loss: Annotated[nn.Module, Component("loss", default="pit_si_sdr")],
        aim: Aim = "separate_both",
        seconds: Annotated[float, Field(ge=0.1)] | None = 4.0,
        variants: Annotated[list[str], Field(min_length=1)] | None = None,
        judged_variants: Annotated[list[str], Field(min_length=1)] | None = None,
        curriculum: Annotated[list[Stage], Field(min_length=1)] | None = None,
        remix: Annotated[float, Field(ge=0, le=1)] = 0.0,
        remix_ratio: tuple[float, float] = (-5.0, 5.0),
        remix_scene: tuple[float, float] = (-14.0, 0.0),
        remix_speed: tuple[Annotated[float, Field(ge=0.5, le=2)], Annotated[float, Field(ge=0.5, le=2)]] = (1.0, 1.0),
        same_speaker: SameSpeaker = "refuse",
        shared: Shared = "refuse",
        measures: list[Measure] = [],  # noqa: B006  (a recipe's default, never changed)
    ) -> None:
        self.recipe, self.loss_module, self.aim, self.remix, self.seconds = recipe, loss, aim, remix, seconds
        splits = load_splits(recipe)
        self.sharing = check_sharing(splits, shared)
        self.data_hash = splits.hash
        rate = recipe.data.sample_rate
        self.splits, self.left_out_same = check_speakers(splits, same_speaker)
        self.specification = Specification("separation", rate, sources=source_count(self.splits, aim))
        self.curriculum = Curriculum.of(variants, curriculum, self.splits.get("train", ()))
        self.judged = {name: expand(cuts, judged_variants) for name, cuts in self.splits.items() if name != "train"}
        self.members = {cut.id: (cut, self.curriculum.fullest(cut)) for cut in self.splits.get("train", ())}
        for judged in self.judged.values():
            self.members |= judged
        self.store = AudioStore(rate, recipe.data.cache_megabytes)
        check_augmentations(recipe)
        self.augmentations = [section.build() for section in recipe.data.augment]
        self.measures, self.measured = tuple(measures), False
        levels = Levels(remix_ratio, remix_scene)
        self.remixer = Remixer(list(self.splits["train"]), self.store, levels, remix_speed) if remix and "train" in self.splits else None

    def build_model(self) -> nn.Module:
        """Construct the recipe's model from the specification."""
        model: nn.Module = self.recipe.model.build(specification=self.specification, sample_rate=self.specification.sample_rate)
        if not isinstance(model, Separator):
            raise UserError(f"model.name: {self.recipe.model.name} takes no mixtures apart; separation needs a model such as dprnn")
        return model

    def cuts(self, split: str) -> CutSet:
        """Return the mixtures of a split; judged ones once for each of their judged variants."""
        if split not in self.splits:
            raise UserError(f'the recipe has no "{split}" split; it has {", ".join(self.splits)}; add data.{split} to the recipe')
        if split == "train":
            return self.splits[split]
        return CutSet.from_cuts(fastcopy(cut, id=identity) for identity, (cut, _) in self.judged[split].items())

    def audit(self, audio: bool = True, progress: Progress | None = None) -> AuditReport:
        """Audit the mixtures of every split."""
        return audit(load_splits(self.recipe), sample_rate=self.specification.sample_rate, audio=audio, progress=progress)

    def collate(self, cuts: Sequence[Cut], random: Sequence[np.random.Generator] | None = None) -> SeparationBatch:
        """Read whole mixtures in the variant they are judged in; with generators, training stretches of the first stage.

        Raises:
            AudioError: a layer cannot be read.
        """
        if random is not None:
            return self.training_batch(cuts, random, 0)
        variants = [self.members[cut.id][1] for cut in cuts]
        examples = [read_example(cut, variant, self.aim, self.store) for cut, variant in zip(cuts, variants, strict=True)]
        return SeparationBatch.pad(examples, variants, [cut.id for cut in cuts])

    def training_batch(self, cuts: Sequence[Cut], random: Sequence[np.random.Generator] | None, update: int) -> SeparationBatch:
        """Read stretches of mixtures, in a variant of the stage that the update is in.

        Raises:
            AudioError: a layer cannot be read.
        """
        if random is None:
            return self.collate(cuts)
        variants = [self.curriculum.draw(cut, update, one) for cut, one in zip(cuts, random, strict=True)]
        examples = [self._stretch(cut, variant, one) for cut, variant, one in zip(cuts, variants, random, strict=True)]
        return SeparationBatch.pad(examples, variants, [cut.id for cut in cuts])

    def _stretch(self, cut: Cut, variant: str, random: np.random.Generator) -> Example:
        """Return a training example, one without silent targets if there is one."""
        total = round(cut.duration * self.store.sample_rate)
        count = total if self.seconds is None else min(total, round(self.seconds * self.store.sample_rate))
        anew = self.remixer is not None and random.random() < self.remix
        for _ in range(REDRAWS):
            if anew and self.remixer is not None:
                example = self.remixer.draw(cut, variant, self.aim, count, random)
            else:
                start = int(random.integers(total - count + 1))
                example = read_example(cut, variant, self.aim, self.store, start, count)
            if checking.silent_targets(example.sources) == 0:
                break
        return self._augmented(example, random)

    def _augmented(self, example: Example, random: np.random.Generator) -> Example:
        """Change speed or level of all signals alike; the mixture stays the sum of its parts and keeps its length."""
        if not self.augmentations:
            return example
        signals = [*example.sources, example.mixture - example.sources.sum(axis=0)]
        state, changed = random.bit_generator.state, []
        for signal in signals:
            random.bit_generator.state = state  # one draw for all signals
            for augmentation in self.augmentations:
                signal = augmentation(signal, self.specification.sample_rate, random)
            changed.append(np.pad(signal[: len(example.mixture)], (0, max(len(example.mixture) - len(signal), 0))))
        return Example(np.stack(changed).sum(axis=0, dtype=np.float32), np.stack(changed[:-1]))

    def loss(self, model: nn.Module, batch: SeparationBatch) -> Loss:
        """Mean over the mixtures that have anything to be heard, each under its best permutation."""
        total, items = batch.mixture.new_zeros(()), 0
        for _, part in batch.of_one_length():
            found = self.loss_module(model(part.mixture), part.sources)
            heard = found.active.any(dim=1)
            total = total + (found.values * heard).sum()
            items += int(heard.sum())
        return Loss(total / max(items, 1), items)

    def prepare_judging(self, model: nn.Module, split: str, device: Any) -> None:
        """Measure what the recipe asks for besides SI-SDR, of the test split only: it takes longer than separating does."""
        self.measured = split == "test"

    def judge(self, model: nn.Module, batch: SeparationBatch) -> list[Item]:
        """Return the record of each mixture; the forward pass is in float32 whatever the run trains in."""
        items: list[Item | None] = [None] * len(batch.ids)
        with torch.autocast(batch.mixture.device.type, enabled=False):
            for places, part in batch.of_one_length():
                estimates = model(part.mixture)
                losses = self.loss_module(estimates, part.sources).values.tolist()
                for row, place in enumerate(places):
                    items[place] = self._item(part, row, estimates[row], losses[row])
        return [item for item in items if item is not None]

    def _item(self, batch: SeparationBatch, row: int, estimates: torch.Tensor, loss: float) -> Item:
        mixture, sources, found = (values.detach().cpu().numpy() for values in (batch.mixture[row], batch.sources[row], estimates))
        cut = self.members[batch.ids[row]][0]
        facts = {
            "id": batch.ids[row],
            "mixture": cut.id,
            "variant": batch.variants[row],
            "aim": self.aim,
            "speakers": list(source_speakers(cut)),
            "same_speaker": bool(same_speaker_mixtures([cut])),
            "seconds": len(mixture) / self.specification.sample_rate,
            "loss": loss,
        }
        item = mixture_item(facts, mixture, sources, found)
        if not self.measured or not self.measures:
            return item
        rate = self.specification.sample_rate
        return {**item, **further_measures(self.measures, sources, found, item["permutation"], rate, mixture)}

    def summarise(self, items: Sequence[Item]) -> dict[str, float]:
        """Return SI-SDR before and after, its improvement, median and failures, over all mixtures and per variant."""
        return summary(items)

    def intervals(self, items: Sequence[Item]) -> dict[str, tuple[float, float]]:
        """Return 95 % bootstrap intervals, pairs of speakers resampled before mixtures."""
        return {name: (found.low, found.high) for name, found in intervals(items).items()}

    def alarms(self, items: Sequence[Item]) -> list[str]:
        """Return what makes the result worse or better than it looks."""
        return [*self.sharing, *checking.alarms(items, self.summarise(items))]

    def protocol(self) -> dict[str, str]:
        """Say what is measured, on which variants, and against what."""
        return checking.protocol(self.aim, self.judged, self.left_out_same)

    def learned(self, model: nn.Module, batch: SeparationBatch) -> Learned:
        """Return what became of a mixture; right where it is improved by 15 dB, or by most of what the model's form allows."""
        [item] = self.judge(model, batch)
        return Learned(item, {key: item[key] for key in ("si_sdr", "si_sdri")}, item["si_sdri"] > checking.enough(model))

    def single(self, cut: Cut) -> SeparationBatch:
        """Return the middle of a training mixture, nothing in it random."""
        variant = self.members[cut.id][1]
        total = round(cut.duration * self.store.sample_rate)
        count = total if self.seconds is None else min(total, round(self.seconds * self.store.sample_rate))
        example = read_example(cut, variant, self.aim, self.store, (total - count) // 2, count)
        return SeparationBatch.pad([example], [variant], [cut.id])

    def describe(self, model: nn.Module, batch: SeparationBatch) -> dict[str, Any]:
        """Return length, variant and level of the mixture of a batch of one."""
        return checking.describe(batch, self.specification.sample_rate)

    def diagnose(self, model: nn.Module, batch: SeparationBatch) -> dict[str, float]:
        """Return SI-SDR and its improvement."""
        [item] = self.judge(model, batch)
        return {key: item[key] for key in ("si_sdr", "si_sdri")}

    def arrays(self, model: nn.Module, batch: SeparationBatch) -> dict[str, np.ndarray]:
        """Return mixture, sources, and estimates in their order."""
        return checking.arrays(model, batch, self.specification.sample_rate)

    def audible(self, model: nn.Module, batch: SeparationBatch) -> dict[str, np.ndarray]:
        """Return mixture, sources and estimates of a batch of one."""
        return checking.audible(model, batch, self.specification.sample_rate)

    def independence(self, model: nn.Module, batch: SeparationBatch) -> Independence | None:
        """Return how far mixtures of a batch influence one another."""
        return checking.independence(model, batch)
