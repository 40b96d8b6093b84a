"""The refuted experiment, done right: a frozen balanced map, the chance line, and guards against each of its silent bugs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import auscult
from auscult.errors import UserError
from auscult.recipe import Recipe
from auscult.runs.directory import RunDirectory
from auscult.tasks.pseudo_speaker import PseudoSpeaker, label_names, pseudo_labels
from auscult.testing.tasks import check_task

RATE = 8000


def corpus(folder: Path, counts: tuple[int, ...] = (4, 4, 4, 4)) -> Path:
    """Noise of some speakers per split; `counts` are the utterances of each training speaker."""
    folder.mkdir(exist_ok=True)
    rows = []
    for split in ("train", "validation", "test"):
        for number, count in enumerate(counts if split == "train" else (2, 2, 2, 2)):
            for take in range(count):
                name = f"{split}-{number}-{take}"
                random = np.random.default_rng([len(split), number, take])
                soundfile.write(folder / f"{name}.wav", 0.1 * random.standard_normal(3000 + 500 * take), RATE)
                rows.append({"audio": f"{name}.wav", "speaker": f"{split}{number}", "split": split})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "manifest.jsonl"


def recipe(manifest: Path, **data: Any) -> Recipe:
    return Recipe.from_dict(
        {
            "task": {"name": "pseudo_speaker", "seconds": 0.5},
            "data": {
                "corpus": {"name": "folder", "source": str(manifest)},
                "sample_rate": RATE,
                "train": "train",
                "validation": "validation",
                "test": "test",
                "batch": {"items": 4, "buckets": 1},
                **data,
            },
            "model": {"name": "light_cnn", "front_end": {"name": "log_mel", "mel_bins": 8}},
            "budget": {"updates": 3, "evaluate_every": 3},
        }
    )


def build(made: Recipe) -> PseudoSpeaker:
    task: PseudoSpeaker = made.task.build(recipe=made)
    return task


def test_conforms(tmp_path: Path) -> None:
    check_task(build(recipe(corpus(tmp_path / "c"))))


def test_labels_are_sorted_balanced_and_the_same_in_every_process() -> None:
    names = [f"speaker{number}" for number in range(31)]
    expected = pseudo_labels(names)
    assert sum(expected.values()) == 15
    assert pseudo_labels(names[::-1]) == expected == pseudo_labels([*names, *names])
    program = (
        "import json; from auscult.tasks.pseudo_speaker import pseudo_labels; "
        "print(json.dumps(pseudo_labels({f'speaker{n}' for n in range(31)}))); print([hash(f'speaker{n}') % 2 for n in range(31)])"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    ours, theirs = zip(*(run.splitlines() for run in runs), strict=True)
    assert json.loads(ours[0]) == json.loads(ours[1]) == expected
    assert theirs[0] != theirs[1], "labels from hash() would have differed between the two processes"


def test_the_map_is_part_of_the_run_and_compared_when_it_is_used_again(tmp_path: Path) -> None:
    made = recipe(corpus(tmp_path / "c"))
    result = auscult.train(made, root=tmp_path)
    run = RunDirectory.open(result.run)
    assert list(run.labels or ()) == list(label_names(build(made).map))
    assert run.labels is not None
    assert "train0" in run.labels[0]
    assert "train1" in run.labels[1]
    (result.run / "labels.json").write_text((result.run / "labels.json").read_text().replace("train0", "train9"))
    with pytest.raises(UserError, match="does not match its checksum"):
        auscult.evaluate(result.run, split="test")


def test_labels_do_not_change_between_epochs(tmp_path: Path) -> None:
    task = build(recipe(corpus(tmp_path / "c")))
    cuts = list(task.cuts("train"))
    first = task.collate(cuts, [np.random.default_rng(0) for _ in cuts]).speakers
    for epoch in range(1, 4):
        shuffled = [cuts[place] for place in np.random.default_rng(epoch).permutation(len(cuts))]
        batch = task.collate(shuffled, [np.random.default_rng(epoch) for _ in cuts])
        again = dict(zip(batch.ids, batch.speakers.tolist(), strict=True))
        assert [again[cut.id] for cut in cuts] == first.tolist()


def test_seventy_to_thirty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="70 % of the utterances fall into one class"):
        build(recipe(corpus(tmp_path / "c", counts=(7, 3, 7, 3))))


def test_shared_speakers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="share 4 speakers"):
        build(recipe(corpus(tmp_path / "c"), validation="train"))


def test_alarms_say_on_which_side_of_chance_the_interval_lies(tmp_path: Path) -> None:
    task = build(recipe(corpus(tmp_path / "c")))

    def items(correct: list[int]) -> list[dict[str, Any]]:
        return [
            {"id": f"{speaker}-{take}", "speaker": f"s{speaker}", "given": speaker % 2, "chosen": 0, "correct": right, "loss": 0.7}
            for speaker, right in enumerate(correct)
            for take in range(50)
        ]

    lucky = items([1, 1, 1, 1, 1, 0, 0, 0])  # 62.5 % of 400 utterances, but of eight coins
    assert task.summarise(lucky)["accuracy"] == 0.625
    low, high = task.intervals(lucky)["accuracy"]
    assert low < 0.5 < high, "utterances of a speaker are one coin; resampled one by one they would exclude chance"
    assert "does not exclude chance" in task.alarms(lucky)[0]
    assert "look for a leak" in task.alarms(items([1] * 8))[0]
    assert "memory" in task.alarms([{**item, "speaker": "train0"} for item in lucky])[0]
    assert "chance by construction" in task.protocol()["accuracy"]


def test_first_loss_is_near_ln_two(tmp_path: Path) -> None:
    task = build(recipe(corpus(tmp_path / "c")))
    batch = task.collate(list(task.cuts("train")))
    torch.manual_seed(0)
    expected = task.expected_initial_loss(batch)
    assert expected is not None
    assert abs(float(task.loss(task.build_model(), batch).value.detach()) - expected.value) < expected.tolerance * expected.value
