"""What is refused before a separator is trained: speakers mixed with themselves, and splits that share what they must not.

Two recordings of one speaker in a mixture have no right answer, and a published corpus holds a fifth of them in training because its
generator compares files, not speakers. Scores on speakers, sessions or recordings that were trained on are scores of an easier task. Both
can be wanted, to repeat an experiment; then the recipe says so and every result carries the sentence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from lhotse import CutSet
from lhotse.cut import Cut

from auscult.data.audit_mixtures import same_speaker_mixtures
from auscult.data.disjoint import shared_with_train
from auscult.data.layers import Aim, source_speakers
from auscult.errors import UserError
from auscult.recipe import Recipe

SameSpeaker = Literal["refuse", "leave_out", "keep"]
Shared = Literal["refuse", "report"]
LINEAR = ("gain", "speed")
"""Augmentations that change every signal of a mixture alike, so that it stays the sum of its parts."""


def check_speakers(splits: Mapping[str, Iterable[Cut]], choice: SameSpeaker) -> tuple[dict[str, CutSet], dict[str, int]]:
    """Return the splits, and how many mixtures of one speaker with themselves were left out or kept in each.

    Raises:
        UserError: there are some and the recipe does not say what to do with them.
    """
    kept: dict[str, CutSet] = {}
    found: dict[str, int] = {}
    for name, cuts in splits.items():
        every = list(cuts)
        same = set(same_speaker_mixtures(every))
        if same and choice == "refuse":
            raise UserError(
                f"{name}: {len(same)} of {len(every)} mixtures ({len(same) / len(every):.1%}) mix a speaker with themselves, first "
                f"{min(same)}; nobody can learn to tell them apart: set task.same_speaker to leave_out (or keep, to repeat an experiment)"
            )
        if same:
            found[name] = len(same)
        left = [cut for cut in every if cut.id not in same] if choice == "leave_out" else every
        if not left:
            raise UserError(f"{name}: no mixture is left; each of the {len(every)} mixes a speaker with themselves")
        kept[name] = CutSet.from_cuts(left)
    return kept, found


def check_sharing(splits: Mapping[str, Iterable[Cut]], choice: Shared) -> list[str]:
    """Return what the splits share with train, as sentences that go with every result.

    Raises:
        UserError: they share something and the recipe does not ask to go on.
    """
    reasons = shared_with_train(dict(splits))
    if reasons and choice == "refuse":
        raise UserError("\n".join([*reasons, "or set task.shared to report, and every result says so"]))
    return reasons


def source_count(splits: Mapping[str, Iterable[Cut]], aim: Aim) -> int:
    """Return the number of signals a model puts out.

    Raises:
        UserError: mixtures differ in their number of sources.
    """
    first: dict[int, str] = {}
    for cuts in splits.values():
        for cut in cuts:
            first.setdefault(len(source_speakers(cut)), cut.id)
    if len(first) > 1 and aim == "separate_both":
        counted = ", ".join(f"{count} ({identity})" for count, identity in sorted(first.items()))
        raise UserError(f"mixtures must have one number of sources, found {counted}; select those of one number")
    [count] = list(first)[:1]
    if count == 1 and aim == "separate_both":
        raise UserError(f"{first[1]}: has one speaker; separating needs two or more, set task.aim to enhance_single for one")
    return count if aim == "separate_both" else 1


def check_augmentations(recipe: Recipe) -> None:
    """Refuse augmentations after which a mixture would no longer be the sum of its sources.

    Raises:
        UserError: names the section.
    """
    for place, section in enumerate(recipe.data.augment):
        if section.name not in LINEAR:
            raise UserError(
                f"data.augment.{place}: {section.name} would change the sources of a mixture, not only what surrounds them; separation "
                f"takes {' and '.join(LINEAR)}, and task.remix draws new partners, scenes and levels"
            )
