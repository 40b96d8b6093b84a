"""Cuts of a speaker corpus made into what verification trains and judges on: pieces, speeds, files of a trial list.

Corpora with one recording per speaker have no two utterances to compare; cut into pieces they do, all of one session, which the
protocol of a result must then say. Speech played at another speed sounds like another person, so each speed makes new speakers
(Yamamoto et al. 2019; Wang et al. 2020, arXiv 2007.07455): a new label and a new id, not a hidden augmentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from lhotse import CutSet
from lhotse.cut import Cut, MonoCut

from auscult.audio.reading import probe
from auscult.corpora.base import AUDIO_SUFFIXES, Utterance, make_cut
from auscult.errors import UserError

SPEED_KEY = "speed"
"""Key of `cut.custom` that holds the speed a cut is played at."""


def cut_pieces(cuts: Iterable[Cut], seconds: float) -> list[Cut]:
    """Return consecutive pieces of every cut, each exactly `seconds` long, ids "<id>#<number>"; a shorter cut stays as it is.

    The rest of a cut that fills no piece is left out.
    """
    pieces: list[Cut] = []
    for cut in cuts:
        count = int((cut.duration + 1e-6) // seconds)
        if count < 2 and cut.duration <= seconds:
            pieces.append(cut)
            continue
        for number in range(count):
            piece = cut.truncate(offset=round(number * seconds, 6), duration=seconds, preserve_id=False)
            pieces.append(piece.with_id(f"{cut.id}#{number}"))
    return pieces


def count_by_length(cuts: Iterable[Cut], seconds: float) -> list[Cut]:
    """Return every cut once for each whole `seconds` it lasts, at least once; the whole cut each time, ids "<id>#<number>" from the second.

    A recording of fourteen seconds then counts as much as seven of two, and training crops may still start anywhere in it.
    """
    return [
        cut if number == 0 else cut.with_id(f"{cut.id}#{number}")
        for cut in cuts
        for number in range(max(1, int((cut.duration + 1e-6) // seconds)))
    ]


def with_speeds(cuts: Sequence[Cut], speeds: Sequence[float]) -> list[Cut]:
    """Return the cuts, followed by a copy of each at every further speed as a speaker of its own ("sp0.9-<speaker>").

    Raises:
        UserError: a speed outside [0.5, 2], 1 among the speeds, or a cut without a speaker.
    """
    for speed in speeds:
        if not 0.5 <= speed <= 2 or speed == 1:
            raise UserError(f"speeds: {speed:g} makes no new speaker; give numbers from 0.5 to 2 other than 1, such as [0.9, 1.1]")
    return [*cuts, *(_at_speed(cut, speed) for speed in speeds for cut in cuts)]


def _at_speed(cut: Cut, speed: float) -> Cut:
    if not isinstance(cut, MonoCut) or not cut.supervisions or cut.supervisions[0].speaker is None:
        raise UserError(f'speeds: cut "{cut.id}" is no recording of one known speaker; only those can be played at another speed')
    prefix = f"sp{speed:g}-"
    supervisions = [replace(one, id=prefix + one.id, speaker=f"{prefix}{one.speaker}") for one in cut.supervisions]
    return replace(cut, id=prefix + cut.id, supervisions=supervisions, custom={**(cut.custom or {}), SPEED_KEY: speed})


def speed_of(cut: Cut) -> float:
    """Return the speed a cut is played at, 1 if it says none."""
    return float((getattr(cut, "custom", None) or {}).get(SPEED_KEY, 1.0))


def cuts_of_files(ids: Sequence[str], folder: Path) -> CutSet:
    """Return a cut for every file a trial list names, looked for below a folder; speakers are unknown unless the id says "speaker/...".

    Raises:
        UserError: a file is missing; the message counts them and names the first.
    """
    found = {one: _find(one, folder) for one in ids}
    missing = [one for one, path in found.items() if path is None]
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} of {len(ids)} files of the trial list are missing, first {missing[0]!r}; "
            "trial_audio must be the folder that the paths of the list start from"
        )
    cuts = []
    for one, path in found.items():
        if path is not None:
            info = probe(path)
            speaker = one.split("/")[0] if "/" in one else None
            utterance = Utterance(id=one, audio=path.resolve(), split="trials", speaker=speaker)
            cuts.append(make_cut(utterance, info.sample_rate, info.samples, info.channels))
    return CutSet.from_cuts(cuts)


def _find(identity: str, folder: Path) -> Path | None:
    for suffix in ("", *AUDIO_SUFFIXES):
        path = folder / f"{identity}{suffix}"
        if path.is_file():
            return path
    return None
