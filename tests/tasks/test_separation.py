"""The task of separation: variants and stages, refusals, losses over items, records, and the same batches for any number of workers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from auscult.data.loading import Loader
from auscult.data.planning import batch_stream
from auscult.errors import UserError
from auscult.recipe import Recipe
from auscult.registry import build
from auscult.specification import Specification
from auscult.streams import Streams
from auscult.tasks import separation_check
from auscult.tasks.separation import Separation
from auscult.testing.mixtures import ToyMixture, toy_splits, write_polsess

DPRNN = {"name": "dprnn", "filters": 16, "kernel": 8, "stride": 4, "bottleneck": 8, "hidden": 8, "blocks": 1, "chunk": 10}
Make = Callable[..., Separation]


@pytest.fixture(scope="module")
def polsess(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_polsess(tmp_path_factory.mktemp("separation") / "toy", toy_splits(train=8))


@pytest.fixture
def make(polsess: Path) -> Make:
    """Build the task of a tiny recipe; keywords add to its task section, `folder` and `data` change the rest."""

    def build(folder: Path = polsess, data: dict[str, Any] | None = None, **task: Any) -> Separation:
        values = {
            "task": {"name": "separation", "seconds": 0.25, **task},
            "data": {
                "corpus": {"name": "polsess", "source": str(folder)},
                "sample_rate": 8000, "train": "train", "validation": "val", "test": "test",
                "batch": {"items": 3, "buckets": 1}, **(data or {}),
            },
            "model": dict(DPRNN), "optimizer": {"name": "adam"}, "budget": {"updates": 2},
        }  # fmt: skip
        recipe = Recipe.from_dict(values)
        made: Separation = recipe.task.build(recipe=recipe)
        return made

    return build


class Oracle(nn.Module):
    """Puts out what it is told, in the wrong order."""

    def __init__(self, estimates: torch.Tensor) -> None:
        super().__init__()
        self.estimates = estimates

    def forward(self, mixture: torch.Tensor) -> torch.Tensor:
        return self.estimates[: len(mixture)]


def batches(task: Separation, workers: int, count: int, start: int = 0) -> list[Any]:
    cuts, streams = list(task.cuts("train")), Streams(0)
    stream = batch_stream(cuts, task.recipe.data.batch, streams)
    with Loader(cuts, task.training_batch, stream, streams=streams, workers=workers) as loader:
        return [next(loader).batch for _ in range(count)][start:]


def test_a_curriculum_reaches_persistent_workers(make: Make) -> None:
    """Planted elsewhere: the stage as an attribute of the dataset, of which workers hold a copy."""
    task = make(curriculum=[[0, ["C"]], [3, ["R", "S"]], [6, ["SER", "SE"]]])
    for workers in (0, 2):
        seen = [set(batch.variants) for batch in batches(task, workers, 9)]
        assert all(variants == {"C"} for variants in seen[:3])
        assert set.union(*seen[3:6]) == {"R", "S"}
        assert set.union(*seen[6:]) == {"SER", "SE"}


@pytest.mark.parametrize("remix", [0.0, 1.0])
def test_batches_do_not_depend_on_workers(make: Make, remix: float) -> None:
    task = make(remix=remix, variants=["C", "R", "S"])
    one, other = batches(task, 0, 5), batches(task, 2, 5)
    for left, right in zip(one, other, strict=True):
        assert left.ids == right.ids
        assert left.variants == right.variants
        assert torch.equal(left.mixture, right.mixture)
        assert torch.equal(left.sources, right.sources)


def test_a_loader_that_was_restored_is_in_the_same_stage(make: Make) -> None:
    task = make(curriculum=[[0, ["C"]], [4, ["SER", "SE"]]])
    cuts, streams = list(task.cuts("train")), Streams(0)

    def loader() -> Loader:
        return Loader(cuts, task.training_batch, batch_stream(cuts, task.recipe.data.batch, streams), streams=streams)

    first, second = loader(), loader()
    for _ in range(3):
        next(first)
    second.restore(first.state())
    following = [next(second).batch for _ in range(2)]
    assert set(following[0].variants) == {"C"}
    assert "C" not in following[1].variants
    assert torch.equal(next(first).batch.mixture, following[0].mixture)


def test_judged_mixtures_have_a_fixed_variant_or_each_of_several(make: Make) -> None:
    assert {batch.variants[0] for batch in [make().collate([cut]) for cut in make().cuts("test")]} == {"SER", "SE"}
    several = make(judged_variants=["SER", "SE", "C"])
    cuts = list(several.cuts("test"))
    assert len(cuts) == 2 * len(make().cuts("test"))
    assert {cut.id.rsplit("#", 1)[1] for cut in cuts} == {"SER", "SE", "C"}
    assert [several.collate([cut]).variants[0] for cut in cuts] == [cut.id.rsplit("#", 1)[1] for cut in cuts]


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"variants": ["SPER"]}, 'task.variants: there is no variant "SPER" .did you mean "SER"'),
        ({"variants": ["SE"]}, "has none of the variants SE; with its layers it has SER, SR, ER, R, C"),
        ({"variants": ["C"], "curriculum": [[0, ["C"]]]}, "give variants or curriculum, not both"),
        ({"curriculum": [[5, ["C"]]]}, r"stages begin at updates \[5\]; expected 0 first"),
        ({"judged_variants": ["Q"]}, 'task.judged_variants: there is no variant "Q"'),
    ],
)
def test_bad_variants_are_refused_in_words(make: Make, task: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(**task)


def test_a_speaker_mixed_with_himself_is_refused_left_out_or_said(make: Make, tmp_path: Path) -> None:
    rows = [*toy_splits(train=6), ToyMixture(speakers=("6892", "6892"), content=777, scene="other")]
    folder = write_polsess(tmp_path / "same", rows)
    with pytest.raises(UserError, match=r"train: 1 of 7 mixtures \(14.3%\) mix a speaker with themselves.*task\.same_speaker to leave_out"):
        make(folder)
    left = make(folder, same_speaker="leave_out")
    assert len(left.cuts("train")) == 6
    kept = make(folder, same_speaker="keep")
    assert len(kept.cuts("train")) == 7
    assert kept.protocol()["same speaker"] == "1 mixtures of train mix a speaker with themselves"


def test_splits_that_share_speakers_are_refused_or_reported(make: Make, tmp_path: Path) -> None:
    rows = [*toy_splits(train=6), ToyMixture(split="test", speakers=("6892", "7001"), content=778, scene="s9")]
    folder = write_polsess(tmp_path / "shared", rows)
    with pytest.raises(UserError, match=r"train and test share 1 speaker \(6892\).*\n.*set task\.shared to report"):
        make(folder)
    task = make(folder, shared="report")
    items = task.judge(task.build_model().eval(), task.collate(list(task.cuts("test"))[:1]))
    assert any("share 1 speaker" in alarm for alarm in task.alarms(items))


def test_the_loss_is_a_mean_over_items_of_any_length(make: Make) -> None:
    """Planted elsewhere: the mean of the means of batches, which overweights the items of a short batch."""
    task, model = make(), make().build_model()
    short, whole = [make(seconds=seconds).single(next(iter(task.cuts("train")))) for seconds in (0.1, 0.25)]
    from auscult.data.layers import Example
    from auscult.data.separation_batch import SeparationBatch

    parts = [Example(one.mixture[0].numpy(), one.sources[0].numpy()) for one in (short, whole, whole)]
    together = task.loss(model, SeparationBatch.pad(parts, ["C"] * 3, ["a", "b", "c"]))
    alone = [float(task.loss(model, one).value) for one in (short, whole)]
    assert together.items == 3
    assert float(together.value) == pytest.approx((alone[0] + 2 * alone[1]) / 3, abs=1e-4)


def test_mixtures_without_any_target_count_in_no_mean(make: Make) -> None:
    task, model = make(), make().build_model()
    one = task.single(next(iter(task.cuts("train"))))
    from dataclasses import replace

    silent = replace(one, sources=torch.zeros_like(one.sources))
    assert task.loss(model, silent).items == 0
    assert float(task.loss(model, silent).value) == 0.0
    [item] = task.judge(model.eval(), silent)
    assert item["silent"] == [0, 1]
    assert np.isnan(item["si_sdr"])


def test_records_hold_levels_before_and_after(make: Make) -> None:
    task = make()
    batch = task.collate(list(task.cuts("test")))
    noisy = batch.sources + 0.01 * torch.randn(batch.sources.shape, generator=torch.Generator().manual_seed(0))
    items = task.judge(Oracle(noisy.flip(1)), batch)
    assert all(item["permutation"] == [1, 0] and item["finite"] and not item["same_speaker"] for item in items)
    assert all(item["si_sdri"] == pytest.approx(item["si_sdr"] - item["input_si_sdr"]) for item in items)
    metrics = task.summarise(items)
    assert metrics["si_sdr"] > 10 > metrics["input_si_sdr"]
    assert {f"si_sdri_{variant}" for variant in ("SER", "SE")} <= metrics.keys()
    low, high = task.intervals(items)["si_sdri"]
    assert low <= metrics["si_sdri"] <= high


def test_estimates_that_are_not_finite_raise_an_alarm(make: Make) -> None:
    task = make()
    batch = task.collate(list(task.cuts("test"))[:2])
    broken = batch.sources.clone()
    broken[0, 0, 5] = torch.nan
    items = task.judge(Oracle(broken), batch)
    assert [item["finite"] for item in items] == [False, True]
    assert any(alarm.startswith("1 of 2 mixtures got estimates that are not finite") for alarm in task.alarms(items))


def test_further_measures_are_taken_of_the_test_split_only(make: Make) -> None:
    task, model = make(measures=["bss_eval"]), make().build_model().eval()
    batch = task.collate(list(task.cuts("test"))[:1])
    task.prepare_judging(model, "validation", "cpu")
    assert "sdr" not in task.judge(model, batch)[0]
    task.prepare_judging(model, "test", "cpu")
    assert np.isfinite(task.judge(model, batch)[0]["sdri"])


def test_augmentations_keep_a_mixture_the_sum_of_its_parts(make: Make) -> None:
    task = make(data={"augment": [{"name": "speed", "factors": [1.1]}, {"name": "gain", "low": -9.0, "high": -9.0}]}, variants=["C"])
    cuts = list(task.cuts("train"))[:3]
    batch = task.training_batch(cuts, [np.random.default_rng(place) for place in range(3)], 0)
    assert float((batch.mixture - batch.sources.sum(1)).abs().max()) < 1.3e-4  # layers of 16 bits
    assert batch.lengths.tolist() == [2000] * 3
    with pytest.raises(UserError, match=r"data\.augment\.0: noise would change the sources of a mixture"):
        make(data={"augment": [{"name": "noise", "folder": "x"}]})


@pytest.mark.parametrize(("aim", "outputs"), [("separate_both", 2), ("enhance_both", 1), ("enhance_single", 1)])
def test_aims_set_the_number_of_outputs(make: Make, aim: str, outputs: int) -> None:
    task = make(aim=aim)
    assert task.specification.sources == outputs
    batch = task.collate(list(task.cuts("test"))[:1])
    assert batch.sources.shape[1] == outputs
    assert task.build_model()(batch.mixture).shape == (1, outputs, batch.mixture.shape[1])


def test_a_plain_recording_is_no_mixture(make: Make, tmp_path: Path) -> None:
    import soundfile

    (tmp_path / "ann").mkdir()
    soundfile.write(tmp_path / "ann" / "a.wav", np.ones(800) * 0.1, 8000)
    with pytest.raises(UserError, match=r"separation needs mixtures with known sources, this is a plain recording"):
        make(
            data={
                "corpus": {"name": "folder", "source": str(tmp_path), "speakers_from": "folder"},
                "train": None,
                "validation": None,
                "test": {},
            }
        )


def test_a_model_of_another_task_is_refused(polsess: Path) -> None:
    values = {
        "task": {"name": "separation"},
        "data": {"corpus": {"name": "polsess", "source": str(polsess)}, "sample_rate": 8000, "test": "test"},
        "model": {"name": "small_tdnn"}, "optimizer": {"name": "adam"}, "budget": {"updates": 2},
    }  # fmt: skip
    recipe = Recipe.from_dict(values)
    with pytest.raises(UserError, match=r"model\.name: small_tdnn takes no mixtures apart"):
        recipe.task.build(recipe=recipe).build_model()


def test_a_model_is_asked_for_what_its_form_allows() -> None:
    """Masks that keep the phase of a mixture cannot improve it by 15 dB, whatever they learn by heart."""
    specification = Specification("separation", 8000, sources=2)
    free, capped = (build("model", {"name": name}, specification=specification) for name in ("dprnn", "spectral_masks"))
    assert separation_check.enough(free) == separation_check.LEARNED == 15
    assert separation_check.enough(capped) == pytest.approx(0.8 * capped.ceiling)
    assert capped.ceiling < 15
