from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from auscult.errors import UserError
from auscult.models.output import FrameLogits
from auscult.recipe import Recipe
from auscult.tasks.recognition import Recognition, item_words, transcript_item
from auscult.testing.recipes import toy_recipe


def make(folder: Path, **changes: Any) -> Recognition:
    values = toy_recipe(folder)
    values["task"] |= changes
    recipe = Recipe.from_dict(values)
    task: Recognition = recipe.task.build(recipe=recipe)
    return task


class _Fixed(nn.Module):
    """Says the same logits whatever it hears."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, samples: torch.Tensor, lengths: torch.Tensor) -> FrameLogits:
        return FrameLogits(self.logits, torch.full((len(lengths),), self.logits.shape[1]))


def test_batch_holds_what_the_cuts_hold(tmp_path: Path) -> None:
    task = make(tmp_path)
    cuts = list(task.cuts("train"))[:3]
    batch = task.collate(cuts)
    assert batch.ids == tuple(cut.id for cut in cuts)
    assert batch.samples.dtype == torch.float32
    assert batch.tokens.dtype == torch.int64
    assert [task.alphabet.decode(row[:length].tolist()) for row, length in zip(batch.tokens, batch.token_lengths, strict=True)] == [
        cut.supervisions[0].text for cut in cuts
    ]
    assert batch.sample_lengths.tolist() == [round(cut.duration * 8000) for cut in cuts]


def test_augmentation_needs_generators_and_follows_them(tmp_path: Path) -> None:
    values = toy_recipe(tmp_path)
    values["data"]["augment"] = [{"name": "speed", "factors": [0.8, 1.25]}]
    recipe = Recipe.from_dict(values)
    task = recipe.task.build(recipe=recipe)
    cuts = list(task.cuts("train"))[:4]
    plain = task.collate(cuts)
    drawn = [task.collate(cuts, [np.random.default_rng([seed, index]) for index in range(4)]) for seed in (0, 0, 1)]
    assert not torch.equal(plain.sample_lengths, drawn[0].sample_lengths)
    assert torch.equal(drawn[0].samples, drawn[1].samples)
    assert not torch.equal(drawn[0].sample_lengths, drawn[2].sample_lengths)


def test_augmentation_never_makes_an_utterance_too_short_for_its_text(tmp_path: Path) -> None:
    values = toy_recipe(tmp_path)
    values["data"]["augment"] = [{"name": "speed", "factors": [4.0]}]
    values["model"]["stride"] = 8
    recipe = Recipe.from_dict(values)
    task = recipe.task.build(recipe=recipe)
    cuts = list(task.cuts("train"))
    batch = task.collate(cuts, [np.random.default_rng(index) for index in range(len(cuts))])
    torch.manual_seed(0)
    assert torch.isfinite(task.loss(task.build_model(), batch).value)
    original = task.collate(cuts).sample_lengths
    assert bool((batch.sample_lengths == original).any()), "some utterances cannot be four times as fast"


def test_initial_loss_of_a_fresh_model_is_near_theory(tmp_path: Path) -> None:
    task = make(tmp_path)
    batch = task.collate(list(task.cuts("train"))[:4])
    torch.manual_seed(0)
    expectation = task.expected_initial_loss(batch)
    assert expectation is not None
    with torch.no_grad():
        uniform = _Fixed(torch.zeros(4, int(task.build_model().output_lengths(batch.sample_lengths).max()), 29))
        uniform_lengths = task.build_model().output_lengths(batch.sample_lengths)
        value = task.criterion(FrameLogits(uniform.logits, uniform_lengths), batch.tokens, batch.token_lengths, 28, batch.ids)
    assert float(value) == pytest.approx(expectation.value, rel=1e-5)


def test_asking_for_the_expected_loss_moves_no_random_state(tmp_path: Path) -> None:
    task = make(tmp_path)
    batch = task.collate(list(task.cuts("train"))[:2])
    torch.manual_seed(5)
    before = torch.get_rng_state()
    task.expected_initial_loss(batch)
    assert torch.equal(before, torch.get_rng_state())


def test_rates_are_ratios_of_sums_and_failed_items_stay_in_the_denominator(tmp_path: Path) -> None:
    task = make(tmp_path)
    cuts = list(task.cuts("test"))[:2]
    batch = task.collate(cuts)
    logits = torch.zeros(2, 60, 29)
    logits[..., 28] = 10.0
    logits[1] = float("nan")
    items = task.judge(_Fixed(logits), batch)
    assert [item["failed"] for item in items] == [False, True]
    assert all(item["deletions"] == item["words"] for item in items)
    metrics = task.summarise(items)
    assert metrics["failed"] == 1
    assert metrics["wer"] == 1.0
    assert metrics["utterances"] == 2


def test_wer_is_never_a_mean_of_ratios(tmp_path: Path) -> None:
    task = make(tmp_path)
    records = [transcript_item("a", "one", "two"), transcript_item("b", "one two three four", "one two three four")]
    items = [{**record, "speaker": "s", "loss": 0.0, "frames": 1, "blank_frames": 0, "failed": False} for record in records]
    assert task.summarise(items)["wer"] == pytest.approx(1 / 5)  # the mean of ratios would be 1/2
    assert item_words(items[1]).length == 4


def test_text_outside_the_alphabet_is_named(tmp_path: Path) -> None:
    task = make(tmp_path, alphabet="ab ")
    cut = next(cut for cut in task.cuts("train") if set(cut.supervisions[0].text) - set("ab "))
    with pytest.raises(UserError, match=cut.id):
        task.collate([cut])
    assert make(tmp_path, alphabet="ab ", unknown="drop").collate([cut]).ids == (cut.id,)


def test_alphabet_from_data_is_sorted_and_frozen(tmp_path: Path) -> None:
    task = make(tmp_path, alphabet="data")
    texts = {character for cut in task.cuts("train") for character in cut.supervisions[0].text}
    assert task.specification.labels == tuple(sorted(texts))


def test_a_sum_cannot_be_averaged_over_batches(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"task\.loss\.reduction"):
        make(tmp_path, loss={"name": "ctc", "reduction": "sum"})


def test_missing_split_is_named(tmp_path: Path) -> None:
    values = toy_recipe(tmp_path)
    del values["data"]["test"]
    recipe = Recipe.from_dict(values)
    with pytest.raises(UserError, match=r'no "test" split'):
        recipe.task.build(recipe=recipe).cuts("test")


def test_audit_knows_alphabet_and_lengths(tmp_path: Path) -> None:
    assert {finding.code for finding in make(tmp_path, alphabet="ab ").audit(audio=False).findings if finding.severity == "error"}
    assert not make(tmp_path).audit(audio=False).failed
