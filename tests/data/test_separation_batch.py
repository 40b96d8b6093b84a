"""The batch of separation refuses what does not fit, and comes apart by length without padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from auscult.data.layers import Example
from auscult.data.separation_batch import SeparationBatch
from auscult.errors import UserError


def example(samples: int, sources: int = 2) -> Example:
    values = np.arange(1, samples + 1, dtype=np.float32)
    return Example(values, np.stack([values * (place + 1) for place in range(sources)]))


def batch(*lengths: int) -> SeparationBatch:
    return SeparationBatch.pad([example(length) for length in lengths], ["C"] * len(lengths), [f"m{n}" for n in range(len(lengths))])


def test_parts_of_one_length_hold_every_item_once_and_no_padding() -> None:
    parts = list(batch(5, 3, 5, 4).of_one_length())
    assert [places for places, _ in parts] == [[1], [3], [0, 2]]
    for places, part in parts:
        assert part.mixture.shape[1] == int(part.lengths[0])
        assert part.ids == tuple(f"m{place}" for place in places)
        assert bool((part.mixture > 0).all())


def test_select_trims_to_the_longest() -> None:
    chosen = batch(5, 3, 2).select([2, 1])
    assert chosen.mixture.tolist() == [[1, 2, 0], [1, 2, 3]]
    assert chosen.sources[0, 1].tolist() == [2, 4, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lengths": torch.tensor([0, 3])}, "lengths: expected 1 to 3, not so for m0"),
        ({"sources": torch.zeros(2, 2, 4)}, "mixture has 3 samples, sources have 4"),
        ({"sources": torch.zeros(2, 3)}, r"sources: expected torch.float32 \(batch, source, time\)"),
        ({"variants": ("C",)}, "unique ids and a variant each"),
        ({"ids": ("a", "a")}, "unique ids"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, object], message: str) -> None:
    whole = batch(3, 3)
    fields = {name: getattr(whole, name) for name in ("mixture", "sources", "lengths", "variants", "ids")}
    with pytest.raises(UserError, match=message):
        SeparationBatch(**{**fields, **change})  # type: ignore[arg-type]


def test_sources_of_another_length_or_number_are_refused() -> None:
    with pytest.raises(UserError, match="a: the mixture has 3 samples, its sources 2"):
        SeparationBatch.pad([Example(np.ones(3, np.float32), np.ones((2, 2), np.float32))], ["C"], ["a"])
    with pytest.raises(UserError, match=r"have \[1, 2\] sources"):
        SeparationBatch.pad([example(3, 1), example(3, 2)], ["C", "C"], ["a", "b"])
