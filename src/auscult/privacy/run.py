"""The verb `attack`: what does the message that a recipe's clients would send give away?

The same road as `check` and `train`: recipe and data name the run directory, a finished run is reused, an interrupted one goes on. The
truth is kept out of the attack by the types it is called with, and reaches the score card alone.
"""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from auscult.errors import UserError
from auscult.metrics.reconstruction import Array
from auscult.privacy.capture import client_features
from auscult.privacy.listeners import open_listeners
from auscult.privacy.messages import Done, Messages, stop_if_asked
from auscult.privacy.opening import open_task, open_victim
from auscult.privacy.revocode import Revocoder
from auscult.privacy.score_card import ScoreCard, Scored
from auscult.privacy.sounds import Examples, keep
from auscult.privacy.summary import summarise
from auscult.privacy.utterances import Chosen, choose
from auscult.privacy.victim import Victim
from auscult.recipe.attack import AttackRecipe
from auscult.runs.directory import RunDirectory
from auscult.runs.state import State
from auscult.streams import Streams
from auscult.tasks.recognition import Recognition
from auscult.training.cost import describe_model
from auscult.training.interruption import Interrupted, StopRequest, listening
from auscult.training.journal import Journal
from auscult.training.progress import ProgressBar
from auscult.training.train import open_run

SHARES = 1000
"""Steps of the progress bar for each message."""


@dataclass(frozen=True)
class AttackResult:
    """What an attack found.

    Attributes:
        run: the run directory.
        summary: tables with intervals, threat model, protocol, cost.
        items: a record per utterance.
        reused: a finished attack of the same recipe was found.
        notes: what changed since the run was last used.
    """

    run: Path
    summary: dict[str, Any]
    items: list[dict[str, Any]]
    reused: bool
    notes: list[str]


def attack(
    recipe: AttackRecipe | str | Path,
    *overrides: str,
    root: str | Path = "runs",
    progress: bool = False,
    examples: Examples = "quartiles",
) -> AttackResult:
    """Attack the messages of a recipe's clients and score what comes out.

    For auditing your own systems, with consent or on public corpora.

    Args:
        recipe: a recipe with the sections of an attack, or the path of one.
        overrides: `key=value` changes, as on the command line.
        root: folder of run directories.
        progress: draw a progress bar on standard error.
        examples: of which utterances pictures and sounds are kept; making sounds takes longer than some attacks.

    Raises:
        UserError: the recipe, its data or its victim are not usable, or the attack lacks what it needs.
        Interrupted: Ctrl-C or SIGTERM; the same call continues.
    """
    if not isinstance(recipe, AttackRecipe):
        recipe = AttackRecipe.load(recipe, overrides)
    torch.set_num_threads(recipe.recipe.data.threads)
    task = open_task(recipe)
    victim = open_victim(recipe, task)
    run, notes = open_run(recipe.recipe, task, Path(root), "attack")
    if run.state is State.COMPLETE:
        summary = run.read_summary("attack")
        if summary["victim"] != victim.fingerprint:
            raise UserError(
                f"{run.path}: attacked victim {summary['victim']}, and the victim is now {victim.fingerprint}: its run was trained again; "
                "move this attack's folder away to attack the new weights"
            )
        return AttackResult(run.path, summary, run.read_items("attack"), True, notes)
    with run.lock(), listening() as request, closing(Journal(run)) as journal:
        new = run.state is State.QUEUED
        if not run.checkpoint("message-0").exists() and not run.checkpoint("message-0-state").exists():
            run.events.path.unlink(missing_ok=True)  # nothing of an earlier start is left to go on from
        run.set_state(State.RUNNING)
        try:
            chosen = choose(task, victim.model, recipe.case.utterances)
            summary, items = _attack_all(recipe, task, victim, chosen, run, journal, request, progress, examples)
        except BaseException as error:
            if new and isinstance(error, UserError) and not any(run.checkpoint("any").parent.glob("*.pt")):
                shutil.rmtree(run.path)  # nothing was found out here, and the message says what to change
                raise
            stopped = isinstance(error, Interrupted | KeyboardInterrupt)
            run.set_state(State.CANCELLED if stopped else State.CRASHED, str(error) or type(error).__name__)
            raise
    return AttackResult(run.path, summary, items, False, notes)


def _attack_all(
    recipe: AttackRecipe,
    task: Recognition,
    victim: Victim,
    chosen: Chosen,
    run: RunDirectory,
    journal: Journal,
    request: StopRequest,
    progress: bool,
    examples: Examples,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Attack every message, score, and store everything."""
    journal.write("start", verb="attack", task=recipe.recipe.task.name, model=recipe.recipe.model.name, recipe=recipe.recipe.to_dict())
    journal.write("model", **describe_model(victim.model, task.specification))
    pool = [_single(victim, batch) for batch in chosen.pool]
    texts = [task.alphabet.decode(batch.tokens[0, : int(batch.token_lengths[0])].tolist()) for batch in chosen.pool]
    revocoder = Revocoder(victim.model.front_end, chosen.pool)
    streams = Streams(recipe.recipe.seed)
    listeners, heard_notes = open_listeners(recipe, task, victim, chosen, revocoder, streams)
    card = ScoreCard(victim, pool, texts, revocoder, recipe.case.victim.run is not None, streams, listeners)
    count = recipe.case.utterances.count // (recipe.case.leak.batch * recipe.case.leak.clients)
    results: list[tuple[Done, Scored]] = []
    with ProgressBar(run.path.name, SHARES * count, enabled=progress) as bar:
        messages = Messages(
            recipe, victim, chosen, run, journal, request,
            lambda number, share, words: bar.show(int(SHARES * (number + share)), f"message {number + 1} of {count} {words}"),
        )  # fmt: skip
        for number in range(messages.count):
            stop_if_asked(request)
            done = messages.attacked(number)
            results.append((done, card.score(number, done.places, done.found, done.truth)))
            bar.show(SHARES * (number + 1), f"message {number + 1} of {count}")
    items = [item for _, scored in results for item in scored.items]
    notes = [
        *chosen.notes,
        *heard_notes,
        *(listeners.missing if listeners else ()),
        *(note for done, scored in results for note in (*done.found.notes, *scored.notes)),
    ]
    if results[0][0].found.features is not None:
        notes += _keep(run, items, results, revocoder, task.specification.sample_rate, streams, examples)
    return _store(recipe, run, journal, items, results, notes, len(pool)), items


def _store(
    recipe: AttackRecipe,
    run: RunDirectory,
    journal: Journal,
    items: list[dict[str, Any]],
    results: list[tuple[Done, Scored]],
    notes: list[str],
    pool: int,
) -> dict[str, Any]:
    told = []
    for done, scored in results:
        found = done.found
        facts = {"objective": found.objective, "gradients": found.gradients, "seconds": done.seconds, "notes": list(found.notes)}
        told.append({**scored.message, **facts, "gave_up": found.gave_up, "utility": done.utility})
    first, heard = results[0][0], [row for _, scored in results for row in scored.heard]
    summary = summarise(recipe, items, told, first.leak, first.knowledge, notes, pool, heard)
    run.write_items("messages", told)
    if heard:
        run.write_items("heard", heard)
    run.write_items("attack", items)
    run.write_summary("attack", summary)
    journal.write("end", state=str(State.COMPLETE))
    run.set_state(State.COMPLETE)
    return summary


def _keep(
    run: RunDirectory,
    items: list[dict[str, Any]],
    results: list[tuple[Done, Scored]],
    revocoder: Revocoder,
    sample_rate: int,
    streams: Streams,
    examples: Examples,
) -> list[str]:
    truths, found = {}, {}
    for done, scored in results:
        for row, name in enumerate(done.truth.ids):
            truths[name] = (done.truth.features[row].double().numpy(), done.truth.samples[row].numpy())
            found[name] = (scored.features[row], done.places)
    return keep(run, items, truths, found, revocoder, sample_rate, streams, examples)


def _single(victim: Victim, batch: Any) -> Array:
    frames, lengths = client_features(victim, batch)
    return frames[0, : int(lengths[0])].double().numpy()
