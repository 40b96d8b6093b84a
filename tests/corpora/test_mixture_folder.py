"""Mixtures in folders side by side: what is read of them, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auscult.corpora.mixture_folder import MixtureFolder
from auscult.data.layers import read_example
from auscult.data.store import AudioStore
from auscult.errors import UserError
from auscult.testing.corpora import check_corpus

RATE, SAMPLES = 8000, 800
LIBRI = ("1034-121119-0049_3436-172171-0021", "5400-34479-0005_4973-24515-0007")
LIBRI3 = ("1034-121119-0049_3436-172171-0021_61-70968-0000",)
WSJ = ("011a0101_1.2703_20ta0108_-1.2703",)


def write(folder: Path, names: Sequence[str], mixtures: Sequence[str] = ("mix_clean", "mix_both", "mix_single"), sources: int = 2) -> Path:
    """Write a split as LibriMix does: every mixture is the sum of what belongs to it."""
    random = np.random.default_rng(0)
    for name in names:
        parts = {f"s{number}": random.integers(-3000, 3000, SAMPLES, dtype=np.int16) for number in range(1, sources + 1)}
        speech, noise = sum(parts.values()), random.integers(-900, 900, SAMPLES, dtype=np.int16)
        sums = {"mix_clean": speech, "mix_both": speech + noise, "mix_single": parts["s1"] + noise, "mix": speech}
        files = parts | {one: sums[one] for one in mixtures} | ({} if mixtures == ("mix",) else {"noise": noise})
        for place, samples in files.items():
            (folder / place).mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / place / f"{name}.wav", samples, RATE, subtype="PCM_16")
    return folder


@pytest.fixture
def libri(tmp_path: Path) -> Path:
    for split in ("train-100", "test"):
        write(tmp_path / "Libri2Mix" / "wav8k" / "min" / split, LIBRI if split == "test" else LIBRI[:1])
    return tmp_path / "Libri2Mix"


@pytest.mark.parametrize(
    ("mixture", "layers", "speakers"),
    [
        ("mix_clean", ["source1", "source2"], ["1034", "3436"]),
        ("mix_both", ["source1", "source2", "scene"], ["1034", "3436"]),
        ("mix_single", ["source1", "scene"], ["1034"]),
    ],
)
def test_librimix_has_the_layers_of_its_mixture(libri: Path, mixture: str, layers: list[str], speakers: list[str]) -> None:
    corpus = MixtureFolder(str(libri), mixture=mixture)
    check_corpus(corpus, supervisions="many")
    splits = corpus.splits()
    assert {split: list(cuts.ids) for split, cuts in splits.items()} == {
        "test": [f"test/{name}" for name in LIBRI],
        "train-100": [f"train-100/{LIBRI[0]}"],
    }
    cut = splits["test"][0]
    assert cut.custom == {"speech_files": ["1034-121119-0049", "3436-172171-0021"][: len(speakers)], "speakers": speakers, "layers": layers}
    assert [one.speaker for one in cut.supervisions] == speakers
    example = read_example(cut, "C", "separate_both", AudioStore(RATE, 0))
    np.testing.assert_array_equal(example.mixture, example.sources.sum(axis=0))


def test_one_of_several_mixtures_is_named(libri: Path) -> None:
    with pytest.raises(UserError, match=r"test holds several mixtures \(mix_both, mix_clean, mix_single\); set mixture to one of them"):
        MixtureFolder(str(libri)).splits()
    with pytest.raises(UserError, match=r'has no folder "mix_bth" \(did you mean "mix_both"\?\)'):
        MixtureFolder(str(libri), mixture="mix_bth").splits()


def test_two_lengths_of_one_corpus_are_not_joined(libri: Path) -> None:
    write(libri / "wav8k" / "max" / "test", LIBRI)
    with pytest.raises(UserError, match="splits of several corpora, in wav8k/max, wav8k/min; name one"):
        MixtureFolder(str(libri), mixture="mix_both").splits()
    assert list(MixtureFolder(str(libri / "wav8k" / "min" / "test"), mixture="mix_both").splits()) == ["test"]


def test_three_speakers_and_wsj_names(tmp_path: Path) -> None:
    three = MixtureFolder(str(write(tmp_path / "three" / "dev", LIBRI3, ("mix_clean",), sources=3).parent))
    check_corpus(three, supervisions="many")
    assert three.splits()["dev"][0].custom["speakers"] == ["1034", "3436", "61"]
    wsj = MixtureFolder(str(write(tmp_path / "2speakers" / "wav8k" / "min" / "tr", WSJ, ("mix",)).parents[2]))
    check_corpus(wsj, supervisions="many")
    (cut,) = wsj.splits()["tr"]
    assert (cut.custom["speakers"], cut.custom["layers"]) == (["011", "20t"], ["source1", "source2"])


def test_speakers_from_metadata_or_nowhere(tmp_path: Path) -> None:
    folder = write(tmp_path / "test", ("mixed-1",), ("mix_both",))
    with pytest.raises(UserError, match=r"mixed-1\.wav: the name does not say who speaks"):
        MixtureFolder(str(tmp_path)).splits()
    unknown = MixtureFolder(str(tmp_path), speakers_from="nowhere")
    check_corpus(unknown)
    assert unknown.splits()["test"][0].custom == {"layers": ["source1", "source2", "scene"]}
    tables = folder / "metadata"
    tables.mkdir()
    (tables / "a.csv").write_text("mixture_ID,speaker_1_ID,speaker_1_sex,speaker_2_ID\nmixed-1,7,F,8\n")
    (tables / "b.csv").write_text("mixture_ID,source_1_path,source_2_path,noise_path\nmixed-1,dev/7/a.flac,dev/8/b.flac,cv/n.wav\n")
    (tables / "metrics.csv").write_text("snr\n3\n")
    corpus = MixtureFolder(str(tmp_path), speakers_from="metadata", metadata=str(tables))
    assert corpus.splits()["test"][0].custom == {
        "speech_files": ["dev/7/a.flac", "dev/8/b.flac"],
        "scene_file": "cv/n.wav",
        "speakers": ["7", "8"],
        "layers": ["source1", "source2", "scene"],
    }
    with pytest.raises(UserError, match="does not name the 2 speakers of"):
        MixtureFolder(str(tmp_path), speakers_from="metadata", metadata=str(tables / "b.csv")).splits()
    with pytest.raises(UserError, match=r"metrics\.csv, line 2: no column mixture_ID"):
        MixtureFolder(str(tmp_path), speakers_from="metadata", metadata=str(tables / "metrics.csv")).splits()
    with pytest.raises(UserError, match="metadata must name a CSV"):
        MixtureFolder(str(tmp_path), speakers_from="metadata")


def test_files_without_counterpart_are_counted(libri: Path) -> None:
    test = write(libri / "wav8k" / "min" / "test", (*LIBRI, "61-70968-0000_2300-131720-0001"))
    (test / "s2" / f"{LIBRI[0]}.wav").unlink()
    (test / "mix_both" / f"{LIBRI[1]}.wav").unlink()
    with pytest.raises(UserError, match="4 files cannot be used"):
        MixtureFolder(str(libri), mixture="mix_both").splits()
    corpus = MixtureFolder(str(libri), mixture="mix_both", error_budget=4)
    assert [cut.id[:8] for cut in corpus.splits()["test"]] == ["test/61-"]
    assert sorted(f"{one.path.parent.name} {one.problem}" for one in corpus.problems) == [
        *("noise missing", "s1 missing", "s2 missing", "s2 missing")
    ]


def test_a_layer_of_another_length_is_counted(libri: Path) -> None:
    soundfile.write(libri / "wav8k" / "min" / "test" / "noise" / f"{LIBRI[0]}.wav", np.zeros(SAMPLES + 1), RATE)
    with pytest.raises(UserError, match=r"noise/1034.*\(mismatch\)"):
        MixtureFolder(str(libri), mixture="mix_both").splits()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda split: (split / "s1").rename(split / "s3"), "holds no mixtures; expected"),
        (lambda split: (split / "s2").rename(split / "s3"), "has the sources s1, s3; expected s1, s2 and so on without a gap"),
        (lambda split: (split / "noise").rename(split / "other"), "has mix_both and no folder noise"),
        (lambda split: [one.unlink() for one in (split / "mix_both").iterdir()], "mix_both holds no"),
        (lambda split: [one.rename(one.with_name("x" + one.name)) for one in (split / "s2").iterdir()], "have no file name in common"),
    ],
)
def test_folders_that_do_not_belong_together_are_refused(tmp_path: Path, spoil, reason: str) -> None:
    spoil(write(tmp_path / "test", LIBRI))
    with pytest.raises(UserError, match=reason):
        MixtureFolder(str(tmp_path), mixture="mix_both").splits()
