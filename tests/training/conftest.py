"""A corpus of tones, tiny recipes on it, and processes that can be killed."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from auscult.recipe import Recipe
from auscult.runs.directory import RunDirectory, find_runs
from auscult.testing.corpora import toy_corpus
from auscult.training.checkpoint import load_checkpoint

MODELS: dict[str, dict[str, Any]] = {
    "conv_ctc": {"name": "conv_ctc", "channels": 16, "blocks": 1, "dropout": 0.1},
    "deepspeech2": {"name": "deepspeech2", "channels": 4, "hidden": 16, "layers": 2},
}
Values = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of tones: 3 speakers x 8 utterances of about a second at 8 kHz; 18 of them to train on."""
    return toy_corpus(tmp_path_factory.mktemp("toy"), speakers=3, utterances=8, letters=(8, 10), sample_rate=8000)


@pytest.fixture(scope="session")
def values(toy: Path) -> Values:
    """Make the plain values of a tiny recipe; keywords replace sections, and those of dictionaries are merged."""

    def make(architecture: str = "conv_ctc", /, **sections: Any) -> dict[str, Any]:
        made: dict[str, Any] = {
            "task": {"name": "recognition", "alphabet": "data"},
            "data": {
                "corpus": {"name": "folder", "source": str(toy)},
                "sample_rate": 8000,
                "train": "train",
                "validation": "validation",
                "batch": {"items": 4},
            },
            "model": MODELS[architecture],
            "optimizer": {"name": "adam", "lr": 3e-3},
            "budget": {"updates": 12, "evaluate_every": 5, "checkpoint_every": 4, "log_every": 1},
        }
        for name, section in sections.items():
            made[name] = {**made[name], **section} if isinstance(section, dict) and name in made else section
        return copy.deepcopy(made)

    return make


@pytest.fixture
def recipe(values: Values) -> Callable[..., Recipe]:
    """Make a tiny recipe, as `values` does."""
    return lambda architecture="conv_ctc", **sections: Recipe.from_dict(values(architecture, **sections))


class Nursery:
    """Handle on the process that forks training processes (see nursery.py)."""

    def __init__(self, recipe: Path) -> None:
        script = Path(__file__).with_name("nursery.py")
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(recipe)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._answer()

    def start(self, arguments: Sequence[str], log: Path, faults: Sequence[dict[str, Any]] = (), **environment: str) -> int:
        """Start `auscult ARGUMENTS` and return its process id."""
        order = {"do": "start", "arguments": list(arguments), "log": str(log), "faults": list(faults), "environment": environment}
        return int(self._ask(order)["pid"])

    def wait(self, pid: int) -> int:
        """Return the exit code of a child, negative for a signal."""
        return int(self._ask({"do": "wait", "pid": pid})["code"])

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the nursery ended"
        answer: dict[str, Any] = json.loads(line)
        return answer


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory, values: Values) -> Iterator[Nursery]:
    path = tmp_path_factory.mktemp("nursery") / "recipe.yaml"
    path.write_text(yaml.safe_dump(values()), encoding="utf-8")
    made = Nursery(path)
    yield made
    made.close()


class Trial:
    """One recipe trained by child processes under one root."""

    def __init__(self, nursery: Nursery, values: dict[str, Any], folder: Path) -> None:
        folder.mkdir()
        self.nursery, self.root, self.log = nursery, folder / "runs", folder / "log"
        self.recipe = folder / "recipe.yaml"
        self.recipe.write_text(yaml.safe_dump(values), encoding="utf-8")

    def start(self, *faults: dict[str, Any], **environment: str) -> int:
        """Start training; return the process id."""
        arguments = ["train", str(self.recipe), "--root", str(self.root), "--no-report", "--json"]
        return self.nursery.start(arguments, self.log, faults, **environment)

    def train(self, *faults: dict[str, Any]) -> int:
        """Train until the process ends; return its exit code, negative for a signal."""
        return self.nursery.wait(self.start(*faults))

    def evidence(self) -> dict[str, Any]:
        """Everything about a finished run that must not depend on interruptions."""
        run = self.run
        events = run.events.read()
        steps = [event for event in events if event["event"] == "step"]
        return {
            "state": run.state,
            "weights": (run.path / "model.safetensors").read_bytes(),
            "items": (run.path / "items" / "validation.jsonl").read_bytes(),
            "best": {name: value.numpy().tobytes() for name, value in load_checkpoint(run.checkpoint("best"))["model"].items()},
            "steps": [(event["update"], event["loss"], event["gradient_norm"], event["lr"]) for event in steps],
            "evaluations": [(event["update"], event["metrics"]) for event in events if event["event"] == "evaluation"],
            "reason": run.reason,
            "starts": sum(event["event"] == "start" for event in events),
            "checkpoints": sorted(path.name for path in (run.path / "checkpoints").iterdir()),
        }

    def differences(self, other: Trial) -> list[str]:
        """Names of the parts of the evidence in which two trials differ."""
        mine, theirs = self.evidence(), other.evidence()
        return [name for name in mine if mine[name] != theirs[name]]

    @property
    def run(self) -> RunDirectory:
        [path] = find_runs(self.root)
        return RunDirectory.open(path)

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")


@pytest.fixture
def trial_of(nursery: Nursery, tmp_path: Path) -> Callable[[dict[str, Any]], Trial]:
    """Make a trial of a recipe's plain values; every call has a folder of its own."""
    made: list[Trial] = []

    def make(recipe: dict[str, Any]) -> Trial:
        made.append(Trial(nursery, recipe, tmp_path / f"trial{len(made)}"))
        return made[-1]

    return make


@pytest.fixture
def trial(trial_of: Callable[[dict[str, Any]], Trial], values: Values) -> Callable[..., Trial]:
    """Make a trial of a tiny recipe; arguments as for `values`."""
    return lambda architecture="conv_ctc", /, **sections: trial_of(values(architecture, **sections))
