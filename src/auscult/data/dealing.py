"""Recordings of one speaker each, by speaker, and who comes next: what simulated conversations and mixtures begin with.

Everybody has a turn before anybody has another, so no speaker dominates by chance; the order is drawn, never that of a set.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from lhotse.cut import MonoCut

from auscult.data.strings import UNKNOWN_SPEAKER, speaker_of
from auscult.errors import UserError


def by_speaker(cuts: Iterable[MonoCut], made: str) -> dict[str, list[MonoCut]]:
    """Return recordings by speaker, both in order of their names.

    Args:
        cuts: plain recordings.
        made: what is made of them, for messages: "conversations".

    Raises:
        UserError: a cut that is not a plain recording of one named speaker, or several sampling rates.
    """
    speakers: dict[str, list[MonoCut]] = {}
    rates: dict[int, str] = {}
    for cut in sorted(cuts, key=lambda one: one.id):
        if not isinstance(cut, MonoCut):
            raise UserError(f"{cut.id}: {made} are made from plain recordings, this is a {type(cut).__name__}")
        speaker = speaker_of(cut)
        if speaker == UNKNOWN_SPEAKER or "+" in speaker:
            raise UserError(f"{cut.id}: {made} are made from recordings of one named speaker each, here it is {speaker}")
        rates.setdefault(cut.sampling_rate, cut.id)
        speakers.setdefault(speaker, []).append(cut)
    if len(rates) > 1:
        found = ", ".join(f"{rate} Hz ({example})" for rate, example in sorted(rates.items()))
        raise UserError(f"{made} need recordings of one sampling rate, found {found}: the bandwidth would give the speaker away")
    return dict(sorted(speakers.items()))


def deal(waiting: list[str], names: Sequence[str], number: int, random: np.random.Generator) -> list[str]:
    """Return different names; everybody has a turn before anybody has another.

    Args:
        waiting: who has not had a turn yet; kept by the caller between calls, empty at first.
        names: all of them, at least `number`.
        number: how many are wanted.
        random: decides the order of each round.
    """
    hand: list[str] = []
    while len(hand) < number:
        if not waiting:
            waiting.extend(names[place] for place in random.permutation(len(names)))
        ahead = next((name for name in waiting if name not in hand), None)
        if ahead is None:  # the rest of the deck is in the hand already
            waiting.extend(names[place] for place in random.permutation(len(names)))
            continue
        waiting.remove(ahead)
        hand.append(ahead)
    return hand
