"""Reading checkpoints of clovaai/voxceleb_trainer into `resnetse34v2` and `fast_resnet34`.

Problem: its own loader skips every parameter whose name or shape does not fit, with one line in the log; a network that is half random
then scores like a bad one. Choice: the file says which network it is (names and shapes are enough), every parameter is accounted for,
and a name too many, too few or of another shape is an error. What is left out on purpose is said: the loss (`__L__.`), whose class
weights belong to speakers we do not have, and the front-end's buffers (`torchfb.`), which ours computes.
Three containers exist: {"model_state_dict": ...} (since 2025), {"model": ...} (before 2021, without the prefix `__S__.`) and the bare
dictionary. Only tensors are unpickled (`weights_only`), since a checkpoint from the internet is a program otherwise.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from auscult.errors import UserError, did_you_mean
from auscult.models.speaker_encoder import SpeakerEncoder
from auscult.registry import build

_CONTAINERS = ("model_state_dict", "model")
_WRAPPERS = ("module.", "__S__.")
_LOSS, _FRONT_END = "__L__.", "torchfb."
_SHOWN = 4


def load_voxceleb_trainer(path: str | PathLike[str]) -> tuple[dict[str, Tensor], list[str]]:
    """Read a checkpoint.

    Args:
        path: file written by voxceleb_trainer, of ResNetSE34V2 or ResNetSE34L.

    Returns:
        The state dict for the model that `voxceleb_trainer_section` describes, on the CPU, and a sentence for everything left out.

    Raises:
        UserError: the file cannot be read, is of another network, or parameters are missing, unexpected or of another shape.
    """
    named = _read(Path(path))
    state, loss, front_end = _sorted_out(named)
    notes = []
    if loss:
        notes.append(f"left out {len(loss)} tensors of the loss ({_some(loss)}): its classes are other speakers")
    if front_end:
        notes.append(f"left out {len(front_end)} tensors of the front-end ({_some(front_end)}): voxceleb_mel computes them")
    section = _section(Path(path), named)
    _check(Path(path), state, section)
    if section["name"] == "fast_resnet34" and not front_end:
        notes.append("the file does not say how many mel bins the front-end has; 40 assumed, as published")
    return state, notes


def voxceleb_trainer_section(path: str | PathLike[str]) -> dict[str, Any]:
    """Return the recipe's model section that a checkpoint fits: name, dimensions, channels, pooling and front-end.

    Whether the logarithm was taken (`log_input`) is not in the file; the published models did, and so does the section.

    Raises:
        UserError: the file cannot be read, or is of another network.
    """
    return _section(Path(path), _read(Path(path)))


def _read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint under the names without wrappers."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such checkpoint; give the file that voxceleb_trainer saved") from error
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"{path}: cannot be read as tensors ({reason}); expected a file saved by voxceleb_trainer") from error
    for container in _CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(container), Mapping):
            content = content[container]
            break
    if not isinstance(content, Mapping) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f'{path}: expected tensors by name, or those under "model_state_dict" or "model"; this file holds something else')
    return {_unwrapped(str(key)): value for key, value in content.items()}


def _unwrapped(key: str) -> str:
    while key.startswith(_WRAPPERS):
        key = key.split(".", 1)[1]
    return key


def _sorted_out(named: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Return the encoder's tensors, and the names of those of the loss and of the front-end."""
    loss = [key for key in named if key.startswith(_LOSS)]
    front_end = [key for key in named if key.startswith(_FRONT_END)]
    left_out = {*loss, *front_end}
    return {key: value for key, value in named.items() if key not in left_out}, loss, front_end


def _section(path: Path, named: Mapping[str, Tensor]) -> dict[str, Any]:
    needed = ("conv1.weight", "fc.weight")
    if any(key not in named or named[key].dim() < 2 for key in needed):
        raise UserError(f"{path}: no conv1.weight and fc.weight; expected ResNetSE34V2 or ResNetSE34L of voxceleb_trainer")
    dimensions, inputs = named["fc.weight"].shape
    channels = named["conv1.weight"].shape[0]
    small = "sap_linear.weight" in named
    if small:
        pooled = 8 * channels
        bins = next((value.shape[1] for key, value in named.items() if key.endswith("mel_scale.fb") and value.dim() == 2), 40)
    elif "attention.0.weight" in named:
        pooled = named["attention.0.weight"].shape[1]
        bins = pooled // channels
    else:
        raise UserError(f"{path}: no sap_linear.weight and no attention.0.weight; expected ResNetSE34V2 or ResNetSE34L of voxceleb_trainer")
    return {
        "name": "fast_resnet34" if small else "resnetse34v2",
        "dimensions": dimensions,
        "channels": channels,
        "pooling": "SAP" if inputs == pooled else "ASP",
        "front_end": {"name": "voxceleb_mel", "mel_bins": bins, "pre_emphasis": 0.0 if small else 0.97},
    }


def _check(path: Path, state: Mapping[str, Tensor], section: dict[str, Any]) -> None:
    """Compare names and shapes with those of a new model; the caller's random numbers stay as they are."""
    with torch.random.fork_rng(devices=[]):
        model = cast(SpeakerEncoder, build("model", section, sample_rate=16000))
    expected = {key: value.shape for key, value in model.state_dict().items()}
    missing = [key for key in expected if key not in state]
    unexpected = [f"{key}{did_you_mean(key, expected)}" for key in state if key not in expected]
    both = [(key, tuple(state[key].shape), tuple(shape)) for key, shape in expected.items() if key in state]
    shapes = [f"{key} {found} instead of {shape}" for key, found, shape in both if found != shape]
    problems = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    said = [f"{len(keys)} {what}: {_some(keys)}" for what, keys in problems.items() if keys]
    if said:
        raise UserError(f"{path}: does not fit {section['name']}; {'; '.join(said)}; expected a checkpoint as voxceleb_trainer saves it")


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:_SHOWN]) + (", ..." if len(keys) > _SHOWN else "")
