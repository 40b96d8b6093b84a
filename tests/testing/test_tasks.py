from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from auscult.recipe import Recipe
from auscult.tasks.base import Item, Loss
from auscult.tasks.recognition import Recognition
from auscult.testing.recipes import toy_recipe
from auscult.testing.tasks import check_task


@pytest.fixture
def task(tmp_path: Path) -> Recognition:
    recipe = Recipe.from_dict(toy_recipe(tmp_path))
    built: Recognition = recipe.task.build(recipe=recipe)
    return built


def test_recognition_conforms(task: Recognition) -> None:
    check_task(task)


def test_a_loss_that_is_a_sum_is_caught(task: Recognition, monkeypatch: pytest.MonkeyPatch) -> None:
    mean = type(task).loss
    monkeypatch.setattr(
        type(task), "loss", lambda self, model, batch: Loss(mean(self, model, batch).value * len(batch.ids), len(batch.ids))
    )  # fmt: skip
    with pytest.raises(AssertionError, match="item-weighted mean"):
        check_task(task)


def test_records_without_ids_are_caught(task: Recognition, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = type(task).judge

    def nameless(self: Recognition, model: nn.Module, batch: Any) -> list[Item]:
        return [{key: value for key, value in item.items() if key != "id"} for item in judge(self, model, batch)]

    monkeypatch.setattr(type(task), "judge", nameless)
    with pytest.raises(AssertionError, match="one record per item"):
        check_task(task)


def test_a_missing_primary_metric_is_caught(task: Recognition, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(task), "primary_metric", "accuracy")
    with pytest.raises(AssertionError, match="accuracy"):
        check_task(task)
