"""Masks fall on true frames, within their widths, in training only."""

from __future__ import annotations

import torch

from auscult.audio.feature_augmentation.spec_augment import SpecAugment
from auscult.audio.front_end import Features


def features() -> Features:
    lengths = torch.tensor([200, 50])
    values = torch.ones(2, 200, 80)
    values[1, 50:] = 7.0  # a mark that padding is not touched
    return Features(values, lengths)


def test_nothing_happens_in_evaluation() -> None:
    given = features()
    assert SpecAugment().eval()(given) is given


def test_widths_and_places() -> None:
    torch.manual_seed(0)
    augment = SpecAugment(frequency_masks=1, frequency_width=0.2, time_masks=1, time_width=0.1).train()
    bands, stretches, edges = [], [], torch.zeros(50)
    for _ in range(300):
        values, lengths = augment(features())
        assert lengths.tolist() == [200, 50]
        for row, count in ((0, 200), (1, 50)):
            hidden = values[row, :count] == 0
            band, stretch = hidden.all(0), hidden.all(1)
            assert torch.equal(hidden, band[None] | stretch[:, None])
            bands.append(int(band.sum()))
            stretches.append(float(stretch.sum()) / count)
            if count == 50:
                edges += stretch
        assert (values[1, 50:][:, values[1, :50].any(0)] == 7.0).all()
    assert (min(bands), max(bands)) == (0, 16)
    assert min(stretches) == 0
    assert max(stretches) == 0.1
    assert edges[0] > 0
    assert edges[-1] > 0


def test_given_features_are_left_alone_and_the_seed_decides() -> None:
    given = features()
    augment = SpecAugment().train()
    torch.manual_seed(1)
    first = augment(given).values
    second = augment(given).values
    torch.manual_seed(1)
    assert torch.equal(first, augment(given).values)
    assert not torch.equal(first, second)
    assert (given.values[0] == 1).all()


def test_no_masks_is_allowed() -> None:
    values, _ = SpecAugment(frequency_masks=0, time_masks=0).train()(features())
    assert torch.equal(values, features().values)
