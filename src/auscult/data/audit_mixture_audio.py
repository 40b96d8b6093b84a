"""What is wrong with the samples of mixtures: copies, clipping, silence, and layers that do not make the mixture.

Problem: half of the corpus behind a published ranking was a copy of the other half under new names; a mixture that was clipped, scaled
or written from other layers than those beside it turns every variant, which is made by subtracting layers, into noise that nobody listens
to. Choice: each file is read once; mixtures and sources are compared by a digest of their samples, and the mixture with the sum of its
layers. Layers and mixture are rounded one by one, so with 16 bits the difference reaches half a bit for each of up to eight files
(1.22e-4); corpora whose layers were rendered apart differ by more, which is reported and fails above a limit that can be set.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from lhotse.cut import Cut
from numpy.typing import NDArray

from auscult.audio.reading import AudioError
from auscult.data.audit_audio import SILENT_PEAK
from auscult.data.audit_report import Finding, finding
from auscult.data.layers import SOURCE, layer_names, read_layers
from auscult.data.store import AudioStore
from auscult.errors import UserError

RESIDUAL_LIMIT = 8 * 2.0**-16
"""Largest difference between a mixture and the sum of its layers that rounding to 16 bits explains: seven layers and the mixture."""
FULL_SCALE = 0.9999
"""Peak from which on a mixture counts as clipped; the generator of PolSESS redraws such mixtures."""
SILENT_LAYER = 2.0**-14
"""Peak below which a layer that is no source holds nothing: two bits of 16; distant scenes are quiet."""


@dataclass
class _Split:
    """What was found in one split.

    Attributes:
        name: of the split.
        mixtures: how many were read.
        faults: ids by kind of fault.
        contents: ids by digest of the mixture's samples.
        sources: ids by digests of all sources, in whatever order.
        voices: an id by digest of a single source.
        worst: largest residual.
        squares: sum of the squared residual samples.
        samples: how many they are.
        problems: first sentences about files that cannot be read.
    """

    name: str
    mixtures: int = 0
    faults: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    contents: dict[bytes, list[str]] = field(default_factory=lambda: defaultdict(list))
    sources: dict[tuple[bytes, ...], list[str]] = field(default_factory=lambda: defaultdict(list))
    voices: dict[bytes, str] = field(default_factory=dict)
    worst: float = 0.0
    squares: float = 0.0
    samples: int = 0
    problems: list[str] = field(default_factory=list)


def audit_mixture_audio(
    splits: dict[str, Sequence[Cut]], limit: float = RESIDUAL_LIMIT, progress: Callable[[int, int], None] | None = None
) -> Iterator[Finding]:
    """Read every mixture and its layers once and yield what is wrong with them.

    Args:
        splits: recordings with layers, by split.
        limit: largest residual, as a share of full scale.
        progress: called with mixtures done and mixtures in all.
    """
    stores: dict[int, AudioStore] = {}
    total, done, found = sum(map(len, splits.values())), 0, []
    for name, cuts in splits.items():
        split = _Split(name)
        for cut in cuts:
            store = stores.setdefault(cut.sampling_rate, AudioStore(cut.sampling_rate, 0))
            try:
                _inspect(cut, read_layers(cut, ["mixture", *layer_names(cut)], store), limit, split)
            except (AudioError, UserError) as error:
                split.faults["unreadable"].append(cut.id)
                split.problems.append(str(error))
            done += 1
            if progress is not None:
                progress(done, total)
        found.append(split)
        yield from _faults(split)
        yield from _copies(split)
        yield from _residual(split, limit)
    yield from _across(found)


def _inspect(cut: Cut, layers: dict[str, NDArray[np.float32]], limit: float, split: _Split) -> None:
    """Judge the samples of one mixture and its layers."""
    mixture = layers.pop("mixture")
    split.mixtures += 1
    peaks = {name: float(np.abs(samples).max()) for name, samples in layers.items()}
    if float(np.abs(mixture).max()) >= FULL_SCALE:
        split.faults["clipped"].append(cut.id)
    for name, peak in peaks.items():
        source = name.startswith(SOURCE)
        if peak < (SILENT_PEAK if source else SILENT_LAYER):
            split.faults["silent_source" if source else "silent_layer"].append(f"{cut.id}:{name}")
    residual = mixture - np.sum(list(layers.values()), axis=0, dtype=np.float64)
    peak = float(np.abs(residual).max())
    split.worst = max(split.worst, peak)
    split.squares += float(residual @ residual)
    split.samples += len(residual)
    if peak > limit:
        split.faults["residual"].append(cut.id)
    split.contents[_digest(mixture)].append(cut.id)
    voices = [_digest(samples) for name, samples in layers.items() if name.startswith(SOURCE) and peaks[name] >= SILENT_PEAK]
    split.sources[tuple(sorted(voices))].append(cut.id)
    if len(set(voices)) < len(voices):
        split.faults["twin"].append(cut.id)
    for voice in voices:
        split.voices.setdefault(voice, cut.id)


def _digest(samples: NDArray[np.float32]) -> bytes:
    return hashlib.blake2b(samples.tobytes(), digest_size=16).digest()


FAULTS = (
    ("unreadable", "unreadable_audio", "mixtures or layers cannot be read: {first}; repair or remove them"),
    (
        "clipped",
        "clipped_mixture",
        "mixtures reach full scale, so they are not the sum of their layers any more; mix them at a lower level",
    ),
    ("silent_source", "silent_source", "sources are silent (peak below -60 dB), so there is nothing to separate; leave the mixtures out"),
    ("silent_layer", "silent_layer", "layers are silent, so a variant with them is the same as one without; write them again"),
    ("twin", "identical_sources", "two sources of a mixture are the same samples; leave the mixtures out"),
)
"""Kind of fault, code of the finding, and what is said."""


def _faults(split: _Split) -> Iterator[Finding]:
    for kind, code, message in FAULTS:
        if split.faults[kind]:
            said = message.format(first=split.problems[0]) if kind == "unreadable" else message
            yield finding("error", code, f"{split.name}: {said}", split.faults[kind])


def _copies(split: _Split) -> Iterator[Finding]:
    copies = [members for members in split.contents.values() if len(members) > 1]
    if copies:
        message = (
            f"{split.name}: {sum(len(members) - 1 for members in copies)} of {split.mixtures} mixtures are copies of others by their "
            f"samples, so the split holds {len(split.contents)}; keep one of each"
        )
        yield finding("error", "duplicate_mixtures", message, [" = ".join(members) for members in copies])
    known = {frozenset(members) for members in copies}
    again = [members for voices, members in split.sources.items() if voices and len(members) > 1 and frozenset(members) not in known]
    if again:
        message = f"{split.name}: the same sources are in several mixtures; as data they count once"
        yield finding("warning", "repeated_sources", message, [" = ".join(members) for members in again])


def _residual(split: _Split, limit: float) -> Iterator[Finding]:
    if not split.samples:
        return
    measured = f"at most {split.worst:.3g} of full scale, {np.sqrt(split.squares / split.samples):.3g} in the mean square"
    if split.faults["residual"]:
        message = (
            f"{split.name}: mixtures are not the sum of their layers: they differ by {measured} (limit {limit:.3g}), so variants, which "
            "are made by subtracting layers, hold something else; write the layers again, or raise the limit if they were made so"
        )
        yield finding("error", "residual", message, split.faults["residual"])
    else:
        yield finding("info", "residual", f"{split.name}: mixtures differ from the sum of their layers by {measured} (limit {limit:.3g})")


def _across(splits: Sequence[_Split]) -> Iterator[Finding]:
    for place, one in enumerate(splits):
        for other in splits[place + 1 :]:
            pair = f"{one.name} and {other.name}"
            copies = [key for key in one.contents if key in other.contents]
            if copies:
                message = f"{pair} hold the same mixtures; scores would not be on unseen audio"
                same = [f"{one.contents[key][0]} = {other.contents[key][0]}" for key in copies]
                yield finding("error", "duplicate_mixtures_across_splits", message, same)
            known = {identity for key in copies for identity in one.contents[key]}
            voices = [(identity, other.voices[voice]) for voice, identity in one.voices.items() if voice in other.voices]
            shared = [f"{identity} = {twin}" for identity, twin in voices if identity not in known]
            if shared:
                message = f"{pair} hold the same speech in their mixtures; scores would be of speech that is known"
                yield finding("error", "shared_sources", message, shared)
