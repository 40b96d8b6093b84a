"""Whose speech is attacked, and among what it must be recognised again.

Problem: attacks on whole utterances take hours, and published ones cut the audio without saying what became of the transcript; what a
reconstruction is compared with is then another text than the client's. Choice: utterances come in the order of the hash of their ids (a
smaller attack is contained in a larger one); a crop keeps the beginning and the same share of the characters, which is an
approximation and said to be one. Utterances whose output frames cannot hold their text have no gradient; they are left out and counted.
The pool goes on behind the attacked ones and is cropped alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from auscult.data.recognition_batch import RecognitionBatch
from auscult.data.selection import nested_subset
from auscult.data.strings import speaker_of
from auscult.errors import UserError
from auscult.losses.ctc import required_frames
from auscult.models.recognition import RecognitionModel
from auscult.recipe.attack import UtteranceSettings
from auscult.tasks.recognition import Recognition

APPROXIMATE = "only the first {seconds:g} s of each utterance, with the same share of its characters as transcript (an approximation)"


@dataclass(frozen=True)
class Chosen:
    """Utterances of a split, one batch each.

    Attributes:
        pool: the attacked ones first.
        speakers: of the pool.
        attacked: how many of the pool are attacked.
        notes: sentences about what was cut or left out.
    """

    pool: tuple[RecognitionBatch, ...]
    speakers: tuple[str, ...]
    attacked: int
    notes: tuple[str, ...]


def choose(task: Recognition, model: RecognitionModel, settings: UtteranceSettings) -> Chosen:
    """Read the utterances of an attack and of its pool.

    Raises:
        UserError: the split has too few that the model can be trained on.
    """
    cuts = {cut.id: cut for cut in task.cuts(settings.split)}
    wanted = max(settings.pool, settings.count)
    pool, speakers, unfit = list[RecognitionBatch](), list[str](), 0
    for name in nested_subset(sorted(cuts), len(cuts)):
        batch = _beginning(task.collate([cuts[name]]), settings.seconds, task)
        if not _fits(batch, model):
            unfit += 1
            continue
        pool.append(batch)
        speakers.append(speaker_of(cuts[name]))
        if len(pool) == wanted:
            break
    if len(pool) < max(settings.count, 2):
        raise UserError(
            f"utterances.count: {settings.count} wanted and at least 2 needed, but {settings.split} has {len(pool)} usable utterances "
            f"({unfit} of {len(cuts)} have no text, or too few output frames for it); choose fewer, or more seconds"
        )
    notes = [APPROXIMATE.format(seconds=settings.seconds)] if settings.seconds is not None else []
    notes += [f"{unfit} utterances without text, or with too few output frames for it, were left out"] if unfit else []
    return Chosen(tuple(pool), tuple(speakers), settings.count, tuple(notes))


def joined(batches: Sequence[RecognitionBatch]) -> RecognitionBatch:
    """Return one batch of batches of one utterance each."""
    samples = [batch.samples[0, : int(batch.sample_lengths[0])].numpy() for batch in batches]
    tokens = [batch.tokens[0, : int(batch.token_lengths[0])].tolist() for batch in batches]
    return RecognitionBatch.pad(samples, tokens, [batch.ids[0] for batch in batches])


def _beginning(batch: RecognitionBatch, seconds: float | None, task: Recognition) -> RecognitionBatch:
    there = int(batch.sample_lengths[0])
    kept = there if seconds is None else min(there, round(seconds * task.specification.sample_rate))
    tokens = batch.tokens[0, : int(batch.token_lengths[0])].tolist()
    tokens = tokens[: max(1, round(len(tokens) * kept / there))] if kept < there else tokens
    while tokens and task.alphabet.labels[tokens[-1]] == " ":
        tokens = tokens[:-1]
    return RecognitionBatch.pad([batch.samples[0, :kept].numpy()], [tokens], batch.ids)


def _fits(batch: RecognitionBatch, model: RecognitionModel) -> bool:
    """Return whether the utterance has a text, output frames for it, and a sound."""
    frames = int(model.output_lengths(batch.sample_lengths)[0])
    needed = int(required_frames(batch.tokens, batch.token_lengths)[0])
    return 0 < needed <= frames and float(batch.samples.std()) > 0
