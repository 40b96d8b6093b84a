"""Run directories of verification and diarization as training and `evaluate` leave them, with planted facts that a report must show."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from auscult.runs.directory import RunDirectory
from auscult.runs.identity import Identity
from auscult.runs.state import State

CLASSES = ("none", "1", "2", "3", "1+2", "1+3", "2+3")
ALARM = "the trained encoder (EER 40.0 %) is no better than mean and deviation of a log-mel picture"


def trials(speakers: int = 6, each: int = 4, calibrated: bool = True, twins: bool = True) -> list[dict[str, Any]]:
    """Every pair of recordings; v0 and v1 are twins: their trials score like target trials, and the last recording of v2 is hoarse."""
    random = np.random.default_rng(5)
    files = [(f"v{one}", f"v{one}-{take}", 1.0 + take) for one in range(speakers) for take in range(each)]
    items = []
    for (first, enrol, seconds), (second, test, other) in combinations(files, 2):
        target = first == second
        score = 0.8 if target or (twins and {first, second} == {"v0", "v1"}) else 0.1
        if target and "v2-3" in (enrol, test):
            score = -0.2
        score += 0.05 * random.standard_normal()
        item = {
            "id": f"{enrol} {test}", "enrol": enrol, "test": test, "target": target, "enrol_speaker": first, "test_speaker": second,
            "enrol_seconds": seconds, "test_seconds": other, "score": score,
            "untrained_score": 0.5 * target + 0.4 * random.standard_normal(),
        }  # fmt: skip
        items.append({**item, "log_likelihood_ratio": 12.0 * (score - 0.5)} if calibrated else item)
    return items


def window(number: int, table: Sequence[Sequence[int]], speakers: int, **changes: Any) -> dict[str, Any]:
    """A record of a window with a table of frames by true and found class; local errors follow from the classes' sizes and names."""
    counts = np.array(table)
    members = [set() if name == "none" else set(name.split("+")) for name in CLASSES]
    pairs = [(members[row], members[column], int(counts[row, column])) for row in range(7) for column in range(7)]
    missed = sum(frames * max(len(true) - len(found), 0) for true, found, frames in pairs)
    false_alarm = sum(frames * max(len(found) - len(true), 0) for true, found, frames in pairs)
    confusion = sum(frames * (min(len(true), len(found)) - len(true & found)) for true, found, frames in pairs)
    return {
        "id": f"meeting{number // 3}@{5 * (number % 3)}.000", "recording": f"meeting{number // 3}", "frames": int(counts.sum()),
        "speakers": speakers, "frame_errors": int(counts.sum() - counts.trace()), "classes": counts.tolist(),
        "silent_frames": int(counts[0].sum()), "single_frames": int(counts[1:4].sum(1).max()), "pair_frames": int(counts[4:].sum(1).max()),
        "missed": missed, "false_alarm": false_alarm, "confusion": confusion,
        "speech": sum(frames * len(true) for true, _, frames in pairs), "one_speaker_errors": 50,
        "loss": 0.1 * number, "order": 0, **changes,
    }  # fmt: skip


def windows() -> list[dict[str, Any]]:
    """Nine windows of three recordings, of 0 to 3 speakers; number 7 is the worst."""
    random, items = np.random.default_rng(1), []
    for number in range(9):
        speakers = number % 4
        table = np.zeros((7, 7), int)
        for name in range(1 if speakers == 0 else speakers + 1):
            table[name, name] = 40
            table[name, int(random.integers(0, 4))] += 160 if number == 7 else 6
        items.append(window(number, table.tolist(), speakers))
    return items


def build_run(
    root: Path, task: str, splits: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]], events: Sequence[dict[str, Any]] = ()
) -> Path:
    """Write a finished training run: records and summary of every split, and a short log with further events."""
    identity = Identity("a" * 64, "b" * 64, {"training/stepper.py": "c0ffee"}, {"python": "3.11"})
    labels = list(CLASSES) if task == "diarization" else ["v0", "v1"]
    run = RunDirectory.create(root, f"{task}-small-0f3a", f"task: {{name: {task}}}\nseed: 0\n", identity, labels, "train")
    log: list[dict[str, Any]] = [{"event": "start", "verb": "train", "task": task, "model": "small", "recipe": {"seed": 0}}]
    log += [
        {
            "event": "step",
            "update": update,
            "loss": 5.0 / update,
            "gradient_norm": 1.0 / update,
            "lr": 0.001,
            "items": 8,
            "accuracy": 0.1 * update,
        }
        for update in range(1, 9)
    ]
    log += [{"event": "checkpoint", "update": 8, "which": "best"}, *events]
    run.events.path.write_text("".join(json.dumps({"time": 1.0, **event}) + "\n" for event in log), encoding="utf-8")
    for split, (items, summary) in splits.items():
        run.write_items(split, items)
        run.write_summary(
            split, {"intervals": {}, "alarms": [], "protocol": {"made": "for a test"}, "split": split, "update": 8, **summary}
        )
    run.set_state(State.RUNNING)
    run.set_state(State.COMPLETE, "budget used")
    return run.path


def verification_run(root: Path, alarms: Sequence[str] = (), events: Sequence[dict[str, Any]] = ()) -> Path:
    """A verification run with a calibrated test split and an uncalibrated validation split."""
    metrics = {"eer": 0.04, "min_dcf_p01": 0.3, "eer_untrained": 0.3, "trials": 276.0, "targets": 36.0}
    summary = {"metrics": metrics, "intervals": {"eer": [0.01, 0.09], "eer_untrained": [0.2, 0.4]}}
    evaluated = [
        {"event": "evaluation", "update": update, "split": "validation", "metrics": {**metrics, "eer": 0.3 / update, "min_cllr": 0.4}}
        for update in (4, 8)
    ]
    splits = {"validation": (trials(calibrated=False), summary), "test": (trials(), {**summary, "alarms": list(alarms)})}
    return build_run(root, "verification", splits, [*evaluated, *events])


def diarization_run(root: Path, events: Sequence[dict[str, Any]] = ()) -> Path:
    """A diarization run with a judged test split."""
    items = windows()
    frames, speech = (sum(item[key] for item in items) for key in ("frames", "speech"))
    metrics = {
        "frame_error": sum(item["frame_errors"] for item in items) / frames, "majority_frame_error": 0.6,
        "local_der_full": sum(item[key] for item in items for key in ("missed", "false_alarm", "confusion")) / speech,
        "one_speaker_local_der": 0.7, "windows": 9.0,
    }  # fmt: skip
    summary = {"metrics": metrics, "intervals": {"frame_error": [0.1, 0.65], "local_der_full": [0.1, 0.6]}}
    return build_run(root, "diarization", {"test": (items, summary)}, events)


def check_run(root: Path, task: str) -> Path:
    """A check of two items: the first learned and right, the second learned and wrong; a task of others logs no measures."""
    identity = Identity("a" * 64, "b" * 64, {"training/stepper.py": "c0ffee"}, {"python": "3.11"})
    labels = list(CLASSES) if task == "diarization" else ["v0", "v1", "v2"]
    run = RunDirectory.create(root, f"{task}-small-check", f"task: {{name: {task}}}\nseed: 0\n", identity, labels, "check")
    front_end = {"name": "LogMel", "bins": 40, "frame_step": 0.01, "sample_rate": 8000}
    log: list[dict[str, Any]] = [
        {"event": "start", "verb": "check", "task": task, "model": "small", "recipe": {}},
        {"event": "model", "parameters": 10, "frame_step": 0.02, "front_end": front_end,
         "parts": [{"name": "fc", "type": "Linear", "parameters": 10, "output_shape": [1, 2], "depth": 1}]},
    ]  # fmt: skip
    sizes = {
        "verification": {"input_frames": 501, "bins": 40, "dimensions": 192, "speakers": 3},
        "diarization": {"input_frames": 501, "bins": 40, "output_frames": 251, "speakers": 2},
    }.get(task, {})
    for index in range(2):
        right = index == 0
        measures: dict[str, float] = {}
        if task == "verification":
            measures = {"accuracy": float(right), "target_similarity": 0.8, "other_similarity": 0.3}
        elif task == "diarization":
            measures = {"frame_error": 0.0 if right else 10 / 251, "local_der_full": 0.0 if right else 0.1}
        log.append(
            {"event": "utterance", "index": index, "id": f"item{index}", "seconds": 5.0, "initial_loss": 2.0, "threshold": 0.1, **sizes}
        )
        for update in range(1, 6):
            log.append(
                {
                    "event": "step",
                    "index": index,
                    "update": update,
                    "loss": 2.0 / 3**update,
                    "gradient_norm": 1.0,
                    "elapsed": 0.1,
                    **measures,
                }
            )
        end = {"event": "utterance_end", "index": index, "id": f"item{index}", "update": 5, "loss": 0.01, "stop_reason": "threshold"}
        log.append({**end, "seconds": 1.0, "right": right if sizes else None, **measures})
        if sizes:
            _arrays(run, index, task, right)
    run.events.path.write_text("".join(json.dumps({"time": 1.0, **event}) + "\n" for event in log), encoding="utf-8")
    run.set_state(State.RUNNING)
    run.set_state(State.COMPLETE, "failed")
    return run.path


def _arrays(run: RunDirectory, index: int, task: str, right: bool) -> None:
    random = np.random.default_rng(index)
    shown: dict[str, Any] = {
        "waveform": random.standard_normal(40_000).astype(np.float32), "sample_rate": np.array(8000),
        "waveform_log_mel": random.standard_normal((501, 40)), "features": random.standard_normal((501, 40)),
    }  # fmt: skip
    if task == "verification":
        shown |= {"cosines": np.array([0.8, 0.3 if right else 0.9, -0.1]), "labels": np.array(["v0", "v1", "v2"]), "target": np.array(0)}
    else:
        true = np.repeat([0, 1, 4], [51, 100, 100])
        probabilities = np.full((251, 7), 0.01)
        probabilities[np.arange(251), true] = 0.9
        if not right:
            probabilities[100:110] = np.eye(7)[2]
        shown |= {"probabilities": probabilities, "classes": true, "labels": np.array(CLASSES)}
    run.arrays_folder.mkdir(parents=True, exist_ok=True)
    np.savez(run.arrays_folder / f"{index}.npz", **shown)
