"""Which variant of a mixture an update trains on, and in which ones a mixture is judged.

Problem: curricula that change an attribute of the dataset never reach loader processes, which hold a copy, so a run trains on its first
stage for ever; curricula counted in epochs are another experiment on a subset. Choice: stages are a list of (first update, variants), and
the variant of an item is a function of the update, the mixture and the item's own random generator. Judged variants are fixed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from lhotse.cut import Cut

from auscult.data.layers import CLEAN, layer_names, variants_of
from auscult.errors import UserError, did_you_mean

Stage = tuple[int, list[str]]
"""First update of a stage, and its variants."""


@dataclass(frozen=True)
class Curriculum:
    """Stages of training.

    Attributes:
        starts: first update of each stage, ascending from 0; one stage is no curriculum.
        variants: of each stage; None is everything a mixture has.
    """

    starts: tuple[int, ...]
    variants: tuple[tuple[str, ...] | None, ...]

    @classmethod
    def of(cls, variants: Sequence[str] | None, stages: Sequence[Stage] | None, cuts: Iterable[Cut]) -> Curriculum:
        """Check what a recipe says against the mixtures it is for.

        Raises:
            UserError: both are given, stages are out of order, a variant does not exist, or a mixture has none of a stage.
        """
        if stages is None:
            made = cls((0,), (None if variants is None else tuple(variants),))
        elif variants is not None:
            raise UserError(
                "task: give variants or curriculum, not both; a curriculum of one stage [[0, variants]] is the same as variants"
            )
        else:
            made = cls(tuple(start for start, _ in stages), tuple(tuple(names) for _, names in stages))
        if made.starts[0] != 0 or list(made.starts) != sorted(set(made.starts)):
            raise UserError(f"task.curriculum: stages begin at updates {list(made.starts)}; expected 0 first, then ascending numbers")
        kinds = {layer_names(cut): cut.id for cut in cuts}
        for stage in made.variants:
            _check_names(stage, "task.curriculum" if stages is not None else "task.variants")
            for names, identity in kinds.items():
                if stage is not None and not set(stage) & set(variants_of(names)):
                    raise UserError(
                        f"{identity}: has none of the variants {', '.join(stage)}; with its layers it has {', '.join(variants_of(names))}"
                    )
        return made

    def draw(self, cut: Cut, update: int, random: np.random.Generator) -> str:
        """Return the variant of a training item."""
        possible = variants_of(layer_names(cut))
        stage = self.variants[bisect_right(self.starts, update) - 1]
        if stage is None:
            return possible[0]
        chosen = [variant for variant in possible if variant in stage]
        return chosen[int(random.integers(len(chosen)))]

    def fullest(self, cut: Cut) -> str:
        """Return the variant with most layers that the last stage has of a mixture."""
        possible, stage = variants_of(layer_names(cut)), self.variants[-1]
        return next(variant for variant in possible if stage is None or variant in stage)


def expand(cuts: Iterable[Cut], variants: Sequence[str] | None) -> dict[str, tuple[Cut, str]]:
    """Return mixtures and judged variants by the id of what is judged; mixtures that have none of the variants are left out.

    Raises:
        UserError: a variant does not exist, or no mixture has any of them.
    """
    _check_names(variants, "task.judged_variants")
    judged: dict[str, tuple[Cut, str]] = {}
    for cut in cuts:
        possible = variants_of(layer_names(cut))
        chosen = possible[:1] if variants is None else [variant for variant in possible if variant in variants]
        for variant in chosen:
            judged[cut.id if len(chosen) == 1 else f"{cut.id}#{variant}"] = (cut, variant)
    if not judged:
        raise UserError(f"task.judged_variants: no judged mixture has any of {', '.join(variants or [])}")
    return judged


def _check_names(variants: Sequence[str] | None, key: str) -> None:
    known = {"S", "E", "R", "SE", "SR", "ER", "SER", CLEAN}
    for variant in variants or ():
        if variant not in known:
            raise UserError(
                f'{key}: there is no variant "{variant}"{did_you_mean(variant, known)}; letters name what is kept besides the speech: '
                "S scene, E event, R reverberation, in this order, or C for nothing"
            )
