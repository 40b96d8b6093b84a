"""The contract of a task: the one place that knows which data, which model, which loss and which judgement belong together.

Trainer, overfit check, federated client, attack and benchmark all talk to a `Task`, so a new task is one file and everything
else works with it. A task returns one record per judged item, never only averages: resampling statistics, error listening and
model comparison need the items.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from lhotse import CutSet
    from lhotse.cut import Cut
    from torch import Tensor, nn

    from auscult.data.audit_audio import Progress
    from auscult.data.audit_report import AuditReport
    from auscult.specification import Specification

Item = dict[str, Any]
"""One judged utterance, trial or recording: plain JSON values, always with an `id`."""


class Batch(Protocol):
    """What every task's batch offers besides its own named fields."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Utterance ids, one per item."""

    def to(self, device: Any) -> Batch:
        """Return the batch with its tensors on a device."""

    def select(self, indices: Sequence[int]) -> Batch:
        """Return the batch of some items only (the sentinel uses it to find the culprit)."""


@dataclass(frozen=True)
class Loss:
    """The loss of one batch.

    Attributes:
        value: scalar tensor, the mean over `items`.
        items: number of items the mean is over; gradients of several batches are weighted by it.
        terms: named parts and diagnostics for the log.
    """

    value: Tensor
    items: int
    terms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Expectation:
    """What the loss of an untrained model should be, from theory, and how far off is suspicious."""

    value: float
    tolerance: float
    formula: str


@dataclass(frozen=True)
class Learned:
    """What became of one item that a model has learned by heart.

    Attributes:
        item: its record.
        measures: numbers about its output, for the log.
        right: whether the output is what was to be learned; None where the task cannot tell.
    """

    item: Item
    measures: dict[str, float]
    right: bool | None


@dataclass(frozen=True)
class Independence:
    """Two ways in which one item of a batch may reach the output of another.

    Attributes:
        gradient: largest gradient of one item's output by another item's input, or by padding.
        padding: largest difference between an item's output alone and in the batch.
    """

    gradient: float
    padding: float

    @property
    def holds(self) -> bool:
        """Whether items are independent, up to the rounding of matrix products of other shapes."""
        return self.gradient == 0.0 and self.padding <= 1e-4


class Task(ABC):
    """Where data, model, loss and metric meet; built once from a recipe (`recipe: Annotated[Recipe, INJECTED]`).

    The constructor reads the data the recipe names and freezes everything derived from it (labels, splits).

    Attributes:
        specification: the facts shared with model, checkpoint and export.
        data_hash: content hash of every manifest the task uses.
        primary_metric: key of `summarise` that selects checkpoints.
        lower_is_better: direction of `primary_metric`.
        check_threshold: loss at which a check takes an item as learned, where the recipe states none.
    """

    specification: Specification
    data_hash: str
    primary_metric: str
    lower_is_better: bool = True
    check_threshold: float = 0.001

    @abstractmethod
    def build_model(self) -> nn.Module:
        """Construct the recipe's model; initial weights come from torch's current random state."""

    def initialise(self, model: nn.Module) -> list[str]:
        """Replace initial weights by those the recipe says to start from; return sentences about it. Called when a run begins."""
        return []

    @abstractmethod
    def cuts(self, split: str) -> CutSet:
        """Return the cuts of "train", "validation" or "test".

        Raises:
            UserError: the recipe has no such split.
        """

    @abstractmethod
    def audit(self, audio: bool = True, progress: Progress | None = None) -> AuditReport:
        """Look for what is wrong with the data before anything is trained on it.

        Args:
            audio: read the samples too.
            progress: called while audio is read.
        """

    @abstractmethod
    def collate(self, cuts: Sequence[Cut], random: Sequence[np.random.Generator] | None = None) -> Batch:
        """Read audio and labels into a batch; with one generator per cut, augment."""

    def training_batch(self, cuts: Sequence[Cut], random: Sequence[np.random.Generator] | None, update: int) -> Batch:
        """Return the batch of update number `update`, from 0, for tasks whose data change in the course of a run (a curriculum, say).

        Called in loader processes: must be a function of its arguments alone. Here: `collate`.
        """
        return self.collate(cuts, random)

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> Loss:
        """Forward pass and loss; the loss mathematics in float32 whatever the autocast state."""

    @abstractmethod
    def judge(self, model: nn.Module, batch: Any) -> list[Item]:
        """Return one record per item of the batch."""

    def prepare_judging(self, model: nn.Module, split: str, device: Any) -> None:
        """Compute what judging a split needs besides its batches (a cohort's embeddings, say); called once before the first batch."""
        return

    def use_run(self, run: Path, model: nn.Module) -> None:
        """Learn what a finished run knows besides weights (a calibration, embeddings computed before); called before judging it."""
        return

    def conclude(self, split: str, items: Sequence[Item]) -> list[Item]:
        """Return the records of a split from those of all its batches, for tasks that judge more than one item together.

        Verification makes records of trials out of records of utterances here. Called once per evaluation, before `summarise`.
        """
        return list(items)

    @abstractmethod
    def summarise(self, items: Sequence[Item]) -> dict[str, float]:
        """Return metrics from records, each a ratio of sums, the protocol named in its key."""

    def intervals(self, items: Sequence[Item]) -> dict[str, tuple[float, float]]:
        """Return 95 % intervals of the metrics that have one."""
        return {}

    def alarms(self, items: Sequence[Item]) -> list[str]:
        """Return what is impossible or suspicious about records, in words: no result must look better than it is."""
        return []

    def protocol(self) -> dict[str, str]:
        """Return how the metrics were obtained, in words, for every table that shows them."""
        return {}

    def obstacle_to_privacy(self) -> str | None:
        """Return why differentially private training would not hold here, for a message; None where it does.

        It holds where `loss` is a mean over items that ignore one another, and where nothing else of the training data (their labels, say)
        reaches the model. Tasks say so themselves.
        """
        return f"the loss of {type(self).__name__} is not known to be a mean over items that ignore one another; no private training for it"

    def prepare_update(self, model: nn.Module, update: int, updates: int) -> None:
        """Set what depends on the progress of a run (a margin that grows, say) before update number `update` of `updates`, from 0.

        Must be a function of its arguments alone: a resumed run calls it in the middle.
        """
        return

    def expected_initial_loss(self, batch: Any) -> Expectation | None:
        """Return the theoretical loss of an untrained model on a batch, where theory gives one."""
        return None

    def single(self, cut: Cut) -> Batch:
        """Return the batch from which a check learns one cut by heart, nothing in it random."""
        return self.collate([cut])

    def learned(self, model: nn.Module, batch: Any) -> Learned:
        """Return what a model makes of the batch of `single` that it has learned, in evaluation mode.

        Here: the output is right where the primary metric of its record is 0, if lower is better.
        """
        [item] = self.judge(model, batch)
        metrics = self.summarise([item])
        return Learned(item, metrics, metrics[self.primary_metric] <= 0 if self.lower_is_better else None)

    def describe(self, model: nn.Module, batch: Any) -> dict[str, Any]:
        """Return what a log should say about a batch of one item (reference, lengths), for the check and its figures."""
        return {}

    def diagnose(self, model: nn.Module, batch: Any) -> dict[str, float]:
        """Return cheap measures of how close the outputs of a batch of one item are to right, logged beside the loss."""
        return {}

    def arrays(self, model: nn.Module, batch: Any) -> dict[str, np.ndarray]:
        """Return what the figures of one item show (input, features, outputs, target)."""
        return {}

    def audible(self, model: nn.Module, batch: Any) -> dict[str, np.ndarray]:
        """Return what a person should listen to of a batch of one item: (time,) float32 at the specification's rate, by name."""
        return {}

    def independence(self, model: nn.Module, batch: Any) -> Independence | None:
        """Return how far items of a batch influence one another, where the task can tell."""
        return None
