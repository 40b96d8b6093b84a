"""Layouts of separated files, and what has no counterpart."""

from __future__ import annotations

from pathlib import Path

import pytest

from auscult.errors import UserError
from auscult.metrics.separation_folders import check_same, find_mixtures, find_signals


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def names_of(found: dict[str, list[Path]]) -> dict[str, list[str]]:
    return {
        name: [path.name if path.parent.name[0] != "s" else f"{path.parent.name}/{path.name}" for path in paths]
        for name, paths in found.items()
    }


def test_folders_of_signals(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *(f"s{number}/{name}.wav" for number in range(1, 11) for name in ("b", "a_s1")),
        "s1/.hidden.wav",
        "s1/notes.txt",
        "mix/a.wav",
    )
    found = find_signals(tmp_path)
    assert list(found) == ["a_s1", "b"]
    assert [path.parent.name for path in found["b"]] == [f"s{number}" for number in range(1, 11)]


@pytest.mark.parametrize("ending", ["_s{}.wav", "-s{}.flac", "_spk{}.WAV", "-speaker{}.wav", "_source{}.ogg", "_est{}.wav", "_S{}.wav"])
def test_numbered_files(tmp_path: Path, ending: str) -> None:
    wanted = {f"a_s9_{name}": [f"a_s9_{name}{ending.format(number)}" for number in (1, 2)] for name in ("x", "y")}
    touch(tmp_path, *(name for names in wanted.values() for name in names), "a_s9_x.wav", "a_s9_x_mix.wav", "model.pt")
    assert names_of(find_signals(tmp_path)) == wanted


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "no separated signals; expected folders s1/, s2/"),
        (("a.wav", "b.wav"), "no separated signals"),
        (("s1/a.wav", "s2/b.wav"), "a has no signal s2"),
        (("s1/a.wav", "s3/a.wav"), "numbered 1, 3"),
        (("a_s2.wav",), "numbered 2"),
        (("a_s1.wav", "a_s2.wav", "b_s1.wav"), "b has no signal s2"),
        (("a_s1.wav", "a_spk1.wav"), "are both signal 1 of a"),
        (("s1/a.wav", "s1/a.flac"), "have one name"),
    ],
)
def test_what_fits_no_layout(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_signals(touch(tmp_path, *names))
    with pytest.raises(UserError, match="no such folder"):
        find_signals(tmp_path / "nowhere")


def test_missing_extra_and_fewer_estimates(tmp_path: Path) -> None:
    reference = touch(tmp_path / "ref", "s1/a.wav", "s2/a.wav", "s1/b.wav", "s2/b.wav")
    there = find_signals(reference)
    missing = touch(tmp_path / "missing", "a_s1.wav", "a_s2.wav")
    with pytest.raises(UserError, match=r'missing: 1 of 2 mixtures of .*ref are missing \("b"\)'):
        check_same(reference, there, missing, find_signals(missing))
    extra = touch(tmp_path / "extra", *(f"{name}_s{number}.wav" for name in "abcdefg" for number in (1, 2)))
    with pytest.raises(UserError, match=r'ref: 5 of 7 mixtures of .*extra are missing \("c", "d", "e", \.\.\.\)'):
        check_same(reference, there, extra, find_signals(extra))
    fewer = touch(tmp_path / "fewer", "a_s1.wav", "b_s1.wav")
    with pytest.raises(UserError, match=r"holds 1 signals for each mixture and .*ref 2"):
        check_same(reference, there, fewer, find_signals(fewer))


def test_where_mixtures_are(tmp_path: Path) -> None:
    names = ["a", "b"]
    plain = touch(tmp_path / "plain", "s1/a.wav", "s1/b.wav")
    assert find_mixtures(plain, None, names) is None
    for folder, files in (
        (touch(tmp_path / "one", "mix/a.wav", "mix/b.flac"), ["mix/a.wav", "mix/b.flac"]),
        (touch(tmp_path / "two", "mix/a.wav", "mix/b.wav", "mix_clean/a.wav"), ["mix/a.wav", "mix/b.wav"]),
        (touch(tmp_path / "three", "mix_both/a.wav", "mix_both/b.wav"), ["mix_both/a.wav", "mix_both/b.wav"]),
        (touch(tmp_path / "four", "a_s1.wav", "b_s1.wav", "a_mix.wav", "b.wav"), ["a_mix.wav", "b.wav"]),
    ):
        assert find_mixtures(folder, None, names) == {name: folder / file for name, file in zip(names, files, strict=True)}
    assert find_mixtures(plain, tmp_path / "four", names) == {"a": tmp_path / "four" / "a_mix.wav", "b": tmp_path / "four" / "b.wav"}


def test_mixtures_that_are_missing_or_ambiguous(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds mix_both, mix_clean; say with --mixture"):
        find_mixtures(touch(tmp_path / "many", "mix_both/a.wav", "mix_clean/a.wav"), None, ["a"])
    partly = touch(tmp_path / "partly", "mix/a.wav")
    with pytest.raises(UserError, match="1 of 2 mixtures are missing"):
        find_mixtures(partly, None, ["a", "b"])
    with pytest.raises(UserError, match="no such folder"):
        find_mixtures(partly, tmp_path / "nowhere", ["a"])
    with pytest.raises(UserError, match="1 of 1 mixtures are missing"):
        find_mixtures(partly, touch(tmp_path / "empty", "z.wav"), ["a"])
