"""How well a diarizer does on recordings with references, beside two systems that do not listen, under one protocol.

Problem: an error rate says little without the regions it was scored in, the collar, and what "one speaker all the time" would have got
on the same recordings; where few people talk that is often close to what systems get. Choice: whatever is scored is scored under all
three protocols (full, fair, forgiving), together with both trivial systems and in the same regions; recordings are pooled as ratio of
sums; the time is that of this process per second of audio, reading included. Recordings are found by the names the references
use, never by their order in a folder. Rejected: averages over recordings (a clip of 4 s would count as much as a meeting).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auscult.audio.reading import probe
from auscult.corpora.base import find_recordings
from auscult.corpora.references import normal
from auscult.errors import UserError
from auscult.metrics.diarization import PROTOCOLS, DiarizationErrors, diarization_errors
from auscult.metrics.jaccard import jaccard_error_rate, jaccard_errors
from auscult.metrics.segments import Annotation, Evaluated, Turn, twin_of
from auscult.serving.diarizer import Diarization

Diarize = Callable[[Path], Diarization]
"""A recording to who speaks when, such as `Diarizer.diarize`."""


@dataclass(frozen=True)
class DiarizationEvaluation:
    """Scores of a diarizer and of two systems that do not listen.

    Attributes:
        systems: name ("system", "one speaker everywhere", "all silence") to scores: der_p, miss_p, false_alarm_p and confusion_p of every
            protocol p (full, fair, forgiving), as shares of reference speaker time, and jer.
        per_file: recording to the scores of the system, with `speakers` found and in the reference.
        turns: recording to the turns of the system.
        protocol: in words.
        real_time_factor: seconds of computing per second of audio, None for no audio.
        notes: of all recordings, without repeats.
    """

    systems: dict[str, dict[str, float | None]]
    per_file: dict[str, dict[str, Any]]
    turns: dict[str, list[Turn]]
    protocol: list[str]
    real_time_factor: float | None
    notes: list[str] = field(default_factory=list)


def evaluate_diarization(
    diarize: Diarize, reference: Annotation, audio: Mapping[str, Path], evaluated: Evaluated | None = None
) -> DiarizationEvaluation:
    """Run a diarizer over the recordings of a reference and score it.

    Args:
        diarize: called once per recording.
        reference: recording to turns.
        audio: recording to its file; more than the reference names is allowed.
        evaluated: recording to the regions that are scored (UEM); None scores every recording as a whole.

    Raises:
        UserError: a recording has no file or no evaluated region, or the diarizer refuses it.
    """
    missing = [name for name in reference if name not in audio]
    if missing:
        raise UserError(
            f'no audio for {len(missing)} of {len(reference)} recordings of the reference: "{missing[0]}"{twin_of(missing[0], audio)}; '
            "give their folder with --audio DIR"
        )
    seconds = {name: probe(audio[name]).seconds for name in reference}
    regions = _regions(reference, seconds, evaluated)
    found: dict[str, Diarization] = {}
    begun = time.perf_counter()
    for name in reference:
        found[name] = diarize(audio[name])
    spent = time.perf_counter() - begun
    turns = {name: one.turns for name, one in found.items()}
    systems: dict[str, Annotation] = {
        "system": turns,
        "one speaker everywhere": {name: [Turn(0.0, length, "everybody")] for name, length in seconds.items()},
        "all silence": {name: [] for name in reference},
    }
    results = {name: [diarization_errors(reference, one, regions, protocol) for protocol in PROTOCOLS] for name, one in systems.items()}
    jaccard = {name: jaccard_errors(reference, one, regions) for name, one in systems.items()}
    whole = "regions: UEM" if evaluated is not None else "regions: whole recordings"
    return DiarizationEvaluation(
        {name: {**_rates(results[name], None), "jer": jaccard_error_rate(jaccard[name])} for name in systems},
        {name: _of_file(name, results["system"], jaccard["system"], reference, turns) for name in reference},
        turns,
        [*(str(protocol) for protocol in PROTOCOLS), "jer: no collar, overlap scored", whole, "speech found by the system itself"],
        spent / sum(seconds.values()) if seconds else None,
        list(dict.fromkeys(note for one in found.values() for note in one.notes)),
    )


def find_audio(folder: Path) -> dict[str, Path]:
    """Return the audio files below a folder by their name without suffix, in Unicode's composed form.

    Raises:
        UserError: the folder is missing or holds no audio, or two files have the same name.
    """
    if not Path(folder).is_dir():
        raise UserError(f"{folder}: no such folder; give the folder of the recordings")
    found: dict[str, Path] = {}
    for path in find_recordings(Path(folder)):
        name = normal(path.stem)
        if name in found:
            raise UserError(f'{found[name]} and {path} are both "{name}"; keep one of them in the folder')
        found[name] = path
    if not found:
        raise UserError(f"{folder}: holds no audio; expected WAV, FLAC or OGG files named as in the reference")
    return found


def _regions(reference: Annotation, seconds: Mapping[str, float], evaluated: Evaluated | None) -> dict[str, Any]:
    """Return what is scored of each recording of the reference; a UEM may name more recordings than that."""
    if evaluated is None:
        return {name: [(0.0, max(length, *(turn.end for turn in reference[name]), 0.0))] for name, length in seconds.items()}
    lost = [name for name in reference if not evaluated.get(name)]
    if lost:
        raise UserError(f'the UEM has no region for "{lost[0]}"{twin_of(lost[0], evaluated)}; add it, or take it out of the reference')
    return {name: evaluated[name] for name in reference}


def _rates(results: list[DiarizationErrors], file: str | None) -> dict[str, float | None]:
    rates: dict[str, float | None] = {}
    for result in results:
        counts = result.total if file is None else result.files[file]
        parts = {"der": counts.errors, "miss": counts.miss, "false_alarm": counts.false_alarm, "confusion": counts.confusion}
        for part, value in parts.items():
            rates[f"{part}_{result.protocol.name}"] = value / counts.speaker_seconds if counts.speaker_seconds > 0 else None
    return rates


def _of_file(
    name: str, results: list[DiarizationErrors], jaccard: dict[str, dict[str, float]], reference: Annotation, turns: Annotation
) -> dict[str, Any]:
    return {
        **_rates(results, name),
        "jer": jaccard_error_rate({name: jaccard[name]}),
        "speakers_reference": len({turn.speaker for turn in reference[name]}),
        "speakers_found": len({turn.speaker for turn in turns[name]}),
    }


def audio_of_test_split(run: Path) -> dict[str, Path]:
    """Return the files of the whole recordings in the test split of a run's recipe, by id; simulated conversations have none.

    Raises:
        UserError: not a run, or its corpus is not there.
    """
    from lhotse.cut import MonoCut

    from auscult.data.splits import load_splits
    from auscult.runs.directory import RunDirectory
    from auscult.training.evaluate import recipe_of

    cuts = load_splits(recipe_of(RunDirectory.open(Path(run)))).get("test", ())
    whole = (one for one in cuts if isinstance(one, MonoCut) and one.start == 0.0 and one.duration == one.recording.duration)
    return {normal(one.id): Path(one.recording.sources[0].source) for one in whole}
