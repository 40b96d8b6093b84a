"""A checkpoint is whole or refused in one sentence, and never taken for another model's."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from auscult.errors import UserError
from auscult.specification import Specification
from auscult.training.checkpoint import content_digest, load_checkpoint, load_weights, save_checkpoint

SPECIFICATION = Specification(task="recognition", sample_rate=8000, labels=("a", "b"), blank=2)


def model(width: int = 300) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(width, 3)


def saved(folder: Path) -> Path:
    one = model()
    optimizer = torch.optim.Adam(one.parameters())
    one(torch.ones(2, 300)).sum().backward()
    optimizer.step()
    path = folder / "checkpoints" / "last.pt"
    save_checkpoint(path, one.state_dict(), SPECIFICATION, update=7, optimizer=optimizer.state_dict(), training={"loader": {"epoch": 1}})
    return path


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    payload = load_checkpoint(saved(tmp_path))
    fresh = nn.Linear(300, 3)
    load_weights(fresh, payload, SPECIFICATION, tmp_path)
    assert payload["update"] == 7
    assert payload["training"] == {"loader": {"epoch": 1}}
    assert not torch.equal(fresh.weight, model().weight)  # one step on
    assert torch.equal(fresh.weight, payload["model"]["weight"])


def position_of(content: bytes, tensor: torch.Tensor) -> int:
    """Return where a tensor's bytes are in a file."""
    found = content.find(tensor.numpy().tobytes())
    assert found > 0
    return found


@pytest.mark.parametrize("part", ["weights", "moments"])
def test_one_flipped_bit_is_seen(tmp_path: Path, part: str) -> None:
    path = saved(tmp_path)
    payload = load_checkpoint(path)
    content = bytearray(path.read_bytes())
    tensor = payload["model"]["weight"] if part == "weights" else payload["optimizer"]["state"][0]["exp_avg_sq"]
    content[position_of(bytes(content), tensor) + 402] ^= 1
    path.write_bytes(content)
    assert torch.load(path, weights_only=True)["update"] == 7  # torch itself says nothing
    with pytest.raises(UserError, match=r"last\.pt: the content does not match its stored digest.*restore a copy"):
        load_checkpoint(path)


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "zip without content", "other pickle"])
def test_what_is_no_checkpoint_is_refused_in_one_sentence(tmp_path: Path, damage: str) -> None:
    path = saved(tmp_path)
    content = path.read_bytes()
    if damage == "other pickle":
        torch.save([1, 2, 3], path)
    else:
        new = {
            "truncated": content[: len(content) // 2],
            "empty": b"",
            "text": b"not a checkpoint",
            "zip without content": b"PK\x05\x06" + b"\0" * 18,
        }
        path.write_bytes(new[damage])
    with pytest.raises(UserError, match=r"last\.pt: not a readable checkpoint") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
            return os.mkdir, (str(tmp_path / "executed"),)

    path = tmp_path / "last.pt"
    torch.save({"format": 2, "digest": "", "model": Evil()}, path)
    with pytest.raises(UserError, match="not a readable checkpoint"):
        load_checkpoint(path)
    assert not (tmp_path / "executed").exists()


def test_a_missing_checkpoint_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "last.pt")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ("a", "c")}, r"its label map has 2 labels \('a' 'b'\), this run has 2 \('a' 'c'\)"),
        ({"sample_rate": 16000}, "at 8000 Hz, this run is recognition at 16000 Hz"),
        ({"task": "verification"}, "made for recognition"),
    ],
)
def test_a_checkpoint_for_something_else_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    from dataclasses import replace

    path = saved(tmp_path)
    with pytest.raises(UserError, match=message):
        load_weights(model(), load_checkpoint(path), replace(SPECIFICATION, **changes), path)


def test_another_architecture_is_refused_with_its_first_difference(tmp_path: Path) -> None:
    path = saved(tmp_path)
    with pytest.raises(
        UserError, match=r"1 of 2 tensors differ, first 'weight': expected \(3, 8\), found \(3, 300\); check the model section"
    ):
        load_weights(model(8), load_checkpoint(path), SPECIFICATION, path)


def test_an_older_format_is_named(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    torch.save({"format": 1, "digest": "x", "model": {}}, path)
    with pytest.raises(UserError, match="checkpoint format 1, expected 2"):
        load_checkpoint(path)


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path)
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"last\.pt: cannot be written \(no space left on device\); free some space"):
        save_checkpoint(path, model().state_dict(), SPECIFICATION, update=8)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["last.pt"]


def test_the_digest_sees_names_shapes_types_and_order_of_lists() -> None:
    base = {"a": torch.zeros(2, 3), "b": [1, 2.5, None], "c": {}}
    same = {"c": {}, "b": [1, 2.5, None], "a": torch.zeros(3, 2).t()}
    assert content_digest(base) == content_digest(same)
    others: list[Any] = [
        {**base, "a": torch.zeros(3, 2)},
        {**base, "a": torch.zeros(2, 3, dtype=torch.int32)},
        {**base, "b": [2.5, 1, None]},
        {**base, "b": [1, 2.5]},
        {**base, "b": ["1", 2.5, None]},
        {"a": base["a"], "b": base["b"], "d": {}},
    ]
    assert len({content_digest(other) for other in [base, *others]}) == len(others) + 1
