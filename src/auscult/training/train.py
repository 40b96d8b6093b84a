"""The verb `train`: from a recipe to a finished run directory, or back into an interrupted one.

The recipe's and the data's hashes name the directory, so the same request finds the same run: finished means reuse,
interrupted means resume, and whatever has changed since (code, libraries, data) is said aloud instead of being ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import save as safetensors_bytes

from auscult.data.planning import first_epoch, plan_notes
from auscult.errors import UserError
from auscult.recipe import Recipe
from auscult.runs.directory import RunDirectory, find_runs
from auscult.runs.files import write_atomic
from auscult.runs.identity import Identity
from auscult.runs.sink import SinkGroup
from auscult.runs.state import State
from auscult.tasks.base import Task
from auscult.training.averaging import average_states
from auscult.training.checkpoint import load_checkpoint, load_weights, save_checkpoint
from auscult.training.cost import describe_model
from auscult.training.distributed import World, join_world, leave_world
from auscult.training.dp_accountant import sentence
from auscult.training.dp_training import read_record
from auscult.training.evaluation import summary_of
from auscult.training.interruption import Interrupted, listening
from auscult.training.journal import Journal
from auscult.training.listening import keep_sounds
from auscult.training.progress import ProgressBar
from auscult.training.sentinel import Diverged
from auscult.training.trainer import StopAsked, Trainer, best_checkpoint


@dataclass
class TrainResult:
    """What `train` did.

    Attributes:
        run: the run directory.
        action: "trained", "resumed" or "reused".
        state: state of the run.
        metrics: validation metrics of the best checkpoint.
        privacy: what may be said of differential privacy; None for a run without.
        notes: what the caller should know (changes of code, data or libraries).
    """

    run: Path
    action: str
    state: str
    metrics: dict[str, float] = field(default_factory=dict)
    privacy: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)


def train(recipe: Recipe | str | Path, *overrides: str, root: str | Path = "runs", progress: bool = False) -> TrainResult:
    """Train a recipe, or resume it if it was interrupted, or reuse it if it is finished.

    Args:
        recipe: a recipe or the path of one.
        overrides: `key=value` changes, as on the command line.
        root: folder of run directories.
        progress: draw a progress bar on standard error.

    Returns:
        What was done, and where the results are.

    Raises:
        UserError: the recipe or its data are not usable.
        Diverged: the sentinel's remedies are used up; the run directory says why.
        Interrupted: Ctrl-C or SIGTERM; the run is saved and resumes when asked for again.

    Example:
        >>> result = train("recipes/recognition/fsdd_digits.yaml", "seed=7")  # doctest: +SKIP
    """
    if not isinstance(recipe, Recipe):
        recipe = Recipe.load(recipe, overrides=list(overrides))
    world = join_world()
    try:
        task: Task = recipe.task.build(recipe=recipe)
        run, notes = open_run(recipe, task, Path(root), "train", world)
        if run.state is State.COMPLETE:
            summary = run.read_summary("validation") if recipe.data.validation is not None else {}
            return TrainResult(run.path, "reused", str(run.state), summary.get("metrics", {}), read_record(run), notes)
        if run.state is State.DIVERGED:
            raise Diverged(
                f"{run.path}: this very run has diverged before ({run.reason}); change the recipe, or move the folder away to repeat it"
            )
        return _train_in(run, recipe, task, world, notes, progress)
    finally:
        leave_world(world)


def open_run(recipe: Recipe, task: Task, root: Path, verb: str, world: World | None = None) -> tuple[RunDirectory, list[str]]:
    """Find or create the directory of a recipe's run.

    Returns:
        The directory, and sentences about what changed since it was last used.

    Raises:
        UserError: the directory holds another label map.
    """
    suffix = "" if verb == "train" else f"-{verb}"
    name = f"{recipe.task.name}-{recipe.model.name}-{recipe.fingerprint(task.data_hash)}{suffix}"
    identity = Identity.current(recipe.hash, task.data_hash)
    labels = list(task.specification.labels)
    world = world if world is not None else World()
    notes: list[str] = []
    exists = (root / name).exists()
    world.barrier()  # every process has looked before one of them makes it
    if not exists:
        notes = _other_data(recipe, task, root)
        if world.main:
            RunDirectory.create(root, name, recipe.to_yaml(), identity, labels, verb)
        world.barrier()
        return RunDirectory.open(root / name), notes
    run = RunDirectory.open(root / name)
    if run.labels is not None and list(run.labels) != labels:
        raise UserError(
            f"{run.path}: its label map differs from the recipe's; the alphabet changed without a new fingerprint, move the run away"
        )
    notes = identity.changes_since(run.identity)
    if notes and world.main:
        run.record_identity(identity)
    return run, notes


def _other_data(recipe: Recipe, task: Task, root: Path) -> list[str]:
    """Say so when the same recipe has run on other data before."""
    prefix = f"{recipe.task.name}-{recipe.model.name}-"
    others = [RunDirectory.open(path) for path in find_runs(root) if path.name.startswith(prefix)]
    return [
        f"the data changed since {run.path.name}, which used the same recipe; this is a new run"
        for run in others
        if run.identity.recipe == recipe.hash and run.identity.data != task.data_hash
    ]


def _train_in(run: RunDirectory, recipe: Recipe, task: Task, world: World, notes: list[str], progress: bool) -> TrainResult:
    """Train inside an existing run directory, keeping its state true whatever happens."""
    with run.lock() if world.main else nullcontext(), listening() as request:
        journal = _journal(run, recipe, world)
        bar = ProgressBar(run.path.name, recipe.budget.updates, enabled=progress and world.main)
        trainer = Trainer(recipe, task, run, journal, world, request, bar)
        try:
            resumed = _begin(trainer, recipe, task, run, journal, notes)
            with bar:
                reason = trainer.train()
            try:
                metrics = _finish(trainer, recipe, task, run, journal)
            except StopAsked:
                raise trainer.interruption() from None
            if world.main:
                journal.write("end", state=str(State.COMPLETE), reason=reason)
                run.set_state(State.COMPLETE, reason)
            action = "resumed" if resumed else "trained"
            return TrainResult(run.path, action, str(State.COMPLETE), metrics, read_record(run), notes)
        except BaseException as error:
            if world.main:
                _record_failure(run, journal, error)
            raise
        finally:
            trainer.loader.close()
            journal.close()


def _begin(trainer: Trainer, recipe: Recipe, task: Task, run: RunDirectory, journal: Journal, notes: list[str]) -> bool:
    """Bring the trainer to where the run stands and say so; return whether it stood anywhere."""
    resumed = run.checkpoint("last").exists()
    if trainer.world.main:
        run.set_state(State.RUNNING)
        if not resumed:
            run.events.path.unlink(missing_ok=True)  # of a run that ended before its first checkpoint
        journal.open(recipe.to_dict())
    trainer.resume()
    if trainer.world.main:
        if not resumed:
            journal.write("start", verb="train", task=recipe.task.name, model=recipe.model.name, recipe=recipe.to_dict())
            journal.write("model", **describe_model(trainer.model, task.specification))
            plan = first_epoch(trainer.loader.stream)
            journal.write("plan", **asdict(plan))
            notes += plan_notes(plan, recipe.data.batch)
        for note in [*notes, *([] if resumed else trainer.start_notes)]:
            journal.write("note", text=note)
    return resumed


def _record_failure(run: RunDirectory, journal: Journal, error: BaseException) -> None:
    """Mark the run with what ended it."""
    state = State.CRASHED
    if isinstance(error, Diverged):
        state = State.DIVERGED
    elif isinstance(error, Interrupted | KeyboardInterrupt):
        state = State.CANCELLED
    reason = str(error) or type(error).__name__
    if state is State.DIVERGED:
        journal.write("end", state=str(state), reason=reason)
    try:
        run.set_state(state, reason)
    except UserError as second:  # a full disk: what ended the run is said, and without a living process the run reads as crashed
        error.add_note(str(second))


def _journal(run: RunDirectory, recipe: Recipe, world: World) -> Journal:
    if not world.main:
        return Journal(None)
    failures: Callable[[str], Any] = lambda text: run.events.append("note", text=text)  # noqa: E731
    sinks = SinkGroup([section.build() for section in recipe.sinks], on_failure=failures)
    return Journal(run, sinks)


def _finish(trainer: Trainer, recipe: Recipe, task: Task, run: RunDirectory, journal: Journal) -> dict[str, float]:
    """Choose the weights to keep, judge validation with them, and write the exportable copy."""
    metrics: dict[str, float] = {}
    record = trainer.private.write_record(run) if trainer.private is not None else None
    if recipe.data.validation is None:
        if trainer.world.main:
            with trainer.judged_weights():
                save_checkpoint(run.checkpoint("best"), trainer.model.state_dict(), task.specification, update=trainer.update)
        trainer.world.barrier()
        payload = load_checkpoint(run.checkpoint("best"))
        load_weights(trainer.model, payload, task.specification, run.checkpoint("best"))
    else:
        if recipe.budget.average_best and len(trainer.best.entries) > 1:
            _try_average(trainer, task, run, journal)
        trainer.world.barrier()
        payload = load_checkpoint(run.checkpoint("best"))
        load_weights(trainer.model, payload, task.specification, run.checkpoint("best"))
        items = trainer.judge("validation")
        summary = summary_of(task, items, split="validation", checkpoint="best", update=payload["update"])
        metrics = summary["metrics"]
        if record is not None:
            summary["protocol"]["privacy"] = sentence(record)
        if trainer.world.main:
            run.write_items("validation", items)
            run.write_summary("validation", summary)
            told = {"checkpoint": "best", "update": payload["update"]}
            keep_sounds(task, trainer.model, trainer.arithmetic, run, "validation", items, **told)
    if trainer.world.main:
        weights = {name: value.detach().cpu().contiguous() for name, value in trainer.model.state_dict().items()}
        write_atomic(run.path / "model.safetensors", safetensors_bytes(weights, {"format": "pt"}))
    return metrics


def _try_average(trainer: Trainer, task: Task, run: RunDirectory, journal: Journal) -> None:
    """Average the best checkpoints and keep the average if validation says it is better than the best of them."""
    updates = [update for update, _ in trainer.best.entries]
    states = [load_checkpoint(best_checkpoint(run, update))["model"] for update in updates]
    trainer.model.load_state_dict(average_states(states))
    score = task.summarise(trainer.judge("validation"))[task.primary_metric]
    best = trainer.best.entries[0][1]
    better = score < best if task.lower_is_better else score > best
    if not trainer.world.main:
        return
    text = f"average of the checkpoints of updates {updates}: validation {task.primary_metric} {score:.4f} against {best:.4f}; "
    journal.write("note", text=text + ("kept" if better else "not kept"))
    if better:
        save_checkpoint(run.checkpoint("best"), trainer.model.state_dict(), task.specification, update=trainer.update, averaged=updates)
