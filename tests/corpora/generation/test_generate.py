"""Whole corpora: the same bytes for the same seed, the published layout, and what a killed process leaves."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from auscult.corpora.generation.generate import GENERATION, generate_polsess
from auscult.corpora.generation.settings import GeneratorSettings, load_settings
from auscult.corpora.polsess import PolSess
from auscult.corpora.polsess_columns import COLUMNS, FOLDER_OF_COLUMN, FOLDERS, table_name
from auscult.errors import UserError
from auscult.recipe.text import write_yaml

RATE = 8000
BOUND = 8 * 2**-16
Make = Callable[..., GeneratorSettings]


def rows_of(folder: Path, split: str) -> list[dict[str, str]]:
    with (folder / split / table_name(folder.name, split)).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def every_row(folder: Path) -> list[tuple[str, dict[str, str]]]:
    return [(split, row) for split in ("train", "val", "test") for row in rows_of(folder, split)]


def layer(folder: Path, split: str, row: dict[str, str], column: str) -> np.ndarray:
    samples, rate = soundfile.read(folder / split / FOLDER_OF_COLUMN[column] / row[column], dtype="int16")
    assert rate == RATE
    return samples.astype(np.int64)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, write_voice: Callable[..., None]) -> Path:
    """One corpus for all that only look at it."""
    root = tmp_path_factory.mktemp("once")
    for speaker in range(8):
        for number in range(2):
            write_voice(root / "voices" / f"s{speaker:02d}" / f"{number}.wav")
    values: dict[str, Any] = {
        "speech": {"name": "folder", "source": str(root / "voices"), "speakers_from": "folder"},
        "scenes": [{"built_in": 2}],
        "events": [{"built_in": 2}],
        "counts": {"train": 30, "val": 6, "test": 6},
        "seconds": 0.5,
        "indoor_share": 0.5,
    }
    (root / "settings.yaml").write_text(write_yaml(values), encoding="utf-8")
    return generate_polsess(load_settings(root / "settings.yaml"), root / "made").folder


def test_same_bytes_twice_and_with_any_number_of_processes(make: Make, tmp_path: Path, tree_hash: Callable[[Path], str]) -> None:
    settings = make()
    hashes = {}
    for name, jobs in (("first", 1), ("second", 1), ("third", 3)):
        hashes[name] = tree_hash(generate_polsess(settings, tmp_path / name / "corpus", jobs).folder)
    assert len(set(hashes.values())) == 1, hashes
    assert tree_hash(generate_polsess(make(seed=1), tmp_path / "fourth" / "corpus").folder) != hashes["first"]


def test_an_item_does_not_depend_on_how_many_there_are(make: Make, tmp_path: Path) -> None:
    few = generate_polsess(make(counts={"train": 3, "val": 1, "test": 1}), tmp_path / "few" / "corpus").folder
    many = generate_polsess(make(counts={"train": 6, "val": 1, "test": 1}), tmp_path / "many" / "corpus").folder
    assert rows_of(few, "train") == rows_of(many, "train")[:3]


def test_layout_is_the_published_one(corpus: Path) -> None:
    for split in ("train", "val", "test"):
        assert sorted(path.name for path in (corpus / split).iterdir() if path.is_dir()) == sorted(FOLDERS)
        header = (corpus / split / f"corpus_made_{split}_final.csv").read_text(encoding="utf-8").splitlines()[0]
        assert header.split(",") == list(COLUMNS)
        named: dict[str, set[str]] = {folder: set() for folder in FOLDERS}
        for row in rows_of(corpus, split):
            for column, folder in FOLDER_OF_COLUMN.items():
                named[folder] |= {row[column]} - {""}
            ids = [row[column].removesuffix(".wav") for column in ("speaker1File", "speaker2File", "sceneFile", "eventFile")]
            assert all(len(one) == 16 and one.isalnum() and one == one.lower() for one in ids)
            indoor = row["reverbForSpeaker1"] != ""
            assert row["mixFile"] == "-".join(ids) + ("-reverb.wav" if indoor else ".wav")
            assert row["reverbForSpeaker1"] == (f"sp1_{ids[0]}.wav" if indoor else "")
            assert all(
                (row[column] != "") == indoor for column in ("preDelay1", "preDelay2", "preDelayForEvent", "highCut", "decay", "freqDamp")
            )
        for folder, names in named.items():
            assert {path.name for path in (corpus / split / folder).iterdir()} == names


def test_stored_layers_add_up_to_the_stored_mixture(corpus: Path) -> None:
    worst = 0.0
    for split, row in every_row(corpus):
        columns = [column for column in FOLDER_OF_COLUMN if row[column] and column != "mixFile"]
        layers = [layer(corpus, split, row, column) for column in columns]
        mixture = layer(corpus, split, row, "mixFile")
        assert len(mixture) == RATE // 2
        assert all(one.any() and np.abs(one).max() <= round(0.999 * 32768) for one in layers)
        assert np.abs(mixture).max() / 32768 < 0.9999
        worst = max(worst, float(np.abs(mixture - sum(layers)).max()) / 32768)
    assert 0 < worst <= BOUND
    described = json.loads((corpus / GENERATION).read_text(encoding="utf-8"))["splits"]
    assert max(part["residual"] for part in described.values()) == worst


def test_levels_are_those_of_the_table(corpus: Path) -> None:
    for split, row in every_row(corpus):
        first, second, scene = (layer(corpus, split, row, f"{name}File").astype(float) for name in ("speaker1", "speaker2", "scene"))
        ratio = 20 * np.log10(np.linalg.norm(first) / np.linalg.norm(second))
        assert ratio == pytest.approx(float(row["SSR"]), abs=0.01)
        offset = 20 * np.log10(np.linalg.norm(scene) / np.linalg.norm(first + second))
        assert offset == pytest.approx(float(row["sceneRandomDB"]), abs=0.2)
        assert -14 <= float(row["sceneRandomDB"]) <= 0
        assert -5 <= int(row["SSR"]) <= 5
        gain = 10 ** ((float(row["sceneRandomDB"]) + float(row["sceneOffsetDB"])) / 20)
        assert float(row["sceneVolumeGain"]) == pytest.approx(gain)


def test_reader_finds_speakers_rooms_and_layers(corpus: Path) -> None:
    splits = PolSess(str(corpus)).splits()
    assert {split: len(cuts) for split, cuts in splits.items()} == {"train": 30, "val": 6, "test": 6}
    people = {split: {who for cut in cuts for who in cut.custom["speakers"]} for split, cuts in splits.items()}
    scenes = {split: {cut.custom["scene_file"] for cut in cuts} for split, cuts in splits.items()}
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not people[one] & people[other]
        assert not scenes[one] & scenes[other]
    for cuts in splits.values():
        for cut in cuts:
            assert len(set(cut.custom["speakers"])) == 2
            assert len(cut.custom["layers"]) == (7 if cut.custom["indoor"] else 4)
    assert [cut.custom["indoor"] for cut in splits["train"]] == [False, True] * 15


def test_high_cut_in_the_table_is_what_was_drawn(corpus: Path) -> None:
    cuts = [float(row["highCut"]) for _, row in every_row(corpus) if row["highCut"]]
    assert cuts
    assert all(15_000 <= one <= 20_000 for one in cuts)
    assert max(cuts) > RATE / 2


def test_old_corpus_is_replaced_and_other_folders_are_not(make: Make, tmp_path: Path) -> None:
    counts = {"train": 1, "val": 1, "test": 1}
    first = generate_polsess(make(counts=counts), tmp_path / "corpus")
    again = generate_polsess(make(counts=counts, seed=2), tmp_path / "corpus")
    assert again.folder == first.folder
    assert json.loads((again.folder / GENERATION).read_text(encoding="utf-8"))["settings"]["seed"] == 2
    with pytest.raises(UserError, match="is no generated corpus"):
        generate_polsess(make(counts=counts), tmp_path / "voices")


def test_damaged_recording_leaves_nothing_behind(make: Make, tmp_path: Path) -> None:
    settings = make(counts={"train": 12})
    for path in (tmp_path / "voices").glob("*/0.wav"):
        soundfile.write(path, np.full(6000, np.nan), RATE, subtype="FLOAT")
    for jobs in (1, 2):
        with pytest.raises(UserError, match=r"0\.wav.*NaN"):
            generate_polsess(settings, tmp_path / "corpus", jobs)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["settings.yaml", "voices"]


@pytest.mark.skipif(os.name != "posix", reason="kills a process by a signal")
def test_killed_generation_is_no_corpus_and_is_cleared_away(make: Make, tmp_path: Path) -> None:
    make(counts={"train": 5000, "val": 1, "test": 1})
    command = [sys.executable, "-m", "auscult", "generate", "polsess", str(tmp_path / "settings.yaml"), "-o", str(tmp_path / "corpus")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 60
    while not any(tmp_path.glob(".corpus.*/train/mix/*.wav")):
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "corpus").exists()
    assert list(tmp_path.glob(".corpus.*"))
    generate_polsess(make(counts={"train": 2, "val": 1, "test": 1}), tmp_path / "corpus")
    assert not list(tmp_path.glob(".corpus.*"))
    assert len(rows_of(tmp_path / "corpus", "train")) == 2
