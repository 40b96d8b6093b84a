"""Silent bugs of the reference experiments that belong to no single room: each is planted, or its absence measured."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from auscult import registry
from auscult.audio.front_ends.log_mel import LogMel
from auscult.audio.front_ends.log_spectrogram import LogSpectrogram
from auscult.audio.reading import AudioError
from auscult.errors import UserError
from auscult.recipe import Recipe
from auscult.runs.directory import RunDirectory
from auscult.testing.recipes import toy_recipe
from auscult.training.train import train


def test_r0_feature_names_are_true() -> None:
    """The log's "257 mel bins" are linear: equal steps of frequency are equal steps of bins. A mel front-end's are not."""
    tones = torch.stack([torch.sin(2 * np.pi * frequency * torch.arange(16000) / 16000) for frequency in (1000.0, 2000.0, 3000.0)])
    lengths = torch.full((3,), 16000)
    linear = LogSpectrogram(sample_rate=16000)(tones, lengths).values.mean(1).argmax(-1)
    assert linear.tolist() == [32, 64, 96]  # 31.25 Hz a bin
    first, second, third = LogMel(sample_rate=16000, normalise="none")(tones, lengths).values.mean(1).argmax(-1).tolist()
    assert third - second < second - first


LABELS = """
import sys
from pathlib import Path
from auscult.recipe import Recipe
from auscult.streams import Streams
from auscult.testing.recipes import toy_recipe
values = toy_recipe(Path(sys.argv[1]))
values["task"]["alphabet"] = "data"
recipe = Recipe.from_dict(values)
task = recipe.task.build(recipe=recipe)
print(task.specification.labels, task.data_hash, recipe.hash, Streams(3).integer("order", 1, "utterance"))
"""


def test_r2_labels_identical_across_processes(tmp_path: Path) -> None:
    """The reference labels came from the salted built-in hash and changed with every process."""
    toy_recipe(tmp_path)
    answers = set()
    for salt in ("0", "1", "12345"):
        environment = {**os.environ, "PYTHONHASHSEED": salt, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", LABELS, str(tmp_path)]
        answers.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(answers) == 1


def test_r2_label_map_survives_second_pass(tmp_path: Path) -> None:
    recipe = Recipe.from_dict(toy_recipe(tmp_path))
    task = recipe.task.build(recipe=recipe)
    passes = [[task.collate([cut]).tokens.tolist() for cut in task.cuts("train")] for _ in range(2)]
    assert passes[0] == passes[1]


def test_r3_failed_read_is_error(tmp_path: Path) -> None:
    """The reference loader returned zeros for a file it could not read."""
    recipe = Recipe.from_dict(toy_recipe(tmp_path))
    task = recipe.task.build(recipe=recipe)
    cut = next(iter(task.cuts("train")))
    path = Path(cut.recording.sources[0].source)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(AudioError, match=path.name):
        task.collate([cut])


def test_r3_nan_in_a_file_is_error(tmp_path: Path) -> None:
    recipe = Recipe.from_dict(toy_recipe(tmp_path))
    task = recipe.task.build(recipe=recipe)
    cut = next(iter(task.cuts("train")))
    path = Path(cut.recording.sources[0].source)
    samples = np.full(cut.num_samples, np.nan, dtype=np.float32)
    soundfile.write(path, samples, 8000, subtype="FLOAT")
    with pytest.raises(AudioError, match=path.name):
        task.collate([cut])


def test_r3_boolean_flags(tmp_path: Path) -> None:
    """`--augment False` was True in the reference code."""
    values = toy_recipe(tmp_path)
    assert Recipe.from_dict(values, ["guard.enabled=false"]).guard.enabled is False
    for text in ("no", "0", "'false'"):
        with pytest.raises(UserError, match=r"guard\.enabled"):
            Recipe.from_dict(values, [f"guard.enabled={text}"])


def test_r4_unknown_override_is_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='did you mean "channels"'):
        Recipe.from_dict(toy_recipe(tmp_path), ["model.chanels=3"])


def test_r4_budget_in_updates(tmp_path: Path) -> None:
    """Twice the data, the same budget: an epoch is no unit of work."""
    for size in (4, 8):
        result = train(Recipe.from_dict(toy_recipe(tmp_path / str(size), updates=5, utterances=size)), root=tmp_path / "runs")
        events = RunDirectory.open(result.run).events.read()
        assert [event["update"] for event in events if event["event"] == "step"] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("kind", [kind for kind, packages in registry.PACKAGES.items() if packages])
def test_r4_no_dead_options(kind: str) -> None:
    """Every key of every registered class is read somewhere in the class or its bases, beyond its declaration and its docstring."""
    for name, cls in registry.registered(kind).items():
        source = "\n".join(inspect.getsource(base) for base in cls.__mro__ if base.__module__.startswith("auscult"))
        code = re.sub(r'"""(?s:.*?)"""', "", source)
        for parameter in registry.parameters(cls):
            assert len(re.findall(rf"\b{parameter}\b", code)) >= 2, f"{kind} {name}: nothing reads {parameter!r}"
