"""What a PolSESS folder becomes, and what is said about one that is not as it should be."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auscult.cli import main
from auscult.corpora.manifests import Manifests
from auscult.corpora.polsess import LAYERS, PolSess
from auscult.corpora.polsess_columns import COLUMNS
from auscult.corpora.prepare import prepare
from auscult.errors import UserError
from auscult.testing.corpora import check_corpus
from auscult.testing.mixtures import ToyMixture, toy_layers, write_polsess

ROWS = [
    ToyMixture(indoor=True, content=0, ratio=5),
    ToyMixture(indoor=False, content=1, speakers=("6892", "6892")),
    ToyMixture(split="test", content=2, speakers=("1889", "3283")),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_polsess(tmp_path / "PolSESS_zażółć", ROWS)


def table(root: Path, split: str = "train") -> Path:
    return root / split / f"corpus_{root.name}_{split}_final.csv"


def change(root: Path, line: int, **cells: str) -> None:
    """Overwrite cells of a line of the training table; line 2 is the first row."""
    rows = list(csv.reader(table(root).open(encoding="utf-8", newline="")))
    for column, value in cells.items():
        rows[line - 1][COLUMNS.index(column)] = value
    with table(root).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


def test_rows_become_mixtures_with_layers(root: Path) -> None:
    corpus = PolSess(str(root))
    check_corpus(corpus, supervisions="many")
    splits = corpus.splits()
    assert {split: len(cuts) for split, cuts in splits.items()} == {"train": 2, "test": 1}
    indoor, outdoor = splits["train"]
    assert indoor.custom["layers"] == ["source1", "source2", "scene", "event", "reverb1", "reverb2", "event_reverb"]
    assert outdoor.custom["layers"] == ["source1", "source2", "scene", "event"]
    assert [Path(one.source).parent.name for one in indoor.recording.sources] == [
        *("mix", "clean", "clean", "scene", "event", "sp1_reverb", "sp2_reverb", "ev_reverb")
    ]
    expected = {
        "speakers": ["6892", "1889"],
        "indoor": True,
        "scene_class": "home",
        "event_class": "Dog_bark",
        "scene_file": "/korpusy/TAU/park-0.wav",
        "event_file": "/korpusy/FSD50K/train/0.wav",
        "speech_files": [f"/korpusy/mls_polish/train/audio/{one}/10350/{one}_10350_000000.flac" for one in ("6892", "1889")],
        "ssr": 5.0,
    }
    assert {key: value for key, value in indoor.custom.items() if key != "layers"} == expected
    for place, (_, layer) in enumerate(toy_layers(ROWS[0]).items(), start=1):
        stored, _ = soundfile.read(indoor.recording.sources[place].source)
        assert np.abs(stored - layer).max() <= 2**-16 + 1e-12


def test_one_speaker_twice_is_two_voices(root: Path) -> None:
    outdoor = PolSess(str(root)).splits()["train"][1]
    assert outdoor.custom["speakers"] == ["6892", "6892"]
    assert [(one.speaker, one.start, one.duration) for one in outdoor.supervisions] == [("6892", 0.0, 0.5), ("6892", 0.0, 0.5)]


@pytest.mark.parametrize(
    ("path", "speaker", "session"),
    [
        ("/m/mls_polish/train/audio/6892/10350/6892_10350_000312.flac", "6892", None),
        ("D:\\mowa\\mls_polish\\1889\\12\\1889_12_000001.wav", "1889", None),
        ("/l/test-clean/1034/121119/1034-121119-0049.flac", "1034", None),
        ("/k/żółw/EMU/SES0017/rich001.wav", "SES0017", ["SES0017"]),
        ("K:\\PRS_emuDB\\0204_ses\\0204_bndl\\a.wav", "0204_ses", ["0204_ses"]),
    ],
)
def test_speaker_of_a_source_comes_from_its_path(root: Path, path: str, speaker: str, session: list[str] | None) -> None:
    change(root, 2, speech2OryginalPath=path)
    custom = PolSess(str(root)).splits()["train"][0].custom
    assert custom["speakers"] == ["6892", speaker]
    assert custom.get("session") == session
    assert custom["speech_files"][1] == path.replace("\\", "/")


def test_a_path_that_names_nobody_is_refused_or_explained(root: Path) -> None:
    change(root, 3, speech1OryginalPath="/x/anna/7.wav")
    with pytest.raises(UserError, match=r'final\.csv, line 3, column speech1OryginalPath: "/x/anna/7\.wav" does not say who speaks: exp'):
        PolSess(str(root)).splits()
    pattern = PolSess(str(root), speaker_pattern=r"/([^/]+)/[^/]+$")
    assert pattern.splits()["train"][1].custom["speakers"] == ["anna", "10350"]
    with pytest.raises(UserError, match=r"speaker_pattern '\(nobody\)' finds none"):
        PolSess(str(root), speaker_pattern="(nobody)").splits()
    (root / "speakers.csv").write_text("path,speaker\n/x/anna/7.wav,Anna\n", encoding="utf-8")
    assert PolSess(str(root)).splits()["train"][1].custom["speakers"] == ["Anna", "6892"]
    (root / "speakers.csv").write_text("file,speaker\n/x/anna/7.wav,Anna\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"speakers\.csv, line 2: expected a path and its speaker"):
        PolSess(str(root)).splits()


@pytest.mark.parametrize(("pattern", "reason"), [("([", "no regular expression"), ("SES", "has no group")])
def test_a_pattern_that_cannot_work_is_refused(pattern: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        PolSess("anywhere", speaker_pattern=pattern)


def rename(names: dict[str, str]) -> Callable[[list[str]], list[str]]:
    return lambda header: [names.get(name, name) for name in header]


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (
            rename({"speech1OryginalPath": "speech1OriginalPath"}),
            r'"speech1OriginalPath" is no column of PolSESS \(did you mean "speech1Ory',
        ),
        (lambda header: header[:-1], "missing: freqDamp"),
        (lambda header: ["", *header], '"" is no column of PolSESS'),
        (lambda header: [header[0], header[2], header[1], *header[3:]], 'column 2 is "speech1Start" and should be "speech1OryginalPath"'),
        (rename({"decay": "SSR"}), '"SSR" stands there twice'),
        (rename({name: name + "\t" if name == "SSR" else name for name in COLUMNS}), None),
    ],
)
def test_columns_are_those_of_polsess(root: Path, edit: Callable[[list[str]], list[str]], reason: str | None) -> None:
    lines = table(root).read_text(encoding="utf-8").splitlines()
    table(root).write_text("\n".join([",".join(edit(lines[0].split(","))), *lines[1:]]), encoding="utf-8")
    if reason is None:
        assert len(PolSess(str(root)).splits()["train"]) == 2
        return
    with pytest.raises(UserError, match=reason) as caught:
        PolSess(str(root)).splits()
    assert str(table(root)) in str(caught.value)


def test_a_byte_order_mark_and_semicolons_with_decimal_commas_are_read(tmp_path: Path) -> None:
    root = write_polsess(tmp_path / "corpus", ROWS, delimiter=";")
    content = table(root).read_text(encoding="utf-8").replace(";5;", ";4,5;", 1).replace("\n", "\r\n")
    table(root).write_text("\ufeff" + content, encoding="utf-8")
    assert PolSess(str(root)).splits()["train"][0].custom["ssr"] == 4.5


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty; restore it"),
        (",".join(COLUMNS).encode() + b"\n", "has a header and no rows"),
        ("\t".join(COLUMNS).encode() + b"\n", "with , or ; between"),
        ("subset,ż".encode("cp1250"), "is no table in UTF-8"),
        (",".join(COLUMNS).encode("utf-16"), "is no table in UTF-8"),
        (",".join(COLUMNS).encode() + b"\ntrain,a\n", r"line 2: 2 cells, expected 34"),
    ],
)
def test_a_file_that_is_no_table_is_refused(root: Path, content: bytes, reason: str) -> None:
    table(root).write_bytes(content)
    with pytest.raises(UserError, match=reason):
        PolSess(str(root)).splits()


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"reverbForSpeaker2": ""}, r"line 2, column reverbForSpeaker2: no file is named, and reverbForSpeaker1 names one; an indoor row"),
        ({"reverbForSpeaker1": "NaN"}, r"line 2, column reverbForSpeaker1: no file is named, and reverbForSpeaker2 names one"),
        ({"sceneFile": " "}, r"line 2, column sceneFile: no file is named; every mixture has one"),
        ({"SSR": "five"}, r'line 2, column SSR: "five" is no number'),
    ],
)
def test_a_row_that_contradicts_itself_is_refused(root: Path, cells: dict[str, str], reason: str) -> None:
    change(root, 2, **cells)
    with pytest.raises(UserError, match=reason):
        PolSess(str(root)).splits()


def test_two_rows_of_one_mixture_are_refused(root: Path) -> None:
    lines = table(root).read_text(encoding="utf-8").splitlines()
    table(root).write_text("\n".join([*lines, lines[1]]), encoding="utf-8")
    with pytest.raises(UserError, match=r'line 4, column mixFile: ".*\.wav" is the mixture of line 2 already'):
        PolSess(str(root)).splits()


@pytest.mark.parametrize("column", list(LAYERS.values()))
def test_a_layer_that_is_missing_is_named_with_row_and_column(root: Path, column: str) -> None:
    layer = PolSess(str(root)).splits()["train"][0].recording.sources[1 + list(LAYERS.values()).index(column)].source
    Path(layer).unlink()
    with pytest.raises(UserError, match=rf"1 file cannot be used.* \(missing, named in .*final\.csv, line 2, column {column}\)"):
        PolSess(str(root)).splits()
    corpus = PolSess(str(root), error_budget=1)
    assert [cut.custom["indoor"] for cut in corpus.splits()["train"]] == [False]
    assert corpus.problems[0].detail == f"{corpus.problems[0].place}: {layer} does not exist"


def test_layers_of_another_length_or_rate_are_named(root: Path) -> None:
    indoor, outdoor = PolSess(str(root)).splits()["train"]
    soundfile.write(indoor.recording.sources[3].source, np.full(3999, 0.1), 8000)
    soundfile.write(outdoor.recording.sources[4].source, np.full(4000, 0.1), 16000)
    corpus = PolSess(str(root), error_budget=2)
    assert list(corpus.splits()) == ["test"]
    assert [(one.problem, one.place.partition(", ")[2]) for one in corpus.problems] == [
        ("mismatch", "line 2, column sceneFile"),
        ("mismatch", "line 3, column eventFile"),
    ]
    assert "has 3999 samples at 8000 Hz" in corpus.problems[0].detail


def test_a_renamed_folder_and_file_names_with_folders_are_found(root: Path) -> None:
    name = Path(PolSess(str(root)).splits()["train"][0].recording.sources[3].source).name
    change(root, 2, sceneFile=f"E:\\korpus\\scene\\{name}")
    moved = root.rename(root.with_name("elsewhere"))
    assert len(PolSess(str(moved)).splits()["train"]) == 2
    other = moved / "train" / "corpus_copy_train_final.csv"
    other.write_bytes(next(moved.glob("train/*.csv")).read_bytes())
    with pytest.raises(
        UserError, match=r"expected one table corpus_<name>_train_final\.csv, found corpus_PolSESS_zażółć_train.*, corpus_copy"
    ):
        PolSess(str(moved)).splits()


def test_a_folder_without_splits_or_table_is_no_corpus(tmp_path: Path, root: Path) -> None:
    with pytest.raises(UserError, match="is no PolSESS corpus; expected train, val, test"):
        PolSess(str(tmp_path)).splits()
    table(root).unlink()
    with pytest.raises(UserError, match="found none"):
        PolSess(str(root)).splits()


def test_preparing_finds_what_headers_do_not_show_and_survives_a_move(tmp_path: Path, root: Path) -> None:
    indoor, _ = PolSess(str(root)).splits()["train"]
    bad = np.full(4000, 0.1, np.float32)
    bad[17] = np.nan
    soundfile.write(indoor.recording.sources[5].source, bad, 8000, subtype="FLOAT")
    with pytest.raises(UserError, match=r"sp1_reverb/.* \(non_finite\)"):
        prepare(PolSess(str(root)), tmp_path / "prepared")
    prepared = prepare(PolSess(str(root), error_budget=1), tmp_path / "prepared")
    assert prepared.description["splits"]["train"]["utterances"] == 1
    assert prepared.description["supervisions"] == "many"
    assert not list((tmp_path / "prepared").glob("*.rttm"))
    again = Manifests(str(tmp_path / "prepared")).splits()
    assert [cut.to_dict() for cut in again["train"]] == [PolSess(str(root)).splits()["train"][1].to_dict()]


def test_a_file_that_ends_early_is_counted(tmp_path: Path, root: Path) -> None:
    layer = Path(PolSess(str(root)).splits()["train"][0].recording.sources[2].source)
    layer.write_bytes(layer.read_bytes()[:-500])
    with pytest.raises(UserError, match=r"1 file cannot be used.*clean/.* \(truncated, named in .*, line 2, column speaker2File\)"):
        PolSess(str(root)).splits()


def test_the_verb_prepares_a_corpus(tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "polsess", str(root), "-o", str(tmp_path / "out"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["name"], said["splits"]["train"]["speakers"], said["splits"]["test"]["utterances"]) == ("polsess", 2, 1)
