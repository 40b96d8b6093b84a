"""New mixtures of old layers: other speakers, stated levels, the sum of their parts, and no other source of chance than the item's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lhotse.cut import Cut

from auscult.audio.resampling import resample
from auscult.corpora.polsess import PolSess
from auscult.data.layers import layer_names, read_example, read_layers, root_mean_square
from auscult.data.remixing import Levels, Remixer
from auscult.data.store import AudioStore
from auscult.errors import UserError
from auscult.testing.mixtures import ToyMixture, toy_splits, write_polsess

RATE = 8000


@pytest.fixture(scope="module")
def cuts(tmp_path_factory: pytest.TempPathFactory) -> list[Cut]:
    """Twelve rows, indoors and outdoors."""
    folder = write_polsess(tmp_path_factory.mktemp("remixing") / "toy", toy_splits(train=12))
    return list(PolSess(str(folder)).splits()["train"])


def kind(cuts: list[Cut], indoor: bool) -> Cut:
    return next(cut for cut in cuts if ("reverb1" in layer_names(cut)) == indoor)


def remixer(cuts: list[Cut], **levels: tuple[float, float]) -> Remixer:
    return Remixer(cuts, AudioStore(RATE, 10), Levels(**levels))


def test_the_generator_is_the_only_source_of_chance(cuts: list[Cut]) -> None:
    made = [remixer(cuts).draw(cuts[0], "C", "separate_both", 2000, np.random.default_rng(7)) for _ in range(2)]
    assert np.array_equal(made[0].mixture, made[1].mixture)
    other = remixer(cuts).draw(cuts[0], "C", "separate_both", 2000, np.random.default_rng(8))
    assert not np.array_equal(made[0].mixture, other.mixture)


def test_levels_are_drawn_between_their_limits(cuts: list[Cut]) -> None:
    one = remixer(cuts, ratio=(3.0, 3.0), scene=(-6.0, -6.0)).draw(kind(cuts, False), "S", "separate_both", 3000, np.random.default_rng(0))
    first, second = map(root_mean_square, one.sources)
    assert 20 * np.log10(first / second) == pytest.approx(3.0, abs=1e-3)
    scene, speech = one.mixture - one.sources.sum(axis=0), one.sources.sum(axis=0)
    assert 20 * np.log10(root_mean_square(scene) / root_mean_square(speech)) == pytest.approx(-6.0, abs=1e-3)


def test_a_clean_mixture_is_the_sum_of_its_sources(cuts: list[Cut]) -> None:
    for indoor in (True, False):
        one = remixer(cuts).draw(kind(cuts, indoor), "C", "separate_both", 3000, np.random.default_rng(1))
        assert np.abs(one.mixture - one.sources.sum(axis=0)).max() < 1e-6
        assert one.mixture.shape == (3000,)


def test_a_tail_is_scaled_with_its_dry_source(cuts: list[Cut]) -> None:
    """Planted: a partner's tail at its old level; then the ratio of wet to dry would differ from that of the row it comes from."""
    cut, store = kind(cuts, True), AudioStore(RATE, 10)
    total = round(cut.duration * RATE)
    one = remixer(cuts, ratio=(20.0, 20.0)).draw(cut, "R", "separate_both", total, np.random.default_rng(2))
    tails = one.mixture - one.sources.sum(axis=0)
    every = [read_layers(other, ["source1", "source2", "reverb1", "reverb2"], store) for other in cuts if "reverb1" in layer_names(other)]
    expected = np.zeros(total, dtype=np.float64)
    for source in one.sources:
        dry, wet = next(
            (layers[f"source{n}"], layers[f"reverb{n}"])
            for layers in every
            for n in (1, 2)
            if abs(np.dot(layers[f"source{n}"], source)) / np.linalg.norm(layers[f"source{n}"]) / np.linalg.norm(source) > 0.9999
        )
        expected += wet * float(np.linalg.norm(source) / np.linalg.norm(dry))
    assert np.abs(tails - expected).max() < 1e-4


def test_partners_are_of_another_speaker_and_of_the_same_kind(cuts: list[Cut]) -> None:
    made = remixer(cuts)
    for seed in range(40):
        cut = cuts[seed % len(cuts)]
        chosen = made._speakers(cut, np.random.default_rng(seed))
        speakers = [other.custom["speakers"][place - 1] for other, place in chosen]
        assert len(set(speakers)) == 2
        assert {layer_names(other) for other, _ in chosen} == {layer_names(cut)}


def test_a_new_mixture_is_not_an_old_one(cuts: list[Cut]) -> None:
    old = read_example(cuts[0], "C", "separate_both", AudioStore(RATE, 10))
    new = remixer(cuts).draw(cuts[0], "C", "separate_both", len(old.mixture), np.random.default_rng(5))
    assert abs(np.corrcoef(old.mixture, new.mixture)[0, 1]) < 0.99


def test_a_corpus_of_one_speaker_cannot_be_remixed(tmp_path: Path) -> None:
    folder = write_polsess(
        tmp_path / "one", [ToyMixture(speakers=("6892", "6892"), content=1), ToyMixture(speakers=("6892", "6892"), content=2)]
    )
    with pytest.raises(UserError, match=r"remixing needs different named speakers.*set task\.remix to 0"):
        remixer(list(PolSess(str(folder)).splits()["train"]))


def test_speed_plays_a_source_and_its_tail_faster(cuts: list[Cut]) -> None:
    """Planted: a tail that keeps its speed, or a recording that is cut before it is played."""
    cut, store = kind(cuts, True), AudioStore(RATE, 10)
    total = round(cut.duration * RATE)
    count = total * 4 // 5  # all of a recording at this speed, so there is nothing to draw
    every = [read_layers(other, ["source1", "source2", "reverb1", "reverb2"], store) for other in cuts if "reverb1" in layer_names(other)]
    one = Remixer(cuts, store, Levels(), (1.25, 1.25)).draw(cut, "R", "separate_both", count, np.random.default_rng(2))
    expected = np.zeros(count)
    for source in one.sources:
        fits = []
        for layers in every:
            for number in (1, 2):
                dry, wet = (resample(layers[f"{name}{number}"], 10000, RATE) for name in ("source", "reverb"))
                gain = float(np.dot(dry, source) / np.dot(dry, dry))
                fits.append((float(np.linalg.norm(source - gain * dry) / np.linalg.norm(source)), gain * wet))
        closest, tail = min(fits, key=lambda fit: fit[0])
        assert closest < 0.02
        expected += tail
    tails = one.mixture - one.sources.sum(axis=0)
    assert np.linalg.norm(tails - expected) < 0.02 * np.linalg.norm(expected)


def test_speeds_are_drawn_for_each_source_and_only_where_asked_for(cuts: list[Cut]) -> None:
    cut, store = kind(cuts, False), AudioStore(RATE, 10)
    made = {
        speed: Remixer(cuts, store, Levels(), speed).draw(cut, "C", "separate_both", 2000, np.random.default_rng(5))
        for speed in ((1.0, 1.0), (0.8, 0.8), (0.8, 1.2))
    }
    plain = remixer(cuts).draw(cut, "C", "separate_both", 2000, np.random.default_rng(5))
    assert np.array_equal(made[(1.0, 1.0)].mixture, plain.mixture)
    for speed in ((0.8, 0.8), (0.8, 1.2)):
        one = made[speed]
        assert one.mixture.shape == (2000,)
        assert np.abs(one.mixture - one.sources.sum(axis=0)).max() < 1e-6
        assert not np.array_equal(one.mixture, plain.mixture)
