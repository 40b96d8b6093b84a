"""The examples of CONTRIBUTING.md run as they stand: a guide to extending the package that does not work is worse than none."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile

from auscult.registry import registered, scope
from auscult.report import write_report
from auscult.testing.corpora import toy_corpus
from auscult.training.check import check

GUIDE = Path(__file__).resolve().parents[1] / "CONTRIBUTING.md"
BLOCKS = dict(re.findall(r'^```python title="(\S+)"\n(.*?)^```', GUIDE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL))


@pytest.fixture(autouse=True)
def _forget_examples() -> Iterator[None]:
    before = set(sys.modules)
    with scope():
        yield
    for name in set(sys.modules) - before:
        if name.startswith("example_"):
            del sys.modules[name]


def run(names: list[str], **given: Any) -> dict[str, Any]:
    """Run blocks in one namespace, as a file that was imported, and return it."""
    module = ModuleType(f"example_{names[0]}")
    sys.modules[module.__name__] = module
    vars(module).update(given)
    for name in names:
        exec(compile(BLOCKS[name], f"{GUIDE.name} ({name})", "exec", dont_inherit=True), vars(module))
    return vars(module)


def test_every_example_has_its_test() -> None:
    assert sorted(BLOCKS) == ["corpus", "corpus-test", "model", "model-test", "task", "task-test"]


def test_model() -> None:
    run(["model", "model-test"])
    assert "linear_ctc" in registered("model")


def test_corpus(tmp_path: Path) -> None:
    for split, word, name in [("train", "yes", "ann-1"), ("train", "no", "bob-1"), ("test", "yes", "cem-1")]:
        (tmp_path / split / word).mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / split / word / f"{name}.wav", np.linspace(-0.5, 0.5, 8000), 16000)
    space = run(["corpus", "corpus-test"], folder=tmp_path)
    splits = space["WordFolders"](str(tmp_path)).splits()
    assert {name: sorted(cut.supervisions[0].speaker for cut in cuts) for name, cuts in splits.items()} == {
        "test": ["cem"],
        "train": ["ann", "bob"],
    }


def test_task(tmp_path: Path) -> None:
    manifest = toy_corpus(tmp_path / "corpus", speakers=2, utterances=5)
    space = run(["task", "task-test"], manifest=manifest, root=tmp_path / "runs")
    assert space["result"].state == "COMPLETE"
    assert {item["chosen"] for item in space["auscult"].evaluate(space["result"].run).items} <= {"s0", "s1"}
    page = write_report(space["result"].run).read_text(encoding="utf-8")  # of a task that no report has ever heard of
    assert "Records of test" in page
    assert "error_rate" in page


def test_task_can_be_checked(tmp_path: Path) -> None:
    """The five figures of a check are drawn for a task of somebody else, and say nothing of transcripts."""
    space = run(["task", "task-test"], manifest=toy_corpus(tmp_path / "corpus", speakers=2, utterances=5), root=tmp_path / "runs")
    result = check(space["recipe"], "check.utterances=1", "check.updates=3", root=tmp_path / "checks")
    page = write_report(result.run).read_text(encoding="utf-8")
    assert page.count("data:image/") == 5
    assert "CTC loss" not in page
    assert "transcript" not in page
