"""Checks of the data before anything is trained on it.

Problem: the reference experiments lost days to data, not models: labels 70 to 30, a training set that held every row twice, subsets of
one room, transcripts longer than CTC can align. Choice: one pass over the manifests (vectorised, seconds for 100,000 rows) and, unless
switched off, one pass over the samples; every finding has a severity, a code and ids. Only what makes training or its scores *wrong*
is an error. A closed set of speakers (everybody is also in training) is a warning, a few shared ones are an error: nobody plans that.
Splits of mixtures are asked further questions, in `audit_mixtures.py` and `audit_mixture_audio.py`.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Literal

import numpy as np

from auscult.audio.resampling import upsampling_note
from auscult.data.audit_audio import Progress, audit_audio
from auscult.data.audit_mixture_audio import RESIDUAL_LIMIT, audit_mixture_audio
from auscult.data.audit_mixtures import audit_mixtures, holds_mixtures
from auscult.data.audit_report import AuditReport, Finding, Severity, SplitFacts, finding, ordered
from auscult.data.audit_rows import Rows, code_points, is_layered, read_rows, required_frames, source_of
from auscult.data.strings import UNKNOWN_SPEAKER
from auscult.errors import UserError

if TYPE_CHECKING:
    from lhotse import CutSet

    from auscult.data.alphabet import Alphabet

FASTEST, SLOWEST = 35.0, 0.5
"""Characters per second outside which text and audio hardly belong together (fast speech reaches about 25)."""
SHORTEST = 0.1
"""Seconds below which an utterance is shorter than most words."""
RARE = 5
"""Occurrences in training below which a character is hardly learned."""
MOST_LABELS = 100
"""Distinct texts up to which they are looked at as labels, if they occur five times each on average."""


def audit(
    splits: Mapping[str, CutSet],
    *,
    alphabet: Alphabet | None = None,
    output_frames: Callable[[int], int] | None = None,
    sample_rate: int | None = None,
    unknown: Literal["error", "drop"] = "error",
    audio: bool = True,
    residual_limit: float = RESIDUAL_LIMIT,
    progress: Progress | None = None,
) -> AuditReport:
    """Look for everything that is known to spoil training or scores.

    Args:
        splits: cuts by split name; the one called "train" (else the first) is what the others are compared with.
        alphabet: characters a recogniser writes; None checks no characters.
        output_frames: frames a model puts out for a number of samples at `sample_rate`; never fewer for more samples.
        sample_rate: of the model, hertz; None means each file's own.
        unknown: the task's policy for characters outside the alphabet; under "drop" they are a warning.
        audio: read the samples too; without, only manifests are checked.
        residual_limit: largest difference between a mixture and the sum of its layers, as a share of full scale.
        progress: called while audio is read.
    """
    every = [read_rows(name, cuts) for name, cuts in splits.items()]
    with_text = any(text for rows in every for text in rows.texts)
    mixed = {name for name, cuts in splits.items() if holds_mixtures(cuts)}
    findings: list[Finding] = []
    for rows in every:
        findings += _check_split(rows, with_text or alphabet is not None)
        if rows.name not in mixed:
            findings += _check_balance(rows)
        if alphabet is not None:
            findings += _check_characters(rows, alphabet, unknown)
        if output_frames is not None:
            findings += _check_lengths(rows, alphabet, output_frames, sample_rate)
    findings += _check_rates(every, sample_rate, "error" if mixed else "warning")
    findings += _check_between(every)
    findings += _check_coverage(every, alphabet)
    findings += audit_mixtures(splits)
    if audio:
        findings += audit_audio(every, progress)
        layered = {rows.name: [parts[0] for parts in rows.parts if len(parts) == 1 and is_layered(parts[0])] for rows in every}
        findings += audit_mixture_audio({name: cuts for name, cuts in layered.items() if cuts}, residual_limit, progress)
    return AuditReport({rows.name: _facts(rows) for rows in every}, ordered(findings), audio)


def _facts(rows: Rows) -> SplitFacts:
    points, owners = code_points(rows.texts)
    values, counts = np.unique(points, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    lengths = np.bincount(owners, minlength=len(rows))
    spoken = lengths > 0
    return SplitFacts(
        utterances=len(rows),
        hours=float(rows.seconds.sum() / 3600),
        speakers=len(rows.voices),
        sample_rates={int(rate): int(count) for rate, count in zip(*np.unique(rows.rates, return_counts=True), strict=True)},
        seconds=_quantiles(rows.seconds),
        characters_per_second=_quantiles(lengths[spoken] / np.maximum(rows.seconds[spoken], 1e-9)) if spoken.any() else None,
        words=sum(len(text.split()) for text in rows.texts),
        distinct_texts=len(set(rows.texts)),
        characters={chr(values[index]): int(counts[index]) for index in order},
        labels=_labels(rows),
    )


def _quantiles(values: np.ndarray) -> dict[str, float]:
    names = ("minimum", "5 %", "median", "95 %", "maximum")
    if not len(values):
        return {}
    return {name: float(value) for name, value in zip(names, np.quantile(values, (0, 0.05, 0.5, 0.95, 1)), strict=True)}


def _labels(rows: Rows) -> dict[str, int]:
    """Return utterances by text where texts are labels: few, each many times."""
    counts = Counter(rows.texts)
    return dict(counts.most_common()) if 1 < len(counts) <= MOST_LABELS and len(rows) >= 5 * len(counts) else {}


def _check_split(rows: Rows, texts_expected: bool) -> Iterator[Finding]:
    where = f"{rows.name}:"
    if not len(rows):
        yield finding("error", "empty_split", f"{where} no utterances; change the selection")
        return
    empty = np.array([not text for text in rows.texts])
    if texts_expected and empty.any():
        yield finding("error", "empty_text", f"{where} utterances without text; transcribe or exclude them", rows.of(empty))
    lengths = np.array([len(text) for text in rows.texts])
    rate = lengths / np.maximum(rows.seconds, 1e-9)
    odd = ~empty & ((rate > FASTEST) | ((rate < SLOWEST) & (rows.seconds > 5)))
    if odd.any():
        worst = float(rate[odd][np.abs(np.log(rate[odd] / 10)).argmax()])
        message = f"{where} text and duration hardly fit (worst {worst:.1f} characters a second); check the transcripts"
        yield finding("warning", "implausible_rate", message, rows.of(odd))
    short = rows.seconds < SHORTEST
    if short.any():
        yield finding("warning", "short_audio", f"{where} utterances shorter than {SHORTEST} s; are they cut off?", rows.of(short))
    nameless = np.array([speaker == UNKNOWN_SPEAKER for speaker in rows.speakers])
    if nameless.any():
        message = f"{where} utterances without a speaker; intervals and overlap checks need speakers"
        yield finding("warning", "no_speaker", message, rows.of(nameless))


def _check_balance(rows: Rows) -> Iterator[Finding]:
    where = f"{rows.name}:"
    counts = _labels(rows)
    scarce = [label for label, count in counts.items() if count < 0.1 * float(np.median(list(counts.values())))]
    if scarce:
        yield finding("warning", "near_empty_class", f"{where} labels with under a tenth of the usual number of utterances", sorted(scarce))
    speakers = Counter(speaker for speaker in rows.speakers if speaker != UNKNOWN_SPEAKER)
    if len(speakers) >= 5:
        name, count = speakers.most_common(1)[0]
        if count > 0.4 * len(rows):
            yield finding(
                "warning", "dominant_speaker", f"{where} one speaker holds {100 * count / len(rows):.1f} % of the utterances", [name]
            )
    for what, column in (("speaker", rows.speakers), ("label", rows.texts if counts else [])):
        if 1 < len(set(column)) < len(column) and sum(one != other for one, other in itertools.pairwise(column)) == len(set(column)) - 1:
            message = f"{where} the manifest is sorted by {what}; take subsets with items: (by hash), never its first rows"
            yield finding("info", f"sorted_by_{what}", message)


def _check_characters(rows: Rows, alphabet: Alphabet, unknown: Literal["error", "drop"]) -> Iterator[Finding]:
    points, owners = code_points(rows.texts)
    foreign = ~np.isin(points, np.array([ord(label) for label in alphabet.labels], dtype=np.uint32))
    if foreign.any():
        characters, counts = np.unique(points[foreign], return_counts=True)
        listed = ", ".join(f"{chr(one)!r} {count} times" for one, count in list(zip(characters, counts, strict=True))[:8])
        remedy = "they are left out" if unknown == "drop" else "clean the texts or use another alphabet"
        message = f"{rows.name}: characters outside the alphabet ({listed}); {remedy}"
        severity: Literal["error", "warning"] = "warning" if unknown == "drop" else "error"
        mask = np.bincount(owners[foreign], minlength=len(rows)) > 0
        yield finding(severity, "out_of_alphabet", message, rows.of(mask))


def _check_lengths(
    rows: Rows, alphabet: Alphabet | None, output_frames: Callable[[int], int], sample_rate: int | None
) -> Iterator[Finding]:
    if not len(rows):
        return
    points, owners = code_points(rows.texts)
    if alphabet is not None:
        known = np.isin(points, np.array([ord(label) for label in alphabet.labels], dtype=np.uint32))
        points, owners = points[known], owners[known]
    needed = np.maximum(required_frames(points, owners, len(rows)), 1)
    samples = rows.samples if sample_rate is None else np.rint(rows.samples * (sample_rate / rows.rates)).astype(np.int64)
    lengths = np.unique(samples).tolist()
    frames: dict[int, int] = {}

    def frames_of(length: int) -> int:
        if length not in frames:
            try:
                frames[length] = int(output_frames(length))
            except UserError:  # shorter than the model takes at all
                frames[length] = 0
        return frames[length]

    enough = {need: bisect_left(lengths, need, key=frames_of) for need in np.unique(needed).tolist()}
    shortest = np.array(
        [lengths[place] if place < len(lengths) else np.iinfo(np.int64).max for place in (enough[need] for need in needed.tolist())]
    )
    impossible = samples < shortest
    if impossible.any():
        index = int(np.flatnonzero(impossible)[0])
        message = (
            f"{rows.name}: too short for CTC, e.g. {rows.ids[index]} has {frames_of(int(samples[index]))} output frames and needs "
            f"{int(needed[index])} (symbols + repeats); use a smaller stride or leave them out"
        )
        yield finding("error", "infeasible_length", message, rows.of(impossible))


def _check_rates(every: Sequence[Rows], sample_rate: int | None, severity: Severity) -> Iterator[Finding]:
    by_rate: dict[int, list[str]] = {}
    for rows in every:
        for rate in np.unique(rows.rates).tolist():
            by_rate.setdefault(rate, []).append(rows.name)
    if len(by_rate) > 1:
        listed = ", ".join(f"{rate} Hz in {'/'.join(names)}" for rate, names in sorted(by_rate.items()))
        message = f"sampling rates are mixed ({listed}); bandwidth tells recordings apart, and a model can learn that instead"
        yield finding(severity, "mixed_sample_rates", message, [str(rate) for rate in sorted(by_rate)])
    for rate in sorted(by_rate):
        note = upsampling_note(rate, sample_rate) if sample_rate is not None else None
        if note is not None:
            yield finding("info", "upsampling", note, by_rate[rate])


def _check_between(every: Sequence[Rows]) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    repeated = []
    for rows in every:
        for identity in rows.ids:
            if identity in seen:
                repeated.append(f"{identity} ({seen[identity]}, {rows.name})")
            seen[identity] = rows.name
    if repeated:
        yield finding("error", "duplicate_id", "utterance ids occur more than once; every utterance needs an id of its own", repeated)
    pieces = {rows.name: {source_of(part): part.id for parts in rows.parts for part in parts} for rows in every}
    for rows in every:
        uses = Counter(source_of(parts[0]) for parts in rows.parts if len(parts) == 1)
        twice = [pieces[rows.name][source] for source, count in uses.items() if count > 1]
        if twice:
            yield finding(
                "error", "duplicate_rows", f"{rows.name}: several rows are the same piece of the same file; keep one of each", twice
            )
    for one, other in itertools.combinations(every, 2):
        pair = f"{one.name} and {other.name}"
        shared = sorted(pieces[one.name][source] for source in pieces[one.name].keys() & pieces[other.name].keys())
        if shared:
            yield finding("error", "shared_recordings", f"{pair} use the same recordings; scores would not be on unseen audio", shared)
        yield from _overlap(pair, "speaker", one.voices, other.voices)
        yield from _overlap(pair, "session", one.sessions, other.sessions)


def _overlap(pair: str, what: str, one: Set[str], other: Set[str]) -> Iterator[Finding]:
    shared = sorted(one & other)
    if not shared:
        return
    if len(shared) == min(len(one), len(other)):
        message = f"{pair}: every {what} of the smaller one is also in the other; scores are for known {what}s only, say so"
        yield finding("warning", f"{what}_overlap", message, shared)
    else:
        message = f"{pair} share {len(shared)} {what}s (of {len(one)} and {len(other)}); separate them: scores would mix known and unknown"
        yield finding("error", f"{what}_overlap", message, shared)


def _check_coverage(every: Sequence[Rows], alphabet: Alphabet | None) -> Iterator[Finding]:
    """Compare the characters of the training texts with what is judged and what could be written."""
    train = next((rows for rows in every if rows.name.startswith("train")), every[0] if every else None)
    if train is None or not any(train.texts):
        return
    counts = Counter("".join(train.texts))
    if alphabet is not None:
        rare = sorted(label for label in alphabet.labels if 0 < counts[label] < RARE)
        if rare:
            yield finding(
                "warning", "rare_characters", f"{train.name}: characters with fewer than {RARE} examples are hardly learned", rare
            )
        never = sorted(label for label in alphabet.labels if not counts[label])
        if never:
            yield finding(
                "info",
                "unused_characters",
                f"{train.name}: characters of the alphabet that never occur; the model cannot learn them",
                never,
            )
    judged = Counter(character for rows in every if rows is not train for character in "".join(rows.texts))
    unseen = sorted(character for character in judged if not counts[character])
    if unseen:
        yield finding(
            "warning",
            "unseen_characters",
            f"characters that are judged but never occur in {train.name}; every one will be an error",
            unseen,
        )
