"""Checkpoints: everything a run needs to continue exactly, in a file that is either whole or absent.

`torch.load(weights_only=True)` reads them, so a checkpoint cannot run code. A digest of the whole content is stored and
compared, because torch loads a flipped byte inside a tensor without a word, and one in the optimiser's moments would only
show as a run that does not repeat.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from auscult.errors import UserError
from auscult.runs.files import replace_with
from auscult.specification import Specification
from auscult.training.number_formats import plain_name

FORMAT = 2
UNREADABLE = (
    RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError, pickle.UnpicklingError, zipfile.BadZipFile
)  # fmt: skip
"""What `torch.load` raises on files that are no checkpoints."""
REPAIR = "restore a copy of it, or delete it to train from the start"


def content_digest(value: Any) -> int:
    """Return a checksum of nested dicts (in key order), lists, tensors and plain values.

    CRC-32, because it answers to damage and not to malice, and takes a quarter of a second per gigabyte where a cryptographic hash
    takes one: a stop must be saved within seconds.
    """
    return _checksum(value, 0)


def _checksum(value: Any, begun: int) -> int:
    if isinstance(value, Tensor):
        held = value.detach().cpu().contiguous()
        begun = zlib.crc32(f"tensor {tuple(held.shape)} {held.dtype}".encode(), begun)
        return zlib.crc32(held.reshape(-1).view(torch.uint8).numpy().data, begun) if held.numel() else begun
    if isinstance(value, dict):
        begun = zlib.crc32(f"dict {len(value)}".encode(), begun)
        for key in sorted(value, key=repr):
            begun = _checksum(value[key], zlib.crc32(repr(key).encode(), begun))
        return begun
    if isinstance(value, list | tuple):
        begun = zlib.crc32(f"list {len(value)}".encode(), begun)
        for one in value:
            begun = _checksum(one, begun)
        return begun
    return zlib.crc32(f"{type(value).__name__} {value!r}".encode(), begun)


def save_checkpoint(path: Path, model: dict[str, Tensor], specification: Specification, **parts: Any) -> None:
    """Write a checkpoint atomically.

    Args:
        path: target file.
        model: state dict.
        specification: what the model is for; compared when the checkpoint is loaded.
        parts: further plain state ("optimizer", "training", ...).
    """
    weights = {plain_name(name): value.detach().cpu() for name, value in model.items()}
    content = {"specification": specification.to_dict(), "model": weights, **parts}
    payload = {"format": FORMAT, "digest": content_digest(content), **content}
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
        found, stored = payload.pop("format"), payload.pop("digest")
    except UNREADABLE as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise UserError(f"{path}: not a readable checkpoint ({reason}); {REPAIR}") from error
    if found != FORMAT:
        raise UserError(f"{path}: checkpoint format {found}, expected {FORMAT}; use the auscult version that wrote it, or train again")
    if content_digest(payload) != stored:
        raise UserError(f"{path}: the content does not match its stored digest, so the file is damaged; {REPAIR}")
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
        raise UserError(
            f"{path}: made for {saved.task} at {saved.sample_rate} Hz, this run is {specification.task} at {specification.sample_rate} Hz"
        )
    expected = {plain_name(name): tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in payload["model"].items()}
    if expected != found:
        different = sorted(name for name in {**expected, **found} if expected.get(name) != found.get(name))
        first = different[0]
        raise UserError(
            f"{path}: holds another model: {len(different)} of {len(expected)} tensors differ, first {first!r}: "
            f"expected {expected.get(first, 'none')}, found {found.get(first, 'none')}; check the model section"
        )
    own = {plain_name(name): name for name in model.state_dict()}  # a compiled model's tensors have a longer name
    model.load_state_dict({own[name]: value for name, value in payload["model"].items()})


def _short(labels: tuple[str, ...]) -> str:
    text = " ".join(repr(label) for label in labels[:5])
    return text + (" ..." if len(labels) > 5 else "")
