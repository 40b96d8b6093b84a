"""Corpora are joined split by split; what they must not share is named with the keys of the recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from auscult.data.splits import load_splits
from auscult.data.strings import speaker_of
from auscult.errors import UserError
from auscult.recipe import Recipe
from auscult.testing.corpora import toy_corpus


def recipe(first: Path, *more: dict[str, Any], **data: Any) -> Recipe:
    corpus = {"name": "folder", "source": str(first)}
    values: dict[str, Any] = {"task": {"name": "recognition"}, "model": {"name": "conv_ctc"}, "budget": {"updates": 1}}
    values["data"] = {"corpus": corpus, "more": list(more), "sample_rate": 16000, **data}
    return Recipe.from_dict(values)


def renamed(folder: Path, prefix: str) -> dict[str, Any]:
    """A second corpus, with ids and speakers of its own."""
    manifest = toy_corpus(folder)
    text = manifest.read_text().replace('"speaker": "s', f'"speaker": "{prefix}').replace("{", f'{{"id": "{prefix}-ID", ')
    lines = [line.replace("-ID", f"-{number}") for number, line in enumerate(text.splitlines())]
    manifest.write_text("\n".join(lines) + "\n")
    return {"name": "folder", "source": str(manifest)}


def test_splits_of_the_same_name_are_joined(tmp_path: Path) -> None:
    second = renamed(tmp_path / "second", "t")
    alone = load_splits(recipe(toy_corpus(tmp_path / "first"), train=["train"], test=["test"]))
    both = load_splits(recipe(tmp_path / "first" / "manifest.jsonl", second, train=["train"], test=["test"]))
    assert (len(alone["train"]), len(both["train"]), len(both["test"])) == (6, 12, 6)
    assert list(both["train"].ids)[:6] == list(alone["train"].ids)  # the order of the corpora
    assert alone.hash != both.hash


def test_a_selection_reaches_into_further_corpora(tmp_path: Path) -> None:
    second = renamed(tmp_path / "second", "t")
    chosen = load_splits(recipe(toy_corpus(tmp_path / "first"), second, train={"speakers": ["s0", "t1"]}))
    assert {speaker_of(cut) for cut in chosen["train"]} == {"s0", "t1"}


def test_the_same_id_in_two_corpora_names_both(tmp_path: Path) -> None:
    manifest = toy_corpus(tmp_path / "first")
    twice = recipe(manifest, {"name": "folder", "source": str(manifest)}, train=["train"])
    with pytest.raises(UserError, match=r'data\.corpus \(folder\) and data\.more\.0 \(folder\) both have an utterance "s0/s0_000"'):
        load_splits(twice)


def test_further_corpora_are_validated_like_any_section(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'data\.more\.0\.name: unknown corpus "foldr" \(did you mean "folder"'):
        recipe(tmp_path, {"name": "foldr", "source": "x"})
    with pytest.raises(UserError, match=r"data\.more\.0\.sorce: unknown key"):
        recipe(tmp_path, {"name": "folder", "sorce": "x"})
    made = recipe(tmp_path, {"name": "folder", "source": "x"})
    assert made.data.more[0]["error_budget"] == 0
    assert Recipe.from_dict(made.to_dict()).hash == made.hash != recipe(tmp_path).hash
