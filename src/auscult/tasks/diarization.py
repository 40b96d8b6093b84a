"""Diarization, the part that is learned: who speaks when within a few seconds, speakers without names.

The one file that knows how windows of conversations become frame labels, which loss needs no order of speakers, and how a window is
judged. Windows come from real recordings with turns, or from conversations simulated by `data.conversations`; both are mixed and labelled
by the same code. Naming speakers throughout a recording is what `serving` builds on top; nothing here is the error rate
of a recording, and the metrics' names say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import nn

from auscult.data.audit import audit
from auscult.data.audit_audio import Progress
from auscult.data.audit_report import AuditReport, finding, ordered
from auscult.data.diarization_batch import DiarizationBatch
from auscult.data.disjoint import check_disjoint
from auscult.data.mixing import mix_conversation
from auscult.data.splits import Splits, load_splits
from auscult.data.store import AudioStore
from auscult.data.turns import frame_activity
from auscult.data.windows import Windows
from auscult.errors import UserError
from auscult.losses.powerset import Powerset, permutation_free_loss
from auscult.metrics.bootstrap import bootstrap_ratio
from auscult.metrics.frame_errors import local_errors, one_speaker_errors
from auscult.recipe import Recipe
from auscult.registry import INJECTED, register
from auscult.specification import Specification
from auscult.tasks import diarization_check as checking
from auscult.tasks import diarization_labels as labels
from auscult.tasks.base import Expectation, Independence, Item, Learned, Loss, Task
from auscult.tasks.recognition_diagnostics import independence

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import Cut


@register("task", "diarization")
class Diarization(Task):
    """Local segmentation into powerset classes; the model must offer `output_lengths` and `frame_centres`.

    Args:
        recipe: supplied by the program.
        speakers: speakers a window is told apart into; where more speak, the most active ones count in training.
        at_once: most simultaneous speakers that are told apart.
        window: longest window, in seconds.
        largest_share: share of the training frames with the same number of speakers above which training is refused.
    """

    primary_metric = "frame_error"

    def __init__(
        self,
        recipe: Annotated[Recipe, INJECTED],
        speakers: Annotated[int, Field(ge=2, le=4)] = 3,
        at_once: Annotated[int, Field(ge=1, le=4)] = 2,
        window: Annotated[float, Field(ge=1, le=60)] = 5.0,
        largest_share: Annotated[float, Field(gt=0.5, le=1)] = 0.95,
    ) -> None:
        self.recipe = recipe
        self.powerset = Powerset(speakers, at_once)
        self.window, self.largest_share = window, largest_share
        self.splits: Splits = load_splits(recipe)
        check_disjoint(dict(self.splits))
        self.data_hash = self.splits.hash
        rate = recipe.data.sample_rate
        self.specification = Specification("diarization", rate, self.powerset.labels, sources=speakers)
        self.store = AudioStore(rate, recipe.data.cache_megabytes)
        self.augmentations = [section.build() for section in recipe.data.augment]
        self.windows = {name: Windows(cuts, window, rate) for name, cuts in self.splits.items()}
        with torch.random.fork_rng(devices=[]):
            self._shape_model: Any = self.build_model()
        if not (hasattr(self._shape_model, "output_lengths") and hasattr(self._shape_model, "frame_centres")):
            raise UserError(
                f"model.name: {recipe.model.name} states no frame grid; diarization needs a model such as powerset_segmentation"
            )
        self.class_shares = self._class_shares()

    def _class_shares(self) -> dict[str, dict[str, float]]:
        """Return the share of each class by split, and refuse training frames that are nearly all alike."""
        rate = self.specification.sample_rate
        grid = lambda samples: self._centres(samples)  # noqa: E731
        shares = {name: labels.class_shares(windows, self.powerset, grid, rate) for name, windows in self.windows.items()}
        if "train" in shares:
            labels.check_prior(shares["train"], self.largest_share)
        return shares

    def build_model(self) -> nn.Module:
        """Construct the recipe's model from the specification."""
        model: nn.Module = self.recipe.model.build(specification=self.specification, sample_rate=self.specification.sample_rate)
        return model

    def cuts(self, split: str) -> CutSet:
        """Return the windows of a split."""
        self.splits[split]  # the message of a split that does not exist
        return self.windows[split].cuts

    def audit(self, audio: bool = True, progress: Progress | None = None) -> AuditReport:
        """Audit the recordings of every split, and report how often each class occurs."""
        report = audit(self.splits, sample_rate=self.specification.sample_rate, audio=audio, progress=progress)
        notes = [
            finding("info", "class_shares", f"{name}: " + ", ".join(f"{label} {100 * share:.1f} %" for label, share in shares.items()))
            for name, shares in self.class_shares.items()
        ]
        return AuditReport(report.splits, ordered([*report.findings, *notes]), report.audio_checked)

    def collate(self, cuts: Sequence[Cut], random: Sequence[np.random.Generator] | None = None) -> DiarizationBatch:
        """Mix windows and label their frames; with generators, windows are shifted and augmented.

        Raises:
            AudioError: a recording cannot be read.
        """
        generators: Sequence[np.random.Generator | None] = random if random is not None else [None] * len(cuts)
        pairs = [self._example(cut.id, generator) for cut, generator in zip(cuts, generators, strict=True)]
        return DiarizationBatch.pad([samples for samples, _ in pairs], [active for _, active in pairs], [cut.id for cut in cuts])

    def _example(self, identity: str, random: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray]:
        """Return samples (time,) and activity (frames, speakers) of a window."""
        window = next(windows[identity] for windows in self.windows.values() if identity in windows)
        start = window.start if random is None else window.shifted(random)
        samples, turns = mix_conversation(window.source, self.store, start, window.count)
        before = len(samples)
        for augmentation in self.augmentations if random is not None else ():
            samples = augmentation(samples, self.specification.sample_rate, random)
        stretched = len(samples) / before  # another speed: the instants of the frames move with the samples
        speakers = list(dict.fromkeys(turn.speaker for turn in turns))
        return samples, frame_activity(turns, self._centres(len(samples)) / stretched, speakers)

    def _centres(self, samples: int) -> np.ndarray:
        """Return the instants of the model's frames for a number of samples: (frames,) float64 seconds."""
        frames = int(self._shape_model.output_lengths(torch.tensor([samples]))[0])
        centres: np.ndarray = self._shape_model.frame_centres(frames).numpy()
        return centres

    def loss(self, model: nn.Module, batch: DiarizationBatch) -> Loss:
        """Mean negative log-likelihood per true frame, each window under its best assignment of speakers."""
        output = model(batch.samples, batch.sample_lengths)
        losses, _ = permutation_free_loss(output.logits, batch.frame_lengths, batch.activity, self.powerset)
        frames = int(batch.frame_lengths.sum())
        return Loss(losses.sum() / frames, items=frames)

    def judge(self, model: nn.Module, batch: DiarizationBatch) -> list[Item]:
        """Return the errors of each window, in frames, and those of systems that do not listen."""
        output = model(batch.samples, batch.sample_lengths)
        losses, orders = permutation_free_loss(output.logits, batch.frame_lengths, batch.activity, self.powerset)
        found = output.logits.argmax(dim=2).cpu()
        target = self.powerset.to_classes(self.powerset.most_active(batch.activity)).cpu()
        items = []
        for row, identity in enumerate(batch.ids):
            frames = int(batch.frame_lengths[row])
            active = batch.activity[row, :frames].cpu().numpy()
            errors = local_errors(active, self.powerset.to_activity(found[row, :frames]).numpy())
            items.append(
                {
                    "id": identity,
                    "recording": identity.rsplit("@", 1)[0],
                    "frames": frames,
                    "speakers": int(active.any(axis=0).sum()),
                    **labels.class_errors(target[row, :frames], found[row, :frames], self.powerset),
                    **errors._asdict(),
                    "one_speaker_errors": one_speaker_errors(active),
                    "loss": float(losses[row]) / frames,
                    "order": int(orders[row]),
                }
            )
        return items

    def summarise(self, items: Sequence[Item]) -> dict[str, float]:
        """Return frame errors and local error rates as ratios of sums, beside the lines of systems that do not listen."""
        return labels.summary(items)

    def intervals(self, items: Sequence[Item]) -> dict[str, tuple[float, float]]:
        """Return 95 % bootstrap intervals, recordings resampled before windows."""
        recordings = [item["recording"] for item in items]
        frame = bootstrap_ratio([item["frame_errors"] for item in items], [item["frames"] for item in items], recordings)
        found = {"frame_error": (frame.low, frame.high)}
        if any(item["speech"] for item in items):
            errors = [item["missed"] + item["false_alarm"] + item["confusion"] for item in items]
            local = bootstrap_ratio(errors, [item["speech"] for item in items], recordings)
            found["local_der_full"] = (local.low, local.high)
        return found

    def alarms(self, items: Sequence[Item]) -> list[str]:
        """Return where the model is no better than an answer that needs no audio."""
        metrics = self.summarise(items)
        return [
            f"{name} {metrics[name]:.3f} is no better than {line} {metrics[line]:.3f}, which needs no audio"
            for name, line in (("frame_error", "majority_frame_error"), ("local_der_full", "one_speaker_local_der"))
            if metrics[name] >= metrics[line]
        ]

    def protocol(self) -> dict[str, str]:
        """Say what is counted, and what it is compared with."""
        simulated = self.recipe.data.conversations
        return {
            "frames": f"state at their centres, every {1000 * float(self._shape_model.frame_step):g} ms; speakers matched anew per window",
            "windows": f"at most {self.window:g} s, all of every evaluated region, once",
            "frame_error": f"share of frames with the wrong one of {self.powerset.classes} classes ({', '.join(self.powerset.labels)})",
            "majority_frame_error": "the best class that is always the same",
            "local_der_full": "no collar, overlap scored, within windows; not the error rate of a recording",
            "one_speaker_local_der": "one speaker heard all the time",
            "conversations": f"simulated for {', '.join(simulated.counts)}" if simulated is not None else "recorded",
            "intervals": "recordings resampled, then windows; one trained model",
        }

    def expected_initial_loss(self, batch: DiarizationBatch) -> Expectation | None:
        """Return the loss of uniform outputs; the best assignment makes an untrained model's a little smaller."""
        return Expectation(log(self.powerset.classes), tolerance=0.1, formula="ln(classes), for uniform outputs")

    def learned(self, model: nn.Module, batch: DiarizationBatch) -> Learned:
        """Return the errors of a window; right where no frame has a wrong class."""
        [item] = self.judge(model, batch)
        return Learned(item, self._two_rates([item]), item["frame_errors"] == 0)

    def describe(self, model: nn.Module, batch: DiarizationBatch) -> dict[str, Any]:
        """Return the lengths of a batch of one, and the shares of its classes."""
        return checking.describe(model, batch, self.powerset, self.specification.sample_rate)

    def diagnose(self, model: nn.Module, batch: DiarizationBatch) -> dict[str, float]:
        """Return frame error and local error rate."""
        return self._two_rates(self.judge(model, batch))

    def _two_rates(self, items: Sequence[Item]) -> dict[str, float]:
        summary = self.summarise(items)
        return {key: summary[key] for key in ("frame_error", "local_der_full")}

    def arrays(self, model: nn.Module, batch: DiarizationBatch) -> dict[str, np.ndarray]:
        """Return input, features, probabilities and true classes of a window."""
        return checking.arrays(model, batch, self.powerset, self.specification.sample_rate)

    def independence(self, model: nn.Module, batch: DiarizationBatch) -> Independence | None:
        """Return how far windows of a batch influence one another."""
        if len(batch.ids) < 2:
            return None
        several: Any = batch
        return independence(model, several)
