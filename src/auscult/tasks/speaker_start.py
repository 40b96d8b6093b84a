"""Starting a run from trained weights: large-margin fine-tuning, or a published network.

Fine-tuning needs the class weights too: rows of speakers that both runs have are taken over by name, never by position, because a label
map with one more speaker shifts every row behind it (the new run would start with everybody's weights exchanged, and its loss would
not say so).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from auscult.errors import UserError
from auscult.models.voxceleb_trainer import load_voxceleb_trainer
from auscult.runs.directory import RunDirectory

WEIGHTS = "model.safetensors"
ENCODER = "encoder."


def start_from_run(model: nn.Module, start: Path, labels: tuple[str, ...]) -> list[str]:
    """Put trained weights into a speaker network.

    Args:
        model: a `SpeakerNetwork`, changed in place.
        start: a run directory with finished weights, or a checkpoint of voxceleb_trainer.
        labels: the training speakers of the new run, in class order.

    Returns:
        Sentences about what was taken over and what was not.

    Raises:
        UserError: no weights, or those of another encoder.
    """
    if not start.is_dir():
        weights, notes = load_voxceleb_trainer(start)
        return [_load_encoder(model, weights, start), *notes]
    path = start / WEIGHTS
    if not path.is_file():
        raise UserError(f"{start}: holds no {WEIGHTS}; task.start_from needs a finished run")
    held = load_file(path)
    taken = _load_encoder(model, {name.removeprefix(ENCODER): value for name, value in held.items() if name.startswith(ENCODER)}, path)
    return [taken, _take_rows(model, held, RunDirectory.open(start).labels or (), labels)]


def _load_encoder(model: nn.Module, weights: dict[str, Tensor], path: Path) -> str:
    encoder: nn.Module = model.encoder  # type: ignore[assignment]
    expected = {name: tuple(value.shape) for name, value in encoder.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    different = sorted(name for name in {**expected, **found} if expected.get(name) != found.get(name))
    if different:
        first = different[0]
        raise UserError(
            f"{path}: holds another encoder: {len(different)} tensors differ, first {first!r}: expected {expected.get(first, 'none')}, "
            f"found {found.get(first, 'none')}; use the model section of the run it comes from"
        )
    encoder.load_state_dict(weights)
    return f"encoder starts with the weights of {path}"


def _take_rows(model: nn.Module, held: dict[str, Tensor], earlier: tuple[str, ...], labels: tuple[str, ...]) -> str:
    """Take over, by speaker, every class weight of the same name and width; a speaker may have several rows (sub-centres)."""
    rows = {label: row for row, label in enumerate(earlier)}
    shared = [(new, rows[label]) for new, label in enumerate(labels) if label in rows]
    criterion: nn.Module = model.criterion  # type: ignore[assignment]
    taken = 0
    with torch.no_grad():
        for name, value in criterion.named_parameters():
            source = held.get(f"criterion.{name}")
            if source is None or not value.dim() or not shared or value.shape[0] % len(labels):
                continue
            each = value.shape[0] // len(labels)
            if source.shape == (each * len(earlier), *value.shape[1:]):
                new, old = map(list, zip(*shared, strict=True))
                value.unflatten(0, (len(labels), each))[new] = source.unflatten(0, (len(earlier), each))[old]  # type: ignore[no-untyped-call]
                taken = len(shared)
    return f"class weights of {taken} of {len(labels)} speakers are taken over by name"


def weights_digest(weights: Path | nn.Module) -> str:
    """Return a hash of trained weights: of a module, of a finished run, or of a checkpoint file."""
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(weights, nn.Module):
        for name, value in sorted(weights.state_dict().items()):
            held = value.detach().cpu().contiguous()
            digest.update(f"{name} {tuple(held.shape)} {held.dtype}".encode())
            if held.numel():
                digest.update(held.reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()
    path = weights / WEIGHTS if weights.is_dir() else weights
    if not path.is_file():
        raise UserError(f"{path}: no such file; task.start_from needs a finished run or a checkpoint")
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
