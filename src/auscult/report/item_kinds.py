"""Which figure and which words belong to the records of a split: told by what the records hold, not by the name of a task.

Problem: a report reads run directories only, tasks of third parties have names it has never heard of, and a page that assumes
transcripts breaks on trials. Choice: a kind is recognised by fields that only its records have; records of no known kind get a page of
metrics, alarms and the records themselves. Rejected: asking the task (needs torch and the data), a table of task names (a task that judges
transcripts under another name would get nothing).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from auscult.report import (
    error_breakdown,
    mixtures_figure,
    mixtures_page,
    records_page,
    separation_examples,
    transcripts_page,
    trial_figure,
    trials_page,
    windows_figure,
    windows_page,
)
from auscult.report.figure import Row
from auscult.report.listening_page import examples_name
from auscult.report.train_record import Judged, Training

Draw = Callable[[Training, Judged], tuple[Figure, dict[str, list[Row]]]]


@dataclass(frozen=True)
class Kind:
    """What belongs to records of one kind.

    Attributes:
        name: what the records are called.
        fields: all of them are in every record of the kind.
        figure: first part of the name of its figure, `<figure>_<split>`; empty for none.
        draw: draws that figure; None for none.
        caption: of that figure, with "{split}".
        rates: how figures of the results were obtained.
        beside: the split's part of the section of baselines.
        worst: the split's section of what went wrong.
        cannot: what results of this kind do not show.
    """

    name: str
    fields: frozenset[str]
    figure: str
    draw: Draw | None
    caption: str
    rates: str
    beside: Callable[[Judged], str]
    worst: Callable[[Judged], str]
    cannot: tuple[str, ...] = ()


TRANSCRIPTS = Kind(
    "utterances",
    frozenset({"substitutions", "insertions", "deletions", "words", "duration", "reference", "hypothesis"}),
    "errors",
    error_breakdown.draw,
    "Errors on {split}, by speaker, duration and kind; whiskers are 95 % intervals over the utterances of the bar.",
    "Rates are ratios of sums. Intervals resample speakers, then utterances, of this one run; the spread between seeds is not in them.",
    transcripts_page.beside,
    transcripts_page.worst,
)
TRIALS = Kind(
    "trials",
    frozenset({"target", "score", "enrol", "test"}),
    "trials",
    trial_figure.draw,
    "Trials of {split}. Misses against false alarms with equal errors and both minimum costs; scores of both kinds with the threshold of "
    "equal errors; calibrated log-likelihood ratios where there are any; the rate by the shorter recording; errors by speaker, and "
    "between speakers.",
    "Intervals resample the speakers of both sides of the trials (the trials themselves where speakers have no names) of this one run; the "
    "spread between seeds is not in them. Costs of different priors are not comparable.",
    trials_page.beside,
    trials_page.worst,
    (
        "The error rate at a threshold somebody uses: the equal error rate finds its threshold on the very trials it is measured on.",
        "How it does on other speakers: these trials are of few speakers, and the width of the interval is what that costs.",
    ),
)
WINDOWS = Kind(
    "windows",
    frozenset({"frame_errors", "frames", "missed", "false_alarm", "confusion", "speech"}),
    "windows",
    windows_figure.draw,
    "Windows of {split}. Error rates beside answers that need no audio; local errors by the number of speakers; classes, true and found; "
    "recordings and windows by their share of wrong frames.",
    "Rates are ratios of sums over windows, speakers matched anew in each. Intervals resample recordings, then windows, of this one run; "
    "the spread between seeds is not in them.",
    windows_page.beside,
    windows_page.worst,
    ("The error rate of a recording, whose speakers must be told apart throughout: these are windows, each with a matching of its own.",),
)
MIXTURES = Kind(
    "mixtures",
    frozenset({"source_si_sdr", "input_si_sdr", "si_sdri", "variant"}),
    "mixtures",
    mixtures_figure.draw,
    "Mixtures of {split}. Improvement over the mixture itself and both levels, by variant; every mixture before and after; improvement per "
    "mixture with those that got worse; by the level of the mixture; by the speaker of a source.",
    "SI-SDR in dB: means over mixtures of the mean over their active sources, estimates matched to sources by the best permutation. "
    "Intervals are those of the task where it states them; for other groups they resample pairs of speakers, then their mixtures. All of "
    "them are of this one run; the spread between seeds is not in them.",
    mixtures_page.beside,
    mixtures_page.worst,
    (
        "Anything about mixtures of other corpora: the level of the mixture, the room and the noise decide what can be gained, and gains "
        "of different corpora are not comparable.",
        "How a recogniser or a listener does on the estimates: improvement in dB is a weak predictor of either.",
    ),
)
OTHERS = Kind(
    "records",
    frozenset(),
    "",
    None,
    "",
    "Metrics and intervals as the task states them, of this one run; the spread between seeds is not in them.",
    records_page.beside,
    records_page.worst,
)


def kind_of(judged: Judged) -> Kind:
    """Return the kind of a split's records; `OTHERS` where it is unknown or there are none.

    >>> kind_of(Judged("test", ({"id": "a b", "enrol": "a", "test": "b", "target": True, "score": 0.5},), {})).name
    'trials'
    """
    for kind in (TRANSCRIPTS, TRIALS, WINDOWS, MIXTURES):
        if judged.items and all(kind.fields <= item.keys() for item in judged.items):
            return kind
    return OTHERS


def figure_name(judged: Judged) -> str | None:
    """Return the name of a split's figure, or None where its records have none."""
    kind = kind_of(judged)
    return f"{kind.figure}_{judged.split}" if kind.draw is not None else None


def drawings(judged: Judged) -> dict[str, Draw]:
    """Return what draws each figure of a split, by its name: that of its kind, and that of the sounds of its mixtures."""
    kind, name = kind_of(judged), figure_name(judged)
    found = {name: kind.draw} if kind.draw is not None and name is not None else {}
    if kind is MIXTURES and judged.listening.get("items"):
        found[examples_name(judged.split)] = separation_examples.draw
    return found
