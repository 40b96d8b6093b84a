"""Mixtures and their layers: every variant of every kind of row, and mixtures that lhotse mixes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from lhotse import CutSet
from lhotse.cut import MixedCut, MixTrack, MonoCut, PaddingCut

from auscult.audio.reading import read_audio
from auscult.corpora.polsess import PolSess
from auscult.data.layers import AIMS, Aim, layer_names, left_out, read_example, read_layers, source_speakers, targets, variants_of
from auscult.data.store import AudioStore
from auscult.errors import UserError
from auscult.testing.mixtures import ToyMixture, write_polsess

RATE, SAMPLES = 8000, 4000
BOUND = 8 * 2**-16
"""Seven layers and the mixture are rounded by up to half a bit each (1.22e-4)."""
KEPT = {
    (True, "SER"): ("scene", "event", "reverb1", "reverb2", "event_reverb"),
    (True, "SR"): ("scene", "reverb1", "reverb2"),
    (True, "ER"): ("event", "reverb1", "reverb2", "event_reverb"),
    (True, "R"): ("reverb1", "reverb2"),
    (True, "C"): (),
    (False, "SE"): ("scene", "event"),
    (False, "S"): ("scene",),
    (False, "E"): ("event",),
    (False, "C"): (),
}
"""What is heard beside the speech, by indoor and variant: the table of the corpus, written out."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> CutSet:
    rows = [ToyMixture(indoor=True, content=3), ToyMixture(indoor=False, content=4)]
    return PolSess(str(write_polsess(tmp_path_factory.mktemp("layers") / "toy", rows))).splits()["train"]


def row(corpus: CutSet, indoor: bool) -> MonoCut:
    return next(cut for cut in corpus if cut.custom["indoor"] == indoor)


def files(cut: MonoCut) -> dict[str, np.ndarray]:
    """Return what lies in the files, without the code under test."""
    return {
        name: read_audio(source.source)[0].astype(np.float64)
        for name, source in zip(["mixture", *cut.custom["layers"]], cut.recording.sources, strict=True)
    }


def test_there_are_nine_rows_with_variants(corpus: CutSet) -> None:
    assert {(cut.custom["indoor"], one) for cut in corpus for one in variants_of(layer_names(cut))} == set(KEPT)


@pytest.mark.parametrize("aim", AIMS)
@pytest.mark.parametrize(("indoor", "variant"), list(KEPT))
def test_a_variant_is_the_sum_of_the_layers_it_keeps(corpus: CutSet, indoor: bool, variant: str, aim: Aim) -> None:
    cut = row(corpus, indoor)
    stored = files(cut)
    kept = [name for name in KEPT[indoor, variant] if aim != "enhance_single" or name != "reverb2"]
    speech = ["source1"] if aim == "enhance_single" else ["source1", "source2"]
    example = read_example(cut, variant, aim, AudioStore(RATE, 1))
    assert example.mixture.dtype == example.sources.dtype == np.float32
    expected = sum(stored[name] for name in (*speech, *kept))
    assert np.abs(example.mixture - expected).max() <= BOUND
    wanted = {
        "separate_both": [stored["source1"], stored["source2"]],
        "enhance_both": [stored["source1"] + stored["source2"]],
        "enhance_single": [stored["source1"]],
    }[aim]
    np.testing.assert_allclose(example.sources, wanted, atol=1e-7)
    exact = np.rint(2**15 * sum(stored[name] for name in stored if name != "mixture")) - np.rint(2**15 * stored["mixture"])
    assert np.abs(exact).max() > 0  # rounding is there, so the bound above is of use


def test_enhancing_one_voice_in_a_clean_room_takes_the_other_tail_away_once(corpus: CutSet) -> None:
    cut = row(corpus, True)
    gone = left_out(layer_names(cut), "C", "enhance_single")
    assert sorted(gone) == ["event", "event_reverb", "reverb1", "reverb2", "scene", "source2"]
    example, stored = read_example(cut, "C", "enhance_single", AudioStore(RATE, 0)), files(cut)
    assert np.abs(example.mixture - stored["source1"]).max() <= BOUND
    assert np.abs(stored["reverb2"]).max() > 100 * BOUND  # taken away twice, or not at all, it would be seen


@pytest.mark.parametrize(("indoor", "variant"), [(True, "SE"), (True, "S"), (False, "SER"), (False, "R"), (True, "SPER"), (False, "")])
def test_a_variant_that_a_row_cannot_have_is_refused(corpus: CutSet, indoor: bool, variant: str) -> None:
    cut = row(corpus, indoor)
    with pytest.raises(UserError) as caught:
        read_example(cut, variant, "separate_both", AudioStore(RATE, 0))
    assert str(caught.value).startswith(f'{cut.id}: has no variant "{variant}"')


def test_se_is_the_scene_and_the_event_not_speech_and_event(corpus: CutSet) -> None:
    cut = row(corpus, False)
    stored = files(cut)
    both, event = (read_example(cut, variant, "separate_both", AudioStore(RATE, 0)).mixture for variant in ("SE", "E"))
    assert np.abs(both - stored["mixture"]).max() == 0
    assert np.abs((both - event) - stored["scene"]).max() < 1e-6
    assert np.abs(stored["scene"]).max() > 100 * BOUND


@pytest.mark.parametrize("rate", [RATE, 16000, 11025])
@pytest.mark.parametrize(("start", "count"), [(0, 700), (123, 1000), (2400, 1)])
def test_a_stretch_is_a_slice_of_the_whole(corpus: CutSet, rate: int, start: int, count: int) -> None:
    for cut, variant in ((row(corpus, True), "ER"), (row(corpus, False), "S")):
        whole = read_example(cut, variant, "separate_both", AudioStore(rate, 0))
        part = read_example(cut, variant, "separate_both", AudioStore(rate, 0), start, count)
        assert whole.mixture.shape == (int(SAMPLES * rate / RATE + 0.5),)  # half a sample makes one, as the resampler has it
        np.testing.assert_array_equal(part.mixture, whole.mixture[start : start + count])
        np.testing.assert_array_equal(part.sources, whole.sources[:, start : start + count])


def test_a_part_of_a_mixture_is_read_from_where_it_lies(corpus: CutSet) -> None:
    cut = row(corpus, True)
    part = cut.truncate(offset=0.125, duration=0.25)
    whole, read = (read_layers(one, ["mixture", "reverb2"], AudioStore(RATE, 0)) for one in (cut, part))
    for name, samples in read.items():
        np.testing.assert_array_equal(samples, whole[name][1000:3000])
    for start, count in ((-1, 10), (0, 0), (1999, 2)):
        with pytest.raises(UserError, match="do not lie within its 2000 samples"):
            read_layers(part, ["mixture"], AudioStore(RATE, 0), start, count)


def test_resampled_layers_still_make_the_mixture(corpus: CutSet) -> None:
    cut = row(corpus, True)
    names = layer_names(cut)
    layers = read_layers(cut, ["mixture", *names], AudioStore(16000, 1))
    assert np.abs(layers["mixture"] - sum(layers[name] for name in names)).max() < 2 * BOUND


def test_a_recording_changed_by_transforms_is_refused(corpus: CutSet) -> None:
    cut = row(corpus, False).perturb_speed(1.1)
    with pytest.raises(UserError, match="its recording is changed by transforms, which its layers are not"):
        read_example(cut, "SE", "separate_both", AudioStore(RATE, 0))


def test_a_plain_recording_is_no_mixture(record: Callable[..., MonoCut]) -> None:
    with pytest.raises(UserError, match="one: separation needs mixtures with known sources, this is a plain recording"):
        layer_names(record("one"))


def test_targets_of_each_aim() -> None:
    sources = np.array([[1.0, 2.0], [10.0, 20.0]], np.float32)
    assert targets(sources, "separate_both").tolist() == sources.tolist()
    assert targets(sources, "enhance_both").tolist() == [[11.0, 22.0]]
    assert targets(sources, "enhance_single").tolist() == [[1.0, 2.0]]


def track(cut: MonoCut | PaddingCut, offset: float = 0.0, **how: object) -> MixTrack:
    return MixTrack(cut=cut, offset=offset, **how)


@pytest.fixture
def voices(record: Callable[..., MonoCut]) -> dict[str, MonoCut]:
    """Two voices and a noise, of different lengths."""
    cuts = {"ann": record("ann-1", 4000, speaker="ann"), "bob": record("bob-1", 3000, speaker="bob"), "noise": record("n", 4200)}
    cuts["noise"].supervisions = []
    return cuts


MIXES: dict[str, Callable[[dict[str, MonoCut]], list[MixTrack]]] = {
    "offset": lambda v: [track(v["ann"]), track(v["bob"], 0.1), track(v["noise"], 0.02)],
    "half a sample": lambda v: [track(v["ann"]), track(v["bob"], 0.5 / RATE), track(v["noise"], 2.5 / RATE)],
    "ratios": lambda v: [track(v["ann"]), track(v["bob"], 0.1, snr=5.0), track(v["noise"], snr=12.0)],
    "reference later": lambda v: [track(v["bob"], snr=-3.0), track(v["ann"], 0.1), track(v["noise"], snr=10.0)],
    "mute": lambda v: [track(v["noise"], mute=True), track(v["ann"]), track(v["bob"], 0.1)],
    "mute with ratio": lambda v: [track(v["ann"]), track(v["noise"], mute=True, snr=3.0), track(v["bob"], 0.1, snr=2.0)],
    "padding": lambda v: [
        track(PaddingCut("silence", 0.6, RATE, feat_value=0.0, num_samples=4800)),
        *(track(v[name], 0.05) for name in ("ann", "bob", "noise")),
    ],
    "truncated": lambda v: [
        track(v["ann"].truncate(offset=0.1, duration=0.3, preserve_id=True)),
        track(v["bob"].truncate(duration=0.2, preserve_id=True), 0.05),
    ],
}


@pytest.mark.parametrize("how", list(MIXES))
def test_a_mixed_cut_is_what_lhotse_mixes(voices: dict[str, MonoCut], how: str) -> None:
    cut = MixedCut("mixed", MIXES[how](voices))
    expected = cut.load_audio()[0]
    noisy = "scene" in layer_names(cut)
    example = read_example(cut, "S" if noisy else "C", "separate_both", AudioStore(RATE, 0))
    np.testing.assert_allclose(example.mixture, expected, atol=1e-6)
    layers = read_layers(cut, layer_names(cut), AudioStore(RATE, 0))
    np.testing.assert_allclose(sum(layers.values()), expected, atol=1e-6)
    spoken = source_speakers(cut)
    for name, samples in zip(spoken, example.sources, strict=True):
        alone = MixedCut("alone", [one for one in cut.tracks if one.cut.id.startswith(name) and not one.mute])
        assert np.count_nonzero(samples) > 0.9 * alone.tracks[0].cut.num_samples
        begin = round(alone.tracks[0].offset * RATE + 1e-6)
        own = alone.tracks[0].cut.load_audio()[0]
        scale = np.linalg.norm(samples) / np.linalg.norm(own)
        np.testing.assert_allclose(samples[begin : begin + len(own)], scale * own, atol=1e-6)
    for start, count in ((0, 500), (790, 1201)):
        part = read_example(cut, "C", "separate_both", AudioStore(RATE, 0), start, count)
        np.testing.assert_array_equal(part.sources, example.sources[:, start : start + count])


def test_a_mute_voice_is_a_silent_source(voices: dict[str, MonoCut]) -> None:
    cut = MixedCut("mixed", [track(voices["ann"]), track(voices["bob"], mute=True)])
    example = read_example(cut, "C", "separate_both", AudioStore(RATE, 0))
    assert np.abs(example.sources[1]).max() == 0
    np.testing.assert_array_equal(example.mixture, example.sources[0])


def test_gains_and_levels_of_tracks(voices: dict[str, MonoCut]) -> None:
    ann, bob = voices["ann"], voices["bob"]
    ann.custom, bob.custom = {"gain": -6.0}, {"level": -20.0}
    cut = MixedCut("mixed", [track(ann), track(bob, 0.1)])
    layers = read_layers(cut, ["source1", "source2"], AudioStore(RATE, 0))
    np.testing.assert_allclose(layers["source1"], 10 ** (-6 / 20) * ann.load_audio()[0], atol=1e-7)
    assert np.sqrt(np.mean(np.square(layers["source2"][800:3800]))) == pytest.approx(0.1, rel=1e-5)
    part = read_layers(cut, ["source2"], AudioStore(RATE, 0), 1000, 300)  # the level is of the track, whatever is read of it
    np.testing.assert_array_equal(part["source2"], layers["source2"][1000:1300])


def test_what_lhotse_does_to_the_mixture_alone_is_refused(voices: dict[str, MonoCut], tmp_path: Path) -> None:
    ann, bob = voices["ann"], voices["bob"]
    plain = MixedCut("mixed", [track(ann), track(bob)])
    levelled = MonoCut(**{**bob.__dict__, "custom": {"level": -20.0}})
    cases = {
        "is changed by transforms": [plain.reverb_rir(), MixedCut("mixed", [track(ann), track(bob.perturb_speed(1.1))])],
        "under custom, levels": [MixedCut("mixed", [track(ann), track(levelled, snr=3.0)])],
    }
    for reason, cuts in cases.items():
        for cut in cuts:
            with pytest.raises(UserError, match=reason):
                read_example(cut, "C", "separate_both", AudioStore(RATE, 0))
    with pytest.raises(UserError, match="mixed at 8000 Hz and wanted at 16000 Hz"):
        read_example(MixedCut("mixed", [track(ann), track(bob, snr=3.0)]), "C", "separate_both", AudioStore(16000, 0))
