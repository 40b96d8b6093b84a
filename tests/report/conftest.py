"""Synthetic run directories with the events that training writes: R0-like checks, a crowd of utterances, and a training run."""

from __future__ import annotations

import importlib.util
import json
import math
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auscult.metrics.error_rate import character_errors, word_errors
from auscult.runs import directory
from auscult.runs.identity import Identity
from auscult.runs.state import State

ALPHABET = [" ", "'", *"abcdefghijklmnopqrstuvwxyz"]
R0_UTTERANCES = [
    ("2277-149896-0012", "don't be angry mister holmes", 112, 51, 77),
    ("2277-149896-0018", "the letter was never read twice", 123, 57, 42),
    ("3536-8226-0004", "what a lovely morning", 107, 49, 163),
]
WORDS = [
    "a",
    "the",
    "of",
    "speech",
    "wave",
    "frame",
    "letter",
    "model",
    "never",
    "always",
    "digit",
    "seven",
    "nine",
    "paper",
    "river",
    "winter",
    "listen",
    "sound",
    "small",
    "open",
]


def _required(text: str) -> int:
    return len(text) + sum(a == b for a, b in pairwise(text))


def _parts() -> list[dict[str, Any]]:
    gru = [10_752_000, *[7_680_000] * 4]
    norms = {"conv_0": 64, "conv_1": 64, **{f"rnn_{i}": 1600 for i in range(1, 5)}, "fc": 1600}
    parts: list[tuple[str, str, int, list[int] | None]] = [
        ("front_end", "LogSpectrogram", 0, [1, 112, 257]),
        ("feature_augmentation", "ModuleList", 0, None),
        ("conv", "ModuleList", 251_040, None),
        ("conv.0", "Conv2d", 14_464, [1, 32, 109, 61]),
        ("conv.1", "Conv2d", 236_576, [1, 32, 45, 51]),
        ("rnn", "ModuleList", sum(gru), None),
        *[(f"rnn.{i}", "GRU", n, [51, 1, 1600]) for i, n in enumerate(gru)],
        ("bn", "ModuleDict", sum(norms.values()), None),
        *[(f"bn.{name}", "MaskedBatchNorm", n, [51, 1, 800] if n > 64 else [1, 32, 109, 61]) for name, n in norms.items()],
        ("dropout", "Dropout", 0, None),
        ("fc", "Linear", 23_200, [51, 1, 29]),
    ]
    return [{"name": a, "type": b, "parameters": c, "output_shape": d, "depth": a.count(".") + 1} for a, b, c, d in parts]


def _small_parts() -> list[dict[str, Any]]:
    parts: list[tuple[str, str, int, list[int] | None]] = [
        ("front_end", "LogMel", 0, [1, 400, 40]),
        ("layers", "Sequential", 152_000, [1, 128, 200]),
        ("layers.0", "Conv1d", 36_000, [1, 128, 200]),
        ("layers.1", "Conv1d", 58_000, [1, 128, 200]),
        ("layers.2", "Conv1d", 58_000, [1, 128, 200]),
        ("head", "Linear", 3_741, [1, 200, 29]),
    ]
    return [{"name": a, "type": b, "parameters": c, "output_shape": d, "depth": a.count(".") + 1} for a, b, c, d in parts]


class Clock:
    """Appends events with times of their own, so that building 3,000 utterances is quick and the bytes are the same each time."""

    def __init__(self, run: directory.RunDirectory) -> None:
        self.run, self.now, self.lines = run, 1_790_000_000.0, []

    def append(self, event: str, **fields: Any) -> None:
        self.now += 0.5
        self.lines.append(json.dumps({"event": event, "time": self.now, **fields}))

    def write(self) -> None:
        (self.run.path / "events.jsonl").write_text("\n".join(self.lines) + "\n", encoding="utf-8")


def _new_run(root: Path, verb: str, model: str) -> directory.RunDirectory:
    recipe = f"task: {{name: recognition}}\nmodel: {{name: {model}}}\noptimizer: {{name: adam, lr: 0.01}}\nseed: 0\n"
    identity = Identity("a" * 64, "b" * 64, {"training/stepper.py": "c0ffee"}, {"python": "3.11", "torch": "2.13.0", "device": None})
    return directory.RunDirectory.create(root, f"recognition-{model}-{verb}0f3a", recipe, identity, ALPHABET, verb)


def _store_arrays(run: directory.RunDirectory, index: int, text: str, frames: int, outputs: int, random: np.random.Generator) -> None:
    samples = (frames - 1) * 320
    moment = np.arange(samples) / 16_000
    pitch = 120 + 30 * np.sin(2 * np.pi * 1.3 * moment)
    envelope = np.clip(np.sin(2 * np.pi * 2.1 * moment) + 0.4, 0.0, 1.0)
    waveform = sum(np.sin(2 * np.pi * k * np.cumsum(pitch) / 16_000) / k for k in range(1, 20)) * envelope * 0.1
    waveform = (waveform + 0.003 * random.standard_normal(samples)).astype(np.float32)
    padded = np.pad(waveform, 256)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 512)[::320][:frames] * np.hanning(512)
    spectrum = np.log1p(np.abs(np.fft.rfft(windows)))
    features = ((spectrum - spectrum.mean()) / spectrum.std()).astype(np.float32)
    mel = np.log(1e-5 + np.abs(np.fft.rfft(windows))[:, :240].reshape(len(windows), 80, 3).mean(-1)).astype(np.float32)
    tokens = np.array([ALPHABET.index(c) for c in text], dtype=np.int64)
    logits = random.standard_normal((outputs, 29))
    logits[:, 28] += 7.0
    places = np.unique(np.linspace(1, outputs - 2, len(tokens)).astype(int))
    for place, token in zip(places, tokens, strict=False):
        logits[place, token] += 14.0
    probabilities = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities /= probabilities.sum(-1, keepdims=True)
    np.savez(
        run.arrays_folder / f"{index}.npz",
        waveform=waveform,
        sample_rate=16_000,
        waveform_log_mel=mel,
        features=features,
        probabilities=probabilities.astype(np.float32),
        tokens=tokens,
        labels=np.array([*ALPHABET, "<blank>"]),
    )


def _utterance(log: Clock, index: int, case: tuple[str, str, int, int, int], random: np.random.Generator, failed: bool = False) -> None:
    name, text, frames, outputs, updates = case
    required, symbols = _required(text), len(text)
    paths = math.lgamma(outputs + 2 * symbols - required + 1) - math.lgamma(2 * symbols + 1) - math.lgamma(outputs - required + 1)
    uniform = (outputs * math.log(29) - paths) / symbols
    log.append(
        "utterance",
        index=index,
        id=name,
        reference=text,
        speaker=name.split("-")[0],
        seconds=frames * 0.02,
        input_frames=frames,
        bins=257,
        output_frames=outputs,
        symbols=symbols,
        required_frames=required,
        uniform_loss=uniform,
        initial_loss=uniform * 1.03,
        threshold=0.001,
    )
    floor = 0.01 if failed else 0.00095
    rate = math.log(uniform / floor) / updates**0.8
    loss = uniform
    for update in range(1, updates + 1):
        loss = uniform * math.exp(-rate * update**0.8) * math.exp(0.25 * random.standard_normal() * (update < updates))
        spike = 6.0 if update in (9, 10) and index % 3 == 1 else 1.0
        error = min(1.0, loss / 3.0)
        log.append(
            "step",
            index=index,
            update=update,
            loss=loss * spike,
            gradient_norm=spike * 25 * (loss / uniform) ** 0.9 * math.exp(0.2 * random.standard_normal()),
            frame_error=0.06 * error,
            cer=error if update % 5 == 0 else None,
            elapsed=update * 0.7,
        )
    hypothesis = text[:-2] + "xx" if failed else text
    log.append(
        "utterance_end",
        index=index,
        id=name,
        update=updates,
        loss=loss,
        stop_reason="budget" if failed else "threshold",
        hypothesis=hypothesis,
        wer=0.25 if failed else 0.0,
        cer=0.1 if failed else 0.0,
        seconds=updates * 0.7,
    )


def build_check(root: Path, count: int = 3, model: str = "deepspeech2", finished: bool = True) -> Path:
    """Write a check run: the three R0-like utterances, or a crowd."""
    random = np.random.default_rng(7)
    run = _new_run(root, "check", model)
    log = Clock(run)
    earlier = [80, 77, 55] if count == 3 else None
    recipe = {"optimizer": {"name": "adam", "lr": 0.01}, "check": {"earlier_updates": earlier}}
    log.append("start", verb="check", task="recognition", model=model, recipe=recipe)
    parts = _parts() if model == "deepspeech2" else _small_parts()
    total = sum(part["parameters"] for part in parts if part["depth"] == 1)
    front_end = {"name": "LogSpectrogram", "bins": 257, "frame_step": 0.02, "sample_rate": 16_000}
    log.append("model", parameters=total, macs_per_second=1.23e9, frame_step=0.04, front_end=front_end, parts=parts)
    for index in range(count):
        case = R0_UTTERANCES[index % 3]
        if count > 3:
            frames = int(random.integers(100, 900))
            outputs = (frames + 9) // 2 + 1 - 10
            text = ""
            while _required(f"{text} letter") < outputs * 0.5:
                text = f"{text} {WORDS[random.integers(len(WORDS))]}".strip()
            case = (f"{1000 + index % 40}-{index:05d}", text or "a", frames, outputs, int(random.integers(20, 60)))
        _utterance(log, index, case, random, failed=count > 3 and index % 50 == 0)
        if index < 5:
            _store_arrays(run, index, case[1], case[2], case[3], random)
    if finished:
        log.append("batch_independence", max_leak=0.0, passed=True)
        log.append("end", state="COMPLETE", verdict="passed", reasons=[])
        run.set_state(State.RUNNING)
        run.set_state(State.COMPLETE)
    log.write()
    return run.path


def _items(count: int, random: np.random.Generator) -> list[dict[str, Any]]:
    items = []
    for index in range(count):
        words = [WORDS[i] for i in random.integers(len(WORDS), size=int(random.integers(2, 14)))]
        heard = [WORDS[random.integers(len(WORDS))] if random.random() < 0.08 else word for word in words if random.random() > 0.03]
        if random.random() < 0.15:
            heard.insert(int(random.integers(len(heard) + 1)), "the")
        reference, hypothesis = " ".join(words), " ".join(heard)
        word, character = word_errors(reference, hypothesis), character_errors(reference, hypothesis)
        items.append(
            {
                "id": f"utt-{index:04d}",
                "speaker": f"speaker {index % 17:02d}",
                "duration": 0.35 * len(words) + float(random.random()),
                "reference": reference,
                "hypothesis": hypothesis,
                "substitutions": word.substitutions,
                "insertions": word.insertions,
                "deletions": word.deletions,
                "words": word.length,
                "character_errors": character.errors,
                "characters": character.length,
                "failed": False,
            }
        )
    return items


def build_training(root: Path, judged: bool = True, updates: int = 1200) -> Path:
    """Write a training run with refused steps, evaluations and, if judged, items of two splits."""
    random = np.random.default_rng(3)
    run = _new_run(root, "train", "conv_ctc")
    log = Clock(run)
    log.append("start", verb="train", task="recognition", model="conv_ctc", recipe={"seed": 0})
    log.append(
        "model", parameters=155_741, macs_per_second=2.1e7, frame_step=0.02, front_end={"name": "LogMel", "bins": 40}, parts=_small_parts()
    )
    for update in range(1, updates + 1):
        loss = 0.25 + 4.3 * math.exp(-update / 180) + 0.12 * random.random()
        if update in (150, 151, 640):
            log.append("refused", update=update, cause="gradient", ids=["utt-1", "utt-9"], culprits=["utt-9"], remedy="skip")
            continue
        rate = 2e-3 * min(1.0, update / 100) * 0.5 * (1 + math.cos(math.pi * update / updates))
        norm = 0.4 + 6 * math.exp(-update / 120) + 0.3 * random.random()
        log.append(
            "step",
            update=update,
            epoch=update / 100,
            loss=loss,
            gradient_norm=norm,
            lr=rate,
            items=16,
            audio_seconds=30.0,
            elapsed=update * 0.09,
        )
        if update % 100 == 0:
            wer = 0.08 + 0.9 * math.exp(-update / 250) + (0.01 if update > 1000 else 0.0)
            log.append("evaluation", update=update, split="validation", metrics={"wer": wer, "cer": wer / 3, "loss": loss}, seconds=2.0)
            log.append("checkpoint", update=update, which="best" if update <= 1000 else "last")
    log.append("resumed", update=700)
    log.append("note", text="recordings at 8000 Hz are resampled to 16000 Hz; this adds no information above 4000 Hz")
    if judged:
        log.append("end", state="COMPLETE", reason=f"budget of {updates} updates used")
        run.set_state(State.RUNNING)
        run.set_state(State.COMPLETE, f"budget of {updates} updates used")
        for split in ("validation", "test"):
            items = _items(300, random)
            errors = sum(item["substitutions"] + item["insertions"] + item["deletions"] for item in items)
            wer = errors / sum(item["words"] for item in items)
            run.write_items(split, items)
            cer = sum(item["character_errors"] for item in items) / sum(item["characters"] for item in items)
            run.write_summary(
                split,
                {
                    "metrics": {"wer": wer, "cer": cer, "utterances": 300.0},
                    "intervals": {"wer": [wer - 0.01, wer + 0.012], "cer": [cer - 0.004, cer + 0.005]},
                    "protocol": {"decoder": "greedy", "text": "lower case, NFC, single spaces"},
                    "checkpoint": "best",
                    "update": 1000,
                    "split": split,
                },
            )
    log.write()
    return run.path


@pytest.fixture
def check_builder(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a check run."""
    return lambda **options: build_check(tmp_path / f"runs{time.monotonic_ns()}", **options)


@pytest.fixture
def training_builder(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a training run."""
    return lambda **options: build_training(tmp_path / f"runs{time.monotonic_ns()}", **options)


@pytest.fixture(scope="session")
def check_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished check of three utterances; tests only read it."""
    return build_check(tmp_path_factory.mktemp("check"))


@pytest.fixture(scope="session")
def training_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished and judged training run; tests only read it."""
    return build_training(tmp_path_factory.mktemp("train"))


@pytest.fixture(scope="session")
def speakers() -> Any:
    """The module beside this file that writes runs of verification and diarization."""
    return _beside("speaker_runs")


@pytest.fixture(scope="session")
def separations() -> Any:
    """The module beside this file that writes runs of separation."""
    return _beside("separation_runs")


def _beside(name: str) -> Any:
    found = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module
