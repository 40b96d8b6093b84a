"""What all attacks that search for features by minimising something have in common: where they start, what they warn of, how they continue.

Problem: a search that continues from saved frames but with other settings, or with the lowest objective forgotten, gives a result that no
uninterrupted run would have given. Choice: the saved state carries the settings and the message's victim, and is refused beside
others; random numbers continue from the generator's saved state. Warnings are found once, before the first step, and saved too.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from auscult.errors import UserError
from auscult.privacy.attack import Watch
from auscult.privacy.kink import kink_test
from auscult.privacy.matching import Matching

Start = Literal["zero", "uniform", "gaussian"]


def starting_point(start: Start, matching: Matching, generator: torch.Generator) -> Tensor:
    """Return a first guess (utterances, frames, width): zeros, uniform in [-1, 1), or normal of deviation 1; zero beyond the lengths."""
    if start == "zero":
        return torch.zeros(matching.shape, dtype=matching.dtype)
    draw = torch.rand if start == "uniform" else torch.randn  # in float32, so that both precisions start from one point
    drawn = draw(matching.shape, generator=generator)
    drawn = 2 * drawn - 1 if start == "uniform" else drawn
    mask = torch.arange(matching.shape[1]) < matching.lengths[:, None]
    return torch.where(mask[..., None], drawn, 0.0).to(matching.dtype)


def warnings(
    matching: Matching, layers: tuple[str, ...], generator: torch.Generator, differentiates: bool, guesses_masks: bool = False
) -> tuple[str, ...]:
    """Return sentences about what stands between the lowest objective and the truth.

    Args:
        matching: of the attack.
        layers: that are matched.
        generator: of the kink test.
        differentiates: whether the attack follows a derivative of the message, which kinks make meaningless.
        guesses_masks: whether the attack searches for dropout masks too.
    """
    found = []
    moving = ("all",) if matching.leak.steps > 1 else layers  # local steps move everything, whatever is sent
    if differentiates and not all(name.startswith("fc.") for name in matching.victim.chosen(moving)):
        point = starting_point("gaussian", matching, generator)
        test = kink_test(matching.victim, moving, point, matching.lengths, matching.tokens, matching.token_lengths, generator)
        if not test.passed:
            found.append(test.describe())
    if matching.leak.dropout > 0 and guesses_masks:
        found.append("masks are guessed: with so many unknowns, a low objective is reached without the truth")
    elif matching.leak.dropout > 0:
        found.append("clients dropped values with masks that were not sent; the objective is not 0 at the truth")
    if matching.evidence is not None and matching.leak.defences:
        found.append(
            f"matched as far as {', '.join(matching.leak.defences)} leaves it open: the objective is 0 at the truth, and elsewhere too"
        )
    elif matching.leak.defences:
        found.append(f"the message went through {', '.join(matching.leak.defences)}; the objective is not 0 at the truth")
    return tuple(found)


def by_utterance(frames: Tensor, matching: Matching) -> tuple[Tensor, ...]:
    """Return (frames, width) of each utterance without padding."""
    return tuple(one[:length].clone() for one, length in zip(frames, matching.lengths.tolist(), strict=True))


def save(watch: Watch, state: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Give a watch everything that a search continues from, as copies that later steps do not change."""
    watch.save(copy.deepcopy({"settings": dict(settings), "random": watch.generator.get_state(), **state}))


def resumed(watch: Watch, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a copy of the saved state, or None at the start; sets the watch's generator.

    Raises:
        UserError: the state is of other settings or another victim.
    """
    if watch.resume is None:
        return None
    state = copy.deepcopy(dict(watch.resume))
    theirs = state.pop("settings", {})
    for name, value in settings.items():
        if theirs.get(name) != value:
            raise UserError(
                f"resume: the saved search has {name} = {theirs.get(name)} and this one {value}; continue with its settings, or start anew"
            )
    watch.generator.set_state(state.pop("random"))
    return state
