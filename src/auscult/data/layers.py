"""What a mixture is made of, which variants of it exist, and how one is read.

A mixture has layers: a dry signal for every source, perhaps the scene around them, an event, and the reverberation of each as a signal of
its own; the mixture is their sum. Leaving layers out gives easier mixtures of the same speech (PolSESS calls it mix modification by
inverted phase cancellation). The letters of a variant name what is *kept* besides the speech: S scene, E event, R reverberation, and C,
clean, for nothing.

A variant that a mixture cannot have is refused and never replaced by the nearest one: a table per variant would then hold something else
than it says. Reverberation is kept or everything is left out: speech in a room beside a scene without one exists nowhere.

Two kinds of cuts are mixtures: a recording whose further channels are its layers (`cut.custom["layers"]` names them), where layers are
subtracted from the stored mixture, and any lhotse `MixedCut`, where tracks are added: one source per speaker in order of appearance, and
tracks without a speaker are the scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, get_args

import numpy as np
from lhotse.cut import Cut, MixedCut, MixTrack, MonoCut, PaddingCut
from lhotse.utils import compute_num_samples
from numpy.typing import NDArray

from auscult.data.store import AudioStore
from auscult.errors import UserError, did_you_mean
from auscult.ops.silence import SILENT_POWER

Aim = Literal["separate_both", "enhance_both", "enhance_single"]
"""What is to be put out: every source, their sum, or the first source without the others (tasks SB, EB, ES of PolSESS)."""

AIMS: tuple[Aim, ...] = get_args(Aim)
SCENE, EVENT, EVENT_REVERB = "scene", "event", "event_reverb"
SOURCE, REVERB = "source", "reverb"
"""First part of the names of layers that each source has: source1, source2, reverb1, reverb2."""
CLEAN = "C"
SILENCE = SILENT_POWER**0.5
"""Root mean square below which a signal counts as silent."""


@dataclass(frozen=True)
class Example:
    """A mixture and what is to be heard in it.

    Attributes:
        mixture: (time,) float32.
        sources: (sources, time) float32.
    """

    mixture: NDArray[np.float32]
    sources: NDArray[np.float32]


def is_mixture(cut: Cut) -> bool:
    """Whether a cut is made of layers."""
    return isinstance(cut, MixedCut) or bool((cut.custom or {}).get("layers"))


def layer_names(cut: Cut) -> tuple[str, ...]:
    """Return the names of a mixture's layers.

    Raises:
        UserError: the cut is no mixture, or has no source.
    """
    if isinstance(cut, MixedCut):
        names = tuple(dict.fromkeys(_track_names(cut)))
    else:
        names = tuple((getattr(cut, "custom", None) or {}).get("layers", ()))
    if not any(name.startswith(SOURCE) for name in names):
        raise UserError(
            f'{cut.id}: separation needs mixtures with known sources, this is a plain recording; name a corpus of mixtures ("polsess", '
            '"mixture_folder"), or ask for mixtures of single speakers with data.mixtures'
        )
    return names


def source_speakers(cut: Cut) -> tuple[str, ...]:
    """Return the speaker of each source, "unknown" where none is named."""
    count = sum(name.startswith(SOURCE) for name in layer_names(cut))
    if isinstance(cut, MixedCut):
        return tuple(dict.fromkeys(_speaker(track) or "unknown" for track in _spoken(cut)))
    named = tuple((cut.custom or {}).get("speakers", ()))
    return named if len(named) == count else ("unknown",) * count


def variants_of(names: Sequence[str]) -> tuple[str, ...]:
    """Return the variants of a mixture with these layers, fullest first.

    >>> variants_of(["source1", "source2", "scene", "event", "reverb1", "reverb2", "event_reverb"])
    ('SER', 'SR', 'ER', 'R', 'C')
    >>> variants_of(["source1", "source2", "scene"])
    ('S', 'C')
    """
    kept = "".join(letter for letter, name in (("S", SCENE), ("E", EVENT)) if name in names)
    room = "R" if any(name.startswith(REVERB) for name in names) else ""
    subsets = ["".join(chosen) for size in range(len(kept), -1, -1) for chosen in combinations(kept, size)]
    return tuple(dict.fromkeys([*(chosen + room for chosen in subsets if chosen + room), CLEAN]))


def left_out(names: Sequence[str], variant: str, aim: Aim, identity: str = "this mixture") -> tuple[str, ...]:
    """Return the layers that are taken out of a mixture, each once.

    Args:
        names: layers of the mixture.
        variant: see the module.
        aim: "enhance_single" takes the other sources out too.
        identity: of the mixture, for the message.

    Raises:
        UserError: the mixture has no such variant.

    >>> left_out(["source1", "source2", "scene", "event"], "E", "separate_both")
    ('scene',)
    """
    possible = variants_of(names)
    if variant not in possible:
        raise UserError(
            f'{identity}: has no variant "{variant}"{did_you_mean(variant, possible)}; with layers {", ".join(names)} it has '
            f"{', '.join(possible)}"
        )
    room = any(name.startswith(REVERB) for name in names)
    gone = {SCENE: "S" not in variant, EVENT: "E" not in variant, EVENT_REVERB: "E" not in variant or "R" not in variant}
    dry = room and "R" not in variant

    def is_gone(name: str) -> bool:
        other = aim == "enhance_single" and name[-1:].isdigit() and not name.endswith("1")
        return gone.get(name, other or (dry and name.startswith(REVERB)))

    return tuple(name for name in names if is_gone(name))


def targets(sources: NDArray[np.float32], aim: Aim) -> NDArray[np.float32]:
    """Return what is to be put out, (outputs, time), of the dry sources (sources, time)."""
    if aim == "separate_both":
        return sources
    return sources[:1] if aim == "enhance_single" else sources.sum(axis=0, keepdims=True, dtype=np.float32)


def read_example(cut: Cut, variant: str, aim: Aim, store: AudioStore, start: int = 0, count: int | None = None) -> Example:
    """Read a mixture, or a stretch of it.

    Args:
        cut: a mixture.
        variant: which layers are kept.
        aim: what is to be put out.
        store: reads the files; its sample rate is that of the result.
        start: first sample, at that rate.
        count: samples; None goes to the end.

    Raises:
        AudioError: a file cannot be read.
        UserError: the mixture has no such variant.
    """
    names = layer_names(cut)
    gone = left_out(names, variant, aim, cut.id)
    wanted = [name for name in names if name.startswith(SOURCE)]
    kept = [name for name in names if name not in gone]
    if isinstance(cut, MixedCut):
        layers = read_layers(cut, list(dict.fromkeys([*wanted, *kept])), store, start, count)
        mixture = layers[kept[0]] + layers[kept[1]] if len(kept) > 1 else layers[kept[0]].copy()
        for name in kept[2:]:
            mixture += layers[name]
    else:
        layers = read_layers(cut, list(dict.fromkeys(["mixture", *wanted, *gone])), store, start, count)
        mixture = layers["mixture"]
        for name in gone:
            mixture = mixture - layers[name]
    return Example(mixture, targets(np.stack([layers[name] for name in wanted]), aim))


def read_layers(
    cut: Cut, names: Sequence[str], store: AudioStore, start: int = 0, count: int | None = None
) -> dict[str, NDArray[np.float32]]:
    """Return layers by name, (time,) each; "mixture" is the stored mixture of a recording with layers.

    Raises:
        AudioError: a file cannot be read.
    """
    total = compute_num_samples(cut.duration, store.sample_rate)
    count = total - start if count is None else count
    if start < 0 or count < 1 or start + count > total:
        raise UserError(f"{cut.id}: {count} samples from {start} on do not lie within its {total} samples")
    if isinstance(cut, MixedCut):
        return _mixed_layers(cut, names, store, start, count)
    if cut.recording.transforms:
        raise UserError(
            f"{cut.id}: its recording is changed by transforms, which its layers are not; save mixture and layers as files first"
        )
    places = ["mixture", *cut.custom["layers"]]
    first = round(cut.start * store.sample_rate) + start
    return {name: store.part(cut.recording, places.index(name), first, count) for name in names}


def _spoken(cut: MixedCut) -> list[MixTrack]:
    return [track for track in cut.tracks if not isinstance(track.cut, PaddingCut) and _speaker(track)]


def _speaker(track: MixTrack) -> str | None:
    for one in getattr(track.cut, "supervisions", ()):
        if one.speaker:
            return str(one.speaker)
    return None


def _track_names(cut: MixedCut) -> list[str]:
    """Return the name of the layer that each track belongs to; "" for padding."""
    numbers: dict[str, int] = {}
    names = []
    for track in cut.tracks:
        speaker = None if isinstance(track.cut, PaddingCut) else _speaker(track)
        if speaker is None:
            names.append("" if isinstance(track.cut, PaddingCut) else SCENE)
        else:
            names.append(f"{SOURCE}{numbers.setdefault(speaker, len(numbers) + 1)}")
    return names


def _mixed_layers(cut: MixedCut, names: Sequence[str], store: AudioStore, start: int, count: int) -> dict[str, NDArray[np.float32]]:
    found: dict[str, NDArray[np.float32]] = {}
    own = _track_names(cut)
    plain = all(track.snr is None and not track.mute for track in cut.tracks)
    _check_tracks(cut, plain)
    if not plain:
        for name, samples in zip(own, _mixed_by_lhotse(cut, store.sample_rate), strict=True):
            if name in names and samples is not None:
                _add(found, name, samples[start : start + count], 0, count)
    else:
        for track, name in zip(cut.tracks, own, strict=True):
            if name in names:
                begin = (compute_num_samples(track.offset, store.sample_rate) if track.offset else 0) - start
                first, samples = _heard(track.cut, store, begin, count)
                _add(found, name, samples, first, count)
    return {name: found[name] if name in found else np.zeros(count, np.float32) for name in names}


def _add(found: dict[str, NDArray[np.float32]], name: str, samples: NDArray[np.float32], first: int, count: int) -> None:
    """Add the samples of a track to its layer, which has `count`, from `first` on."""
    if name not in found and len(samples) == count:
        found[name] = samples.copy() if samples.base is not None else samples
        return
    layer = found[name] if name in found else found.setdefault(name, np.zeros(count, np.float32))
    layer[first : first + len(samples)] += samples


def _check_tracks(cut: MixedCut, plain: bool) -> None:
    """Refuse what lhotse would do to the mixture and not to its parts, or what would be read otherwise than lhotse does."""
    tracks = [track.cut for track in cut.tracks if not isinstance(track.cut, PaddingCut)]
    reason = ""
    if cut.transforms or any(one.recording.transforms for one in tracks if isinstance(one, MonoCut)):
        reason = "is changed by transforms"
    elif not all(isinstance(one, MonoCut) for one in tracks):
        reason = "has tracks of several channels"
    elif not plain and any((one.custom or {}).keys() & {"gain", "level"} for one in tracks):
        reason = "states signal-to-noise ratios and, under custom, levels of tracks"
    if reason:
        raise UserError(f"{cut.id}: this mixture {reason}, so it is not the sum of what is in its files; save its tracks as files first")


def _mixed_by_lhotse(cut: MixedCut, sample_rate: int) -> list[NDArray[np.float32] | None]:
    """Return every track where it lies in the mixture and as loud as its ratio says; None for those that are mute."""
    if cut.sampling_rate != sample_rate:
        raise UserError(f"{cut.id}: mixed at {cut.sampling_rate} Hz and wanted at {sample_rate} Hz; resample the cuts first")
    loaded = iter(cut.load_audio(mixed=False))  # of the tracks that are not mute, (1, time) each
    mute = [track.mute for track in cut.tracks]
    every = all(mute)  # then lhotse mixes them all
    return [None if silent and not every else np.asarray(next(loaded), np.float32)[0] for silent in mute]


def _heard(cut: MonoCut, store: AudioStore, begin: int, count: int) -> tuple[int, NDArray[np.float32]]:
    """Return what is heard of a track in `count` samples that start `-begin` samples after it, and where in them it starts."""
    custom = cut.custom or {}
    whole: NDArray[np.float32] | None = None
    if "level" in custom:
        whole = at_level(store.samples(cut), float(custom["level"]))  # the level of the whole track
    elif cut.sampling_rate != store.sample_rate:
        whole = store.samples(cut)
    length = cut.num_samples if whole is None else len(whole)
    first, last = max(begin, 0), min(begin + length, count)
    if last <= first:
        return 0, np.zeros(0, np.float32)
    samples: NDArray[np.float32] = store.stretch(cut, first - begin, last - first) if whole is None else whole[first - begin : last - begin]
    gain = 0.0 if "level" in custom else float(custom.get("gain", 0.0))
    return first, samples * np.float32(10 ** (gain / 20)) if gain else samples


def at_level(samples: NDArray[np.float32], level: float) -> NDArray[np.float32]:
    """Return samples scaled to a root mean square in dB of full scale; silence stays silence.

    >>> float(at_level(np.ones(4, np.float32), -20.0)[0])
    0.10000000149011612
    """
    found = root_mean_square(samples)
    return samples * np.float32(10 ** (level / 20) / found) if found > SILENCE else samples


def root_mean_square(samples: NDArray[np.float32]) -> float:
    """Return the root mean square of some samples."""
    return float(np.sqrt(np.dot(samples, samples) / max(len(samples), 1)))
