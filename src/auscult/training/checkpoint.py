"""Checkpoints: everything a run needs to continue exactly, in a file that is either whole or absent.

`torch.load(weights_only=True)` reads them, so a checkpoint cannot run code. The digest of the weights is stored and compared,
because a flipped byte inside a tensor is otherwise loaded without a word.
"""

from __future__ import annotations

import hashlib
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from auscult.errors import UserError
from auscult.runs.files import replace_with
from auscult.specification import Specification

FORMAT = 1


def weights_digest(state: dict[str, Tensor]) -> str:
    """Return a hash over names, shapes, dtypes and bytes of a state dict, in name order."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data if value.numel() else b"")
    return digest.hexdigest()


def save_checkpoint(path: Path, model: dict[str, Tensor], specification: Specification, **parts: Any) -> None:
    """Write a checkpoint atomically.

    Args:
        path: target file.
        model: state dict.
        specification: what the model is for; compared when the checkpoint is loaded.
        parts: further plain state ("optimizer", "training", ...).
    """
    payload = {
        "format": FORMAT,
        "digest": weights_digest(model),
        "specification": specification.to_dict(),
        "model": {name: value.detach().cpu() for name, value in model.items()},
        **parts,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_with(path, lambda file: torch.save(payload, file))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        UserError: the file is missing, not a checkpoint, cut short or damaged.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint; train first, or name another with --checkpoint")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            payload: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        digest = weights_digest(payload["model"])
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise UserError(f"{path}: not a readable checkpoint ({reason}); delete it to continue from another, or restore a copy") from error
    if digest != payload.get("digest"):
        raise UserError(f"{path}: the weights do not match their stored digest, so the file is damaged; restore a copy or delete it")
    if payload.get("format") != FORMAT:
        raise UserError(f"{path}: checkpoint format {payload.get('format')}, expected {FORMAT}; use the auscult version that wrote it")
    return payload


def load_weights(model: nn.Module, payload: dict[str, Any], specification: Specification, path: Path) -> None:
    """Put a checkpoint's weights into a model after checking that they belong together.

    Raises:
        UserError: the label map, the sample rate or the architecture differ; the message says which.
    """
    saved = Specification.from_dict(payload["specification"])
    if saved.labels != specification.labels:
        raise UserError(
            f"{path}: its label map has {len(saved.labels)} labels ({_short(saved.labels)}), this run has {len(specification.labels)} "
            f"({_short(specification.labels)}); use a checkpoint trained with the same alphabet"
        )
    if saved != specification:
        raise UserError(f"{path}: made for {saved.task} at {saved.sample_rate} Hz, this run is {specification.task} at {specification.sample_rate} Hz")
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in payload["model"].items()}
    if expected != found:
        different = sorted(name for name in {**expected, **found} if expected.get(name) != found.get(name))
        first = different[0]
        raise UserError(
            f"{path}: holds another model: {len(different)} of {len(expected)} tensors differ, first {first!r}: "
            f"expected {expected.get(first, 'none')}, found {found.get(first, 'none')}; check the model section"
        )
    model.load_state_dict(payload["model"])


def _short(labels: tuple[str, ...]) -> str:
    text = " ".join(repr(label) for label in labels[:5])
    return text + (" ..." if len(labels) > 5 else "")
