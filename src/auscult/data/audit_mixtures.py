"""What is wrong with a corpus of mixtures, as far as its manifest shows: who speaks with whom, where, and in which order.

Problem: PolSESS draws two files for a mixture, not two speakers, so in a fifth of its training mixtures one person talks to himself; which
of the two signals is "the first" cannot be learned, and nothing fails. One reader speaks in two thirds of the mixtures, scenes of the
test set occur in the validation set, and a table that lists rooms first made a "2,000 mixture subset" of rooms alone. Choice: each of these
is a finding with its share in numbers, an error where scores or training would be of something else than they say.

What samples show (copies, clipping, silence, mixtures that are not the sum of their layers) is in `audit_mixture_audio.py`.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lhotse.cut import Cut, MixedCut, PaddingCut

from auscult.data.audit_report import Finding, Severity, finding
from auscult.data.layers import REVERB, SOURCE, layer_names, source_speakers
from auscult.data.strings import UNKNOWN_SPEAKER, speakers_of

ORDER_LIMIT = -4.0
"""Standard deviations below the expected number of runs from which on an order is no accident."""
HEAD = 2000
"""Rows of the subset that people take first."""
DOMINANT = 0.4
"""Share of the mixtures from which on one speaker dominates them."""
FEW = 0.25
"""Share of the speakers below which their effective number is a warning."""
KINDS: tuple[tuple[str, str, Severity], ...] = (
    ("scene_file", "scene", "error"),
    ("speech_files", "speech", "error"),
    ("event_file", "event", "warning"),
)
"""Keys of `cut.custom` that say where layers were cut from, what that is, and how bad it is if splits share it."""


def holds_mixtures(cuts: Iterable[Cut]) -> bool:
    """Whether most of some cuts are mixtures: recordings with layers, or speakers who talk at once for half of the time."""
    every = [_mixes(cut) for cut in cuts]
    return sum(every) > len(every) / 2


def same_speaker_mixtures(cuts: Iterable[Cut]) -> list[str]:
    """Return the ids of mixtures in which one speaker is heard twice at once; unknown speakers are nobody in particular."""
    return [cut.id for cut in cuts if (isinstance(cut, MixedCut) or _mixes(cut)) and _heard_twice(cut)]


def audit_mixtures(splits: Mapping[str, Iterable[Cut]]) -> Iterator[Finding]:
    """Yield what is wrong with the splits that hold mixtures."""
    mixtures = {name: [cut for cut in cuts if _mixes(cut)] for name, cuts in splits.items() if holds_mixtures(cuts)}
    for name, cuts in mixtures.items():
        yield from _check_speakers(name, cuts)
        yield from _check_sources(name, cuts)
        yield from _check_lengths(name, cuts)
        yield from _check_order(name, cuts)
    for one, other in itertools.combinations(mixtures, 2):
        for key, what, severity in KINDS:
            files = [_named(mixtures[name], key) for name in (one, other)]
            shared = [file for file in files[0] if file in files[1]]
            if shared:
                message = (
                    f"{one} and {other} are cut from {len(shared)} {what} files in common (of {len(files[0])} and {len(files[1])}); "
                    "give every file to one split, or scores are of known recordings"
                )
                yield finding(severity, f"shared_{what}", message, sorted(shared))


def _mixes(cut: Cut) -> bool:
    if not isinstance(cut, MixedCut):
        return bool((getattr(cut, "custom", None) or {}).get("layers"))
    spans = sorted((start, end) for start, end, _ in _spans(cut))
    reached, together, heard = 0.0, 0.0, 0.0
    for start, end in spans:
        together += max(min(end, reached) - start, 0.0)
        heard += max(end - max(start, reached), 0.0)
        reached = max(reached, end)
    return len(spans) > 1 and together >= heard / 2


def _spans(cut: MixedCut) -> list[tuple[float, float, str]]:
    """Return start, end and speaker of each track with a speaker."""
    spoken = [(track, speakers_of(track.cut)) for track in cut.tracks if not isinstance(track.cut, PaddingCut)]
    return [(track.offset, track.offset + track.cut.duration, names[0]) for track, names in spoken if names]


def _heard_twice(cut: Cut) -> bool:
    if isinstance(cut, MixedCut):
        pairs = itertools.combinations(_spans(cut), 2)
        return any(one[2] == other[2] != UNKNOWN_SPEAKER and max(one[0], other[0]) < min(one[1], other[1]) - 1e-3 for one, other in pairs)
    known = _known_speakers(cut)
    return len(set(known)) < len(known)


def _known_speakers(cut: Cut) -> list[str]:
    return [name for name in source_speakers(cut) if name != UNKNOWN_SPEAKER]


def _custom(cut: Cut) -> Mapping[str, Any]:
    return {} if isinstance(cut, MixedCut) else cut.custom or {}


def _named(cuts: Sequence[Cut], key: str) -> dict[str, None]:
    values = (_custom(cut).get(key) for cut in cuts)
    listed = (value if isinstance(value, list) else [value] for value in values if value)
    return dict.fromkeys(str(file) for files in listed for file in files if file)


def _check_speakers(name: str, cuts: Sequence[Cut]) -> Iterator[Finding]:
    voices = Counter(speaker for cut in cuts for speaker in _known_speakers(cut))
    total = sum(voices.values())
    alike = sum((count / total) ** 2 for count in voices.values())
    same = same_speaker_mixtures(cuts)
    if same:
        message = (
            f"{name}: {100 * len(same) / len(cuts):.1f} % of the mixtures are of one speaker twice (two files drawn at random would make "
            f"{100 * alike:.1f} %), and which of two signals of one voice is the first cannot be learned; leave them out"
        )
        yield finding("error", "same_speaker", message, same)
    if len(voices) < 5:
        return
    loudest, _ = voices.most_common(1)[0]
    reach = sum(loudest in _known_speakers(cut) for cut in cuts) / len(cuts)
    if reach > DOMINANT or 1 / alike < FEW * len(voices):
        message = (
            f"{name}: {len(voices)} speakers count as {1 / alike:.1f} (1 over the sum of their squared shares), the most frequent one is "
            f"in {100 * reach:.1f} % of the mixtures; draw speakers before files"
        )
        yield finding("warning", "speaker_imbalance", message, [loudest])


def _check_sources(name: str, cuts: Sequence[Cut]) -> Iterator[Finding]:
    counts = {cut.id: sum(layer.startswith(SOURCE) for layer in layer_names(cut)) for cut in cuts}
    found = sorted(set(counts.values()))
    if len(found) > 1:
        usual = Counter(counts.values()).most_common(1)[0][0]
        odd = [identity for identity, count in counts.items() if count != usual]
        message = f"{name}: mixtures of {' and '.join(map(str, found))} sources; a model has one number of outputs, so divide them"
        yield finding("error", "source_counts", message, odd)
    elif found == [1]:
        yield finding("info", "one_source", f"{name}: every mixture has one source: a corpus for enhancement, there is nothing to separate")


def _check_lengths(name: str, cuts: Sequence[Cut]) -> Iterator[Finding]:
    """Look for the few of another length where most are of one; a corpus of natural lengths has none that most share."""
    lengths = Counter(round(cut.duration, 6) for cut in cuts)
    usual, count = lengths.most_common(1)[0]
    if len(cuts) / 2 < count < len(cuts):
        odd = [cut.id for cut in cuts if round(cut.duration, 6) != usual]
        yield finding("warning", "odd_length", f"{name}: mixtures are not {usual:g} s long as the others are; are they cut off?", odd)


def _check_order(name: str, cuts: Sequence[Cut]) -> Iterator[Finding]:
    """Count runs of indoor and outdoor rows (Wald and Wolfowitz 1940): far fewer than chance would make is an order."""
    indoor = [bool(_custom(cut).get("indoor", any(one.startswith(REVERB) for one in layer_names(cut)))) for cut in cuts]
    inside, outside, rows = sum(indoor), len(indoor) - sum(indoor), len(indoor)
    if min(inside, outside) < 2:
        return
    runs = 1 + sum(one != other for one, other in itertools.pairwise(indoor))
    expected = 2 * inside * outside / rows + 1
    spread = math.sqrt((expected - 1) * (expected - 2) / (rows - 1))
    if (runs - expected) / spread < ORDER_LIMIT:
        head = HEAD if rows >= 2 * HEAD else max(rows // 4, 1)
        message = (
            f"{name}: indoor and outdoor mixtures are not interleaved ({runs} runs, {expected:.0f} by chance): the first {head} are "
            f"{100 * sum(indoor[:head]) / head:.0f} % indoor, all together {100 * inside / rows:.0f} %; shuffle the table, and take "
            "subsets with items: (by hash), never the first rows"
        )
        yield finding("error", "row_order", message, [cuts[0].id])
