"""What is wrong with settings is said with file, line and key."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from auscult.corpora.generation.settings import load_settings
from auscult.errors import UserError

Write = Callable[[dict[str, Any]], Path]
SHIPPED = sorted((Path(__file__).resolve().parents[3] / "recipes" / "corpora").glob("*.yaml"))


def said(path: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_settings(path, overrides)
    return str(caught.value)


def test_shipped_settings_load() -> None:
    assert {path.stem for path in SHIPPED} == {"polsess_mini", "polsess_paper", "polsess_polish"}
    for path in SHIPPED:
        settings = load_settings(path)
        assert settings.ssr == (-5, 5)
        assert settings.scene_level == (-14.0, 0.0)
        assert (settings.rate, settings.samples, settings.same_speaker, settings.draw) == (8000, 32_000, False, "speaker")


def test_wrong_keys_are_said_with_file_line_and_the_nearest_key(settings_file: Write, values: dict[str, Any]) -> None:
    path = settings_file({**values, "indor_share": 0.5, "ssr": [-5, "x"]})
    text = said(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    place = next(number for number, line in enumerate(lines, 1) if line.startswith("indor_share"))
    assert f'{path}:{place}: indor_share: unknown key (did you mean "indoor_share"?)' in text
    assert 'ssr.1: expected an integer, got the text "x"' in text


def test_parameters_of_the_speech_corpus_are_checked_too(settings_file: Write, values: dict[str, Any]) -> None:
    path = settings_file(values)
    assert 'speech.sourc: unknown key (did you mean "source"?)' in said(path, "speech.sourc=x")
    assert 'unknown corpus "foldr" (did you mean "folder"?)' in said(path, "speech.name=foldr", "speech.source=x")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("scenes=[{}]", "scenes.0: needs either `folder` or `built_in`"),
        ("scenes=[{folder: x, built_in: 3}]", "needs either `folder` or `built_in`"),
        ("scenes=[{built_in: 3, only: [ofice]}]", 'scenes: no computed class "ofice" (did you mean "office"?)'),
        ("events=[{folder: x, only: [siren]}]", "`only` is about computed recordings"),
        ("events=[{built_in: 2, classes: {a: b}}]", "`classes` and `pattern` are about a folder"),
        ("events=[{folder: x, pattern: '('}]", "events.0.pattern: not a regular expression"),
        ("events=[{folder: x, pattern: '.*'}]", 'needs a group named "class"'),
        ("events=[]", "events: expected at least 1 entries, got 0"),
        ("counts={}", "counts: expected at least 1 entries, got 0"),
        ("counts.validation=3", "counts.validation"),
        ("counts.train=0", "counts.train: expected a number greater than or equal to 1, got 0"),
        ("ssr=[5, -5]", "ssr is [lowest, highest]; swap 5 and -5"),
        ("shares={train: 0.5}", "shares: names no share for val, test"),
        ("speech_splits={train: [a]}", "speech_splits: must name train, val, test"),
        ("rooms.cave={pre_delay: [0.2, 0.1], diffusion: [0.1, 0.5], decay: [0.1, 0.5]}", "pre_delay is [lowest, highest]"),
        (
            "rooms.cave={pre_delay: [0.1, 0.2], diffusion: [0.1, 0.5], decay: [0.0, 0.5]}",
            "rooms.cave.decay.0: expected a number greater than 0",
        ),
        ("draw=reader", "draw: expected 'speaker' or 'file', got the text \"reader\""),
        ("seconds=0.1", "seconds: expected a number greater than or equal to 0.5, got 0.1"),
    ],
)
def test_sentences(settings_file: Write, values: dict[str, Any], override: str, sentence: str) -> None:
    assert sentence in said(settings_file(values), override)


def test_no_settings(tmp_path: Path) -> None:
    assert "no such file" in said(tmp_path / "none.yaml")
    (tmp_path / "empty.yaml").write_text("")
    assert "expected keys such as speech, scenes, events and counts" in said(tmp_path / "empty.yaml")


def test_overrides_and_what_another_process_gets(settings_file: Write, values: dict[str, Any]) -> None:
    settings = load_settings(settings_file(values), ["counts.train=7", "draw=file"])
    assert (settings.counts["train"], settings.draw) == (7, "file")
    again = pickle.loads(pickle.dumps(settings))
    assert again.stated() == settings.stated()
    assert again.stated()["speech"]["source"] == values["speech"]["source"]
