"""The verb `check`: can this recipe learn single utterances at all? The overfit experiment R0, made into a gate.

For a few utterances in turn, with fresh weights each: the loss at the start against its theoretical value, then updates until
the loss is truly below a threshold (measured again on the very weights that are saved), then the transcript. R0 carried
weights from one utterance to the next, reported a threshold it had not reached, and showed no transcript; all three are
impossible here. A passed check is evidence that the code can learn, never a result.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from auscult.data.selection import nested_subset
from auscult.errors import UserError
from auscult.recipe import Recipe
from auscult.runs.directory import RunDirectory
from auscult.runs.state import State
from auscult.streams import Streams
from auscult.tasks.base import Batch, Item, Task
from auscult.training.checkpoint import save_checkpoint
from auscult.training.cost import describe_model
from auscult.training.interruption import Interrupted, StopRequest, listening
from auscult.training.journal import Journal
from auscult.training.number_formats import check_number_format
from auscult.training.precision import Arithmetic
from auscult.training.progress import ProgressBar
from auscult.training.sentinel import Diverged, Sentinel
from auscult.training.snapshot import PersistentBuffers
from auscult.training.stepper import Stepper
from auscult.training.train import open_run

_OWN = frozenset({"event", "time", "index", "id", "update", "loss", "stop_reason", "seconds", "hypothesis", "right"})
"""Fields of an "utterance_end" event that are the check's own; a task's measure of the same name stays in the record alone."""

NEAR = 1.0
"""A training loss above the threshold by less than this share of it is measured again, without anything random, on the weights the update
has left."""


@dataclass(frozen=True)
class CheckResult:
    """What `check` found.

    Attributes:
        run: the run directory with events, arrays and checkpoints.
        passed: whether every gate held.
        reasons: what did not hold, in words.
        items: one record per utterance (updates, loss, transcript).
        reused: a finished check of the same recipe was found.
    """

    run: Path
    passed: bool
    reasons: list[str]
    items: list[Item]
    reused: bool = False


def check(recipe: Recipe | str | Path, *overrides: str, root: str | Path = "runs", progress: bool = False) -> CheckResult:
    """Overfit single utterances of a recipe's training split and report what happened.

    Args:
        recipe: a recipe or the path of one.
        overrides: `key=value` changes.
        root: folder of run directories.
        progress: draw a progress bar on standard error.

    Raises:
        UserError: the recipe or its data are not usable.
        Interrupted: Ctrl-C or SIGTERM.
    """
    if not isinstance(recipe, Recipe):
        recipe = Recipe.load(recipe, overrides=list(overrides))
    task: Task = recipe.task.build(recipe=recipe)
    run, _ = open_run(recipe, task, Path(root), "check")
    if run.state is State.COMPLETE:
        summary = run.read_summary("check")
        return CheckResult(run.path, bool(summary["passed"]), summary["reasons"], run.read_items("check"), reused=True)
    with run.lock(), listening() as request, closing(Journal(run)) as journal:
        # An interrupted check starts over: it is minutes, and a half-learned utterance is no evidence.
        run.events.path.unlink(missing_ok=True)
        run.set_state(State.RUNNING)
        try:
            return _Check(recipe, task, run, journal, request, progress).run_all()
        except BaseException as error:
            run.set_state(State.CANCELLED if isinstance(error, Interrupted) else State.CRASHED, str(error) or type(error).__name__)
            raise


class _Check:
    def __init__(self, recipe: Recipe, task: Task, run: RunDirectory, journal: Journal, request: StopRequest, progress: bool) -> None:
        self.recipe, self.task, self.run, self.journal, self.request, self.progress = recipe, task, run, journal, request, progress
        self.streams = Streams(recipe.seed)
        torch.set_num_threads(recipe.data.threads)
        check_number_format(recipe)
        self.arithmetic = Arithmetic(recipe.precision)
        self.reasons: list[str] = []
        stated = recipe.check.threshold
        self.threshold = task.check_threshold if stated is None else stated

    def run_all(self) -> CheckResult:
        """Check every chosen utterance, then batch independence; store everything."""
        cuts = self._cuts()
        self.journal.write("start", verb="check", task=self.recipe.task.name, model=self.recipe.model.name, recipe=self.recipe.to_dict())
        self.journal.write("model", **describe_model(self._fresh_model(), self.task.specification))
        items = [self._overfit(index, cut) for index, cut in enumerate(cuts)]
        self._independence(cuts)
        passed = not self.reasons
        self.run.write_items("check", items)
        self.run.write_summary(
            "check", {"metrics": self._metrics(items), "passed": passed, "reasons": self.reasons, "protocol": self.task.protocol()}
        )
        self.journal.write("end", state=str(State.COMPLETE), verdict="passed" if passed else "failed", reasons=self.reasons)
        self.run.set_state(State.COMPLETE, "passed" if passed else "failed")
        return CheckResult(self.run.path, passed, self.reasons, items)

    def _metrics(self, items: list[Item]) -> dict[str, float]:
        return {
            "utterances": float(len(items)),
            "converged": float(sum(item["stop_reason"] == "threshold" for item in items)),
            "final_loss": float(np.mean([item["loss"] for item in items])),
            "updates": float(np.mean([item["updates"] for item in items])),
            "seconds": float(sum(item["seconds"] for item in items)),
        }

    def _cuts(self) -> list[Any]:
        by_id = {cut.id: cut for cut in self.task.cuts("train")}
        wanted = self.recipe.check.ids
        if wanted is None:
            wanted = nested_subset(sorted(by_id), min(self.recipe.check.utterances, len(by_id)))
        missing = [one for one in wanted if one not in by_id]
        if missing:
            raise UserError(f"check.ids: {', '.join(missing[:3])} not in the training split; choose among its {len(by_id)} utterances")
        return [by_id[one] for one in wanted]

    def _fresh_model(self) -> nn.Module:
        torch.manual_seed(self.streams.integer("init"))
        return self.task.build_model().to(self.arithmetic.device)

    def _overfit(self, index: int, cut: Any) -> Item:
        """Learn one utterance from fresh weights."""
        batch = self.task.single(cut).to(self.arithmetic.device)
        model = self._fresh_model()
        optimizer = self.recipe.optimizer.build().build(model.parameters())
        sentinel = Sentinel(self.recipe.guard, model, optimizer, self.arithmetic)
        stepper = Stepper(
            self.task, model, optimizer, self.arithmetic, sentinel, streams=self.streams, clip=self.recipe.budget.clip
        )  # fmt: skip
        self._introduce(index, cut, model, batch)
        began = time.monotonic()
        limits = self.recipe.check
        reason, update = "budget", 0
        with ProgressBar(f"utterance {index + 1} ({cut.id})", limits.updates, enabled=self.progress) as bar:
            while update < limits.updates and reason == "budget":
                if self.request.signal is not None:
                    raise Interrupted(
                        self.request.signal, f"check stopped by signal {self.request.signal}; it starts over when asked again"
                    )
                try:
                    step = stepper.step([batch], update)
                except Diverged:
                    reason = "diverged"
                    break
                update += 1
                loss = step.loss
                if step.loss < self.threshold + NEAR * abs(self.threshold):
                    loss = self._loss_now(model, batch)
                    reason = "threshold" if loss < self.threshold else "budget"
                bar.show(update, f"loss {loss:.4f}")
                diagnosed = update == 1 or update % limits.log_every == 0 or reason != "budget"
                diagnostics = self._diagnose(model, batch) if diagnosed else {}
                elapsed = time.monotonic() - began
                self.journal.write(
                    "step", index=index, update=update, loss=loss, gradient_norm=step.gradient_norm, elapsed=elapsed, **diagnostics
                )
        item = self._conclude(index, cut, model, batch, update, reason, time.monotonic() - began)
        earlier = limits.earlier_updates or []
        return {**item, "earlier_updates": earlier[index]} if index < len(earlier) else item

    def _introduce(self, index: int, cut: Any, model: nn.Module, batch: Batch) -> None:
        initial = self._loss_now(model, batch)
        expected = self.task.expected_initial_loss(batch)
        if expected is not None and abs(initial - expected.value) > expected.tolerance * abs(expected.value):
            self.reasons.append(
                f"{cut.id}: loss at start {initial:.3f}, theory says {expected.value:.3f} +- {expected.tolerance:.0%} ({expected.formula})"
            )
        if initial < self.threshold:
            self.reasons.append(
                f"{cut.id}: loss at start {initial:.3g}, below the threshold: it gives this loss nothing to learn; lower check.threshold"
            )
        self.journal.write(
            "utterance", index=index, id=cut.id, seconds=float(cut.duration), initial_loss=initial, threshold=self.threshold,
            uniform_loss=expected.value if expected is not None else None, **self.task.describe(model, batch),
        )  # fmt: skip

    def _loss_now(self, model: nn.Module, batch: Batch) -> float:
        """Return the loss of the present weights: statistics of this batch, nothing random, buffers left as they were."""
        buffers = PersistentBuffers(model)
        copies = buffers.copies()
        value = self._loss_of_batch(model, batch)
        buffers.restore(copies)
        return value

    def _loss_of_batch(self, model: nn.Module, batch: Batch) -> float:
        model.eval()
        for module in _normalising(model):
            module.train()
        with torch.no_grad(), self.arithmetic.autocast():
            return float(self.task.loss(model, batch).value)

    def _settle(self, model: nn.Module, batch: Batch) -> None:
        """Make the running statistics those of the present weights; they lag behind a model that has learned in a few updates."""
        modules = [module for module in _normalising(model) if getattr(module, "momentum", None) is not None]
        before = [module.momentum for module in modules]
        for module in modules:
            module.momentum = 1.0
        self._loss_of_batch(model, batch)
        for module, momentum in zip(modules, before, strict=True):
            module.momentum = momentum

    def _diagnose(self, model: nn.Module, batch: Batch) -> dict[str, float]:
        model.eval()
        with torch.no_grad():
            return self.task.diagnose(model, batch)

    def _conclude(self, index: int, cut: Any, model: nn.Module, batch: Batch, update: int, reason: str, seconds: float) -> Item:
        self._settle(model, batch)
        model.eval()
        with torch.no_grad():
            learned = self.task.learned(model, batch)
            arrays = self.task.arrays(model, batch)
        loss = self._loss_now(model, batch)
        self._save_arrays(index, arrays)
        save_checkpoint(self.run.checkpoint(f"utterance-{index}"), model.state_dict(), self.task.specification, update=update)
        if reason != "threshold":
            self.reasons.append(f"{cut.id}: loss {loss:.4g} after {update} updates, threshold {self.threshold:g} not reached ({reason})")
        elif learned.right is False:
            measured = ", ".join(f"{name} {value:.3g}" for name, value in learned.measures.items() if name not in _OWN)
            self.reasons.append(f"{cut.id}: threshold reached, but the output is wrong ({measured})")
        record = {**learned.item, "right": learned.right, "updates": update, "stop_reason": reason, "loss": loss, "seconds": seconds}
        shared: dict[str, Any] = {key: record[key] for key in ("hypothesis",) if key in record}
        shared |= {key: value for key, value in learned.measures.items() if key not in _OWN}
        self.journal.write(
            "utterance_end", index=index, id=cut.id, update=update, loss=loss, stop_reason=reason, seconds=seconds, right=learned.right,
            **shared,
        )  # fmt: skip
        return record

    def _save_arrays(self, index: int, arrays: dict[str, np.ndarray]) -> None:
        if arrays:
            self.run.arrays_folder.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(self.run.arrays_folder / f"{index}.npz", **arrays)  # type: ignore[arg-type]

    def _independence(self, cuts: list[Any]) -> None:
        """Ask whether one utterance of a batch can influence the output of another."""
        if len(cuts) < 2:
            return
        model = self._fresh_model().eval()
        found = self.task.independence(model, self.task.collate(cuts).to(self.arithmetic.device))
        if found is None:
            return
        self.journal.write("batch_independence", max_leak=found.gradient, padding_difference=found.padding, passed=found.holds)
        if not found.holds:
            self.reasons.append(
                "batch independence: the output of one utterance depends on the others in its batch "
                f"(largest gradient {found.gradient:.2g}, largest difference alone and padded {found.padding:.2g})"
            )


def _normalising(model: nn.Module) -> list[Any]:
    """Return the modules that keep running statistics."""
    return [module for module in model.modules() if getattr(module, "running_mean", None) is not None]
