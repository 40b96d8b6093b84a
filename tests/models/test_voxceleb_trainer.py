"""Checkpoints as voxceleb_trainer writes them, from a network written independently, give the same embeddings in ours."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from auscult.audio.reading import read_audio
from auscult.errors import UserError
from auscult.models.speaker_encoder import SpeakerEncoder
from auscult.models.voxceleb_trainer import load_voxceleb_trainer, voxceleb_trainer_section
from auscult.registry import build


def _reference() -> Any:
    specification = importlib.util.spec_from_file_location("voxceleb_reference", Path(__file__).with_name("voxceleb_reference.py"))
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


reference = _reference()

CONTAINERS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "new": lambda state: {"model_state_dict": state, "optimizer_state_dict": {"state": {}, "param_groups": []}, "epoch": 7},
    "old": lambda state: {"model": {key.removeprefix("__S__."): value for key, value in state.items() if not key.startswith("__L__")}},
    "bare": lambda state: state,
    "parallel": lambda state: {f"module.{key}": value for key, value in state.items()},
}


def network(name: str, **arguments: object) -> Any:
    large = name == "resnetse34v2"
    return reference.randomised(reference.ReferenceNetwork(large, **{"bins": 64 if large else 40, "deviation": large, **arguments}))


def loaded(path: Path) -> SpeakerEncoder:
    encoder: SpeakerEncoder = build("model", voxceleb_trainer_section(path), sample_rate=16000)
    encoder.load_state_dict(load_voxceleb_trainer(path)[0])
    return encoder.eval()


def voices(data_pack: Path) -> list[Tensor]:
    recordings, lengths = sorted((data_pack / "librispeech_1utt").rglob("*.flac"))[:3], (48240, 32240, 9000)
    return [torch.from_numpy(read_audio(path)[0][4000 : 4000 + length]) for path, length in zip(recordings, lengths, strict=True)]


@pytest.mark.parametrize("name", ["resnetse34v2", "fast_resnet34"])
def test_same_embeddings_as_the_published_network(tmp_path: Path, data_pack: Path, name: str) -> None:
    published, path = network(name), tmp_path / "checkpoint.model"
    torch.save(CONTAINERS["new"](reference.published_state(published)), path)
    encoder, waves = loaded(path), voices(data_pack)
    padded = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)
    with torch.no_grad():
        ours = encoder(padded, torch.tensor([len(wave) for wave in waves]))
        theirs = torch.cat([published(wave[None]) for wave in waves])
    # embeddings of a random network are all alike; what is left without their common part differs, so that agreement means something
    common = theirs.mean(0)
    assert float(torch.cosine_similarity(theirs[:1] - common, theirs[1:] - common).max()) < 0.9
    assert float(torch.cosine_similarity(ours - common, theirs - common).min()) >= 0.9999
    assert float(torch.cosine_similarity(ours, theirs).min()) >= 0.9999
    encoder.front_end.pre_emphasis = 0.5  # type: ignore[assignment]
    with torch.no_grad():
        wrong = encoder(padded, torch.tensor([len(wave) for wave in waves]))
    assert float(torch.cosine_similarity(wrong - common, theirs - common).min()) < 0.9999


@pytest.mark.parametrize("container", sorted(CONTAINERS))
def test_every_container(tmp_path: Path, container: str) -> None:
    published, path = network("fast_resnet34", dimensions=32), tmp_path / "model000000001.model"
    torch.save(CONTAINERS[container](reference.published_state(published)), path)
    state, notes = load_voxceleb_trainer(path)
    assert torch.equal(state["sap_linear.weight"], published.sap_linear.weight)
    assert not any(key.startswith(("__", "module", "torchfb")) for key in state)
    assert any("front-end" in note for note in notes)
    assert any("__L__.weight" in note for note in notes) == (container != "old")


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("resnetse34v2", {"dimensions": 256, "bins": 40}, {"pooling": "ASP", "dimensions": 256, "mel_bins": 40, "pre_emphasis": 0.97}),
        ("resnetse34v2", {"deviation": False}, {"pooling": "SAP", "dimensions": 512, "mel_bins": 64, "pre_emphasis": 0.97}),
        ("fast_resnet34", {"bins": 64}, {"pooling": "SAP", "dimensions": 512, "mel_bins": 64, "pre_emphasis": 0.0}),
        ("fast_resnet34", {"deviation": True}, {"pooling": "ASP", "dimensions": 512, "mel_bins": 40, "pre_emphasis": 0.0}),
    ],
)
def test_the_file_says_which_network_it_is(tmp_path: Path, name: str, arguments: dict[str, Any], expected: dict[str, Any]) -> None:
    path = tmp_path / "checkpoint.model"
    torch.save(reference.published_state(network(name, **arguments)), path)
    section = voxceleb_trainer_section(path)
    assert section["name"] == name
    assert {key: {**section, **section["front_end"]}[key] for key in expected} == expected
    loaded(path)


def damaged(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    state = reference.published_state(network("fast_resnet34", dimensions=32))
    change(state)
    torch.save(state, path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("__S__.layer2.1.bn2.running_var"), r"1 missing: layer2\.1\.bn2\.running_var"),
        (lambda state: state.update({"__S__.layer5.weight": torch.ones(1)}), r"1 unexpected: layer5\.weight"),
        (lambda state: state.update({"__S__.sap_linear.bias": torch.ones(7)}), r"sap_linear\.bias \(7,\) instead of \(128,\)"),
        (lambda state: state.pop("__S__.fc.weight"), "expected ResNetSE34V2 or ResNetSE34L"),
    ],
)
def test_a_parameter_that_does_not_fit_is_an_error(tmp_path: Path, change: Callable[[dict[str, Tensor]], object], said: str) -> None:
    path = tmp_path / "checkpoint.model"
    damaged(path, change)
    with pytest.raises(UserError, match=said):
        load_voxceleb_trainer(path)


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such checkpoint"):
        load_voxceleb_trainer(tmp_path / "absent.model")
    text = tmp_path / "text.model"
    text.write_text("not a checkpoint")
    with pytest.raises(UserError, match="cannot be read"):
        load_voxceleb_trainer(text)
    torch.save({"epoch": 3}, tmp_path / "numbers.model")
    with pytest.raises(UserError, match="holds something else"):
        load_voxceleb_trainer(tmp_path / "numbers.model")


class Payload:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("was_here"),))


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Payload()}, tmp_path / "evil.model")
    with pytest.raises(UserError, match="cannot be read"):
        load_voxceleb_trainer(tmp_path / "evil.model")
    assert not (tmp_path / "was_here").exists()
