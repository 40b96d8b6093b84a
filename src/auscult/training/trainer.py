"""The training loop: updates on a grid, evaluations, checkpoints, and an exact way back after any stop.

Everything counts in updates; epochs are for display. All state that decides the future is in the checkpoint (weights,
optimiser, schedule, scale, sentinel, averages, best scores, position in the data); everything random is a function of the
seed and a position, so it needs no state. Kill the process at any instant, run it again, and the weights come out the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from auscult.data.loading import Loader
from auscult.data.planning import batch_stream
from auscult.errors import UserError, did_you_mean
from auscult.recipe import Recipe
from auscult.runs.directory import RunDirectory
from auscult.streams import Streams
from auscult.tasks.base import Batch, Item, Task
from auscult.training.averaging import MovingAverage
from auscult.training.checkpoint import load_checkpoint, load_weights, save_checkpoint
from auscult.training.distributed import World
from auscult.training.dp_accountant import sentence
from auscult.training.dp_step import PrivateStepper
from auscult.training.dp_training import PrivateTraining
from auscult.training.evaluation import judge_split
from auscult.training.interruption import Interrupted, StopRequest
from auscult.training.journal import Journal
from auscult.training.number_formats import check_number_format, watching
from auscult.training.precision import Arithmetic
from auscult.training.progress import ProgressBar
from auscult.training.schedule import Schedule
from auscult.training.selection import BestScores, EarlyStop
from auscult.training.sentinel import Diverged, Fault, Sentinel
from auscult.training.snapshot import HasState
from auscult.training.stepper import Step, Stepper


class StopAsked(Exception):
    """A stop was asked for in the middle of an evaluation."""


class Trainer:
    """Trains one model for one run.

    Args:
        recipe: what to do.
        task: built from the recipe.
        run: where results go.
        journal: how events are written (to nowhere in the helper processes of a distributed run).
        world: the processes that share the work.
        request: tells when a stop was asked for.
        progress: the bar.
    """

    def __init__(
        self, recipe: Recipe, task: Task, run: RunDirectory, journal: Journal, world: World, request: StopRequest, progress: ProgressBar
    ) -> None:
        self.recipe, self.task, self.run, self.journal = recipe, task, run, journal
        self.world, self.request, self.progress = world, request, progress
        self.budget = recipe.budget
        self.streams = Streams(recipe.seed)
        torch.set_num_threads(recipe.data.threads)
        check_number_format(recipe)
        self.arithmetic = Arithmetic(recipe.precision)
        torch.manual_seed(self.streams.integer("init"))
        self.model = task.build_model()
        self.start_notes = task.initialise(self.model)
        self.model.to(self.arithmetic.device)
        self.optimizer: torch.optim.Optimizer = recipe.optimizer.build().build(self.model.parameters())
        self.rate = float(self.optimizer.param_groups[0]["lr"])
        self.schedule: Schedule = recipe.schedule.build()
        self.average = MovingAverage(self.model, self.budget.ema) if self.budget.ema is not None else None
        self.sentinel = Sentinel(recipe.guard, self.model, self.optimizer, self.arithmetic)
        self.private = self._private_training()
        self.stepper: Stepper | PrivateStepper = Stepper(
            task, self.model, self.optimizer, self.arithmetic, self.sentinel, streams=self.streams, world=world, clip=self.budget.clip
        )
        if self.private is not None:
            self.stepper = self.private.stepper(task, self.model, self.optimizer, self.arithmetic, self.sentinel)
        self.best = BestScores(self.budget.keep, task.lower_is_better)
        stop = self.budget.stop
        self.stop_rule = EarlyStop(stop.patience, stop.minimum_improvement, task.lower_is_better) if stop is not None else None
        self.parts: dict[str, HasState] = {
            "schedule": self.schedule, "arithmetic": self.arithmetic, "sentinel": self.sentinel, "best": self.best,
            **({"average": self.average} if self.average is not None else {}),
            **({"stop_rule": self.stop_rule} if self.stop_rule is not None else {}),
            **({"private": self.private} if self.private is not None else {}),
        }  # fmt: skip
        if self.average is not None:
            self.sentinel.ring.parts["average"] = self.average
        self.update = 0
        self.epoch = 0
        self.pending = False
        self.stop_reason = ""
        self.began, self.elapsed_before = time.monotonic(), 0.0
        self.loader = self._make_loader()

    @property
    def elapsed(self) -> float:
        """Seconds of training, those before an interruption included."""
        return self.elapsed_before + time.monotonic() - self.began

    def train(self) -> str:
        """Train to the end of the budget or the stated stop rule.

        Returns:
            Why training ended.

        Raises:
            Interrupted: a signal asked for a stop; the state is saved.
            Diverged: the sentinel used up its remedies.
        """
        self.began = time.monotonic()
        while self.pending or (self.update < self.budget.updates and not self.stop_reason):
            self._leave_if_asked()
            if self.pending:
                try:
                    self._settle()
                except StopAsked:
                    self._leave_if_asked()
                continue
            self.advance()
        return self.stop_reason or f"budget of {self.budget.updates} updates used"

    def advance(self) -> None:
        """Take one update on the next batches and report it; what the grid asks for then is left to `train`."""
        group = [next(self.loader) for _ in range(self.budget.accumulate)]
        self._set_rate()
        self.task.prepare_update(self.model, self.update, self.budget.updates)
        batches = [loaded.batch.to(self.arithmetic.device) for loaded in group if loaded.batch is not None]
        step = self._step(batches) if self.update else self._first_step(batches)
        self.update, self.epoch, self.pending = self.update + 1, group[-1].epoch, True
        if self.average is not None and step.applied:
            self.average.update()
        self._leave_out(culprit for fault, _ in step.faults for culprit in fault.culprits)
        if self.update == 1:
            self._compare_with_theory(step, batches)
        self._report(step, [one for batch in batches for one in batch.ids])

    def _step(self, batches: list[Batch]) -> Step:
        try:
            return self.stepper.step(batches, self.update)
        except Diverged as error:
            self.update += 1
            for fault, remedy in error.refused:
                self._report_fault(fault, remedy)
            raise

    def _first_step(self, batches: list[Batch]) -> Step:
        """Take the first update, and record the number format in which each part of the model really works."""
        with watching(self.model) as formats:
            step = self._step(batches)
        self.journal.write("number_formats", update=1, asked=self.recipe.precision.compute, parts=formats)
        return step

    def _private_training(self) -> PrivateTraining | None:
        settings = self.recipe.differential_privacy
        if settings is None:
            return None
        private = PrivateTraining(self.recipe, settings, self.task, self.model, list(self.task.cuts("train")), self.streams, self.world)
        self.start_notes = [*self.start_notes, private.plan()]
        self.progress.say(private.plan())
        return private

    def _make_loader(self) -> Loader:
        data = self.recipe.data
        cuts = list(self.task.cuts("train"))
        self.places = {cut.id: place for place, cut in enumerate(cuts)}
        self.seconds = {cut.id: float(cut.duration) for cut in cuts}
        lots = self.private.lots if self.private is not None else None
        stream = batch_stream(cuts, data.batch, self.streams, self.world.rank, self.world.size, lots)
        return Loader(
            cuts, self.task.training_batch, stream, streams=self.streams, workers=data.workers, threads=data.threads,
            error_budget=data.error_budget, accumulate=self.budget.accumulate,
            on_problem=lambda problem: self.journal.write(
                "note", update=self.update + 1, text=f"left out: {problem.message} (utterance {problem.id})"
            ),
        )  # fmt: skip

    def _leave_out(self, culprits: Iterable[str]) -> None:
        """Quarantine utterances from the next batch on."""
        places = [self.places[culprit] for culprit in culprits if culprit in self.places]
        if places:
            self.loader.exclude(places)

    def _set_rate(self) -> None:
        rate = self.rate * self.schedule.factor(self.update, self.budget.updates) * self.sentinel.rate_factor
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _report(self, step: Step, ids: list[str]) -> None:
        for fault, remedy in step.faults:
            self._report_fault(fault, remedy)
        if self.update % self.budget.log_every == 0 or self.update == 1:
            seconds = torch.tensor(sum(self.seconds[one] for one in ids), dtype=torch.float64, device=self.arithmetic.device)
            self.world.sum([seconds])
            self.journal.write(
                "step", update=self.update, epoch=self.epoch, loss=step.loss, gradient_norm=step.gradient_norm,
                lr=float(self.optimizer.param_groups[0]["lr"]), items=step.items, audio_seconds=float(seconds), elapsed=self.elapsed,
                **step.terms,
            )  # fmt: skip
        self.progress.show(self.update, f"loss {step.loss:.3f}  epoch {self.epoch}")

    def _compare_with_theory(self, step: Step, batches: list[Batch]) -> None:
        """Say what the first loss should be, and aloud if it is not: a wrong label, scale or reduction shows here first."""
        expected = [one for one in map(self.task.expected_initial_loss, batches) if one is not None]
        if not expected or not step.applied:
            return
        value = sum(one.value for one in expected) / len(expected)
        holds = abs(step.loss - value) <= expected[0].tolerance * abs(value)
        self.journal.write("initial_loss", update=1, loss=step.loss, expected=value, formula=expected[0].formula, holds=holds)
        if not holds:
            self.progress.say(
                f"the first loss is {step.loss:.3f}, theory says {value:.3f} ({expected[0].formula}): are labels and scale right?"
            )

    def _report_fault(self, fault: Fault, remedy: str) -> None:
        self.journal.write(
            "refused", update=self.update, cause=fault.cause, ids=list(fault.ids), culprits=list(fault.culprits), remedy=remedy,
            **({"place": fault.place} if fault.place else {}),
        )  # fmt: skip
        self.progress.say(f"update {self.update}: refused ({fault.cause}; {', '.join(fault.culprits or fault.ids[:3])}); remedy: {remedy}")

    def _settle(self) -> None:
        """Do what the grid asks for at the present update: evaluate, save; the last update is always on both grids."""
        last = self.update == self.budget.updates
        evaluate, save = (last or self.update % every == 0 for every in (self.budget.evaluate_every, self.budget.checkpoint_every))
        if evaluate or save:
            self._heal()
        if evaluate and self.private is not None:
            record = self.private.spent()
            self.journal.write("privacy", update=self.update, **record)
            self.progress.say(f"update {self.update}: {sentence(record)}")
        if evaluate:
            self._evaluate()
        self.pending = False
        if save or self.stop_reason:
            self.sentinel.ring.reset(self.update)
            self.save()

    def _heal(self) -> None:
        """Let no poisoned state be judged or saved: the sentinel would otherwise only notice at the next update."""
        if self.recipe.guard.enabled and not self.sentinel.state_is_finite():
            fault = Fault("state")
            try:
                remedy = self.sentinel.remedy(self.update, fault)
            except Diverged:
                self._report_fault(fault, "stop")
                raise
            self._report_fault(fault, remedy)

    def _evaluate(self) -> None:
        if self.recipe.data.validation is None:
            return
        began = time.monotonic()
        with self.judged_weights():
            metrics = self.task.summarise(self.judge("validation"))
            score = metrics[self.task.primary_metric]
            dropped = self.best.offer(self.update, score)
            if dropped is not None and self.world.main:
                self._save_best(dropped)
        self.journal.write("evaluation", update=self.update, split="validation", metrics=metrics, seconds=time.monotonic() - began)
        self.progress.say(f"update {self.update}: validation {self.task.primary_metric} {score:.4f}")
        cost = score if self.task.lower_is_better else -score
        self.schedule.observe(cost)
        if self.stop_rule is not None and self.stop_rule.observe(self._watched(metrics)):
            self.stop_reason = f"no improvement of {self.stop_rule.minimum_improvement:g} in {self.stop_rule.patience} evaluations"

    def judged_weights(self) -> AbstractContextManager[None]:
        """Return a context in which the model has the weights that are judged: the moving average where there is one."""
        return self.average.swapped_in() if self.average is not None else nullcontext()

    def _watched(self, metrics: dict[str, float]) -> float:
        """Return the metric the stop rule looks at."""
        name = (self.budget.stop.metric if self.budget.stop is not None else None) or self.task.primary_metric
        if name not in metrics:
            raise UserError(
                f'budget.stop.metric: "{name}" is not measured{did_you_mean(name, metrics)}; choose one of {", ".join(metrics)}'
            )
        return metrics[name]

    def judge(self, split: str) -> list[Item]:
        """Judge the model as it stands on a split.

        Raises:
            StopAsked: a stop was asked for; the caller puts the trained weights back before anything is saved.
        """
        return judge_split(self.task, self.model, self.recipe, split, self.arithmetic, self.world, self._between_batches)

    def _between_batches(self, judged: int) -> None:
        if self.world.size == 1 and self.request.signal is not None:
            raise StopAsked

    def _save_best(self, dropped: list[int]) -> None:
        """Write the weights of this evaluation, and make `best` those of the best one."""
        save_checkpoint(best_checkpoint(self.run, self.update), self.model.state_dict(), self.task.specification, update=self.update)
        if self.best.entries[0][0] == self.update:
            save_checkpoint(self.run.checkpoint("best"), self.model.state_dict(), self.task.specification, update=self.update)
            self.journal.write("checkpoint", update=self.update, which="best")
        for update in dropped:
            best_checkpoint(self.run, update).unlink(missing_ok=True)

    def save(self, off_grid: bool = False) -> None:
        """Write the checkpoint a resumed run continues from.

        Args:
            off_grid: saved because a stop was asked for; the snapshots are then part of it, where on the grid they start over.
        """
        if self.world.main:
            state = {name: part.state_dict() for name, part in self.parts.items()}
            position = {
                "loader": self.loader.state(), "pending": self.pending, "stop_reason": self.stop_reason, "elapsed": self.elapsed,
                "recipe": self.recipe.hash, "processes": self.world.size, "ring": self.sentinel.ring.state_dict() if off_grid else None,
            }  # fmt: skip
            save_checkpoint(
                self.run.checkpoint("last"), self.model.state_dict(), self.task.specification,
                update=self.update, optimizer=self.optimizer.state_dict(), training={**position, "parts": state},
            )  # fmt: skip
            self.journal.write("checkpoint", update=self.update, which="last")
        self.world.barrier()

    def resume(self) -> None:
        """Continue from the last checkpoint, if there is one; events after it are dropped from the log.

        Raises:
            UserError: the checkpoint is damaged or belongs to another model, label map or number of processes.
        """
        path = self.run.checkpoint("last")
        if path.exists():
            self._restore(load_checkpoint(path), path)
        else:
            self.sentinel.ring.reset(0)
        self.world.broadcast(self.model.state_dict().values())
        if self.world.main:
            self.run.events.truncate(self.update)
            if path.exists():
                self.journal.write("resumed", update=self.update)

    def _restore(self, payload: dict[str, Any], path: Path) -> None:
        load_weights(self.model, payload, self.task.specification, path)
        state = payload["training"]
        if state["processes"] != self.world.size:
            raise UserError(
                f"{path}: written by {state['processes']} process(es), this is a run of {self.world.size}; "
                f"start it with torchrun --nproc-per-node={state['processes']}, or move the run away"
            )
        if state["recipe"] != self.recipe.hash:
            raise UserError(f"{path}: written by a run of another recipe; put this run's own checkpoint back, or delete it to start over")
        self.optimizer.load_state_dict(payload["optimizer"])
        self.update = int(payload["update"])
        self.loader.restore(state["loader"])
        self.epoch = int(state["loader"]["epoch"])
        self.pending, self.stop_reason = bool(state["pending"]), str(state["stop_reason"])
        self.elapsed_before = float(state["elapsed"])
        for name, part in self.parts.items():
            part.load_state_dict(state["parts"][name])
        if state["ring"] is None:
            self.sentinel.ring.reset(self.update)
        else:
            self.sentinel.ring.load_state_dict(state["ring"])

    def _leave_if_asked(self) -> None:
        if self.world.any(self.request.signal is not None, self.arithmetic.device):
            self.save(off_grid=True)
            raise self.interruption()

    def interruption(self) -> Interrupted:
        """Return what to raise once everything is saved."""
        number = self.request.signal or 15
        return Interrupted(number, f"stopped by signal {number} at update {self.update}; saved; run the same command to continue")


def best_checkpoint(run: RunDirectory, update: int) -> Path:
    """Return the file that keeps the weights of one of the best evaluations."""
    return run.checkpoint(f"best-{update}")
