"""Training steps of the separators against those of Asteroid and SpeechBrain, of the same size.

    python benchmarks/separators.py [--repeats 5] [--json]

A step is forward and backward of the whole model, waveform to waveform, with the same number of parameters on both sides (asserted).
Both take turns in one process on one thread; medians of process CPU time. Asteroid and SpeechBrain need only be importable: what
they import and do not use here (torchaudio, ruamel.yaml, requests) is stood in for. Exits 1 when a promise is missed.

The rows under `mini` are the networks of `recipes/separation/*_mini.yaml`: what one step of 8 x 3 s at 8 kHz takes, in turn as well.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from auscult.registry import build
from auscult.specification import Specification
from shared_parts.absent import stand_in_for
from shared_parts.timing import median_seconds

RATE = 8000
LEAST = 1.0
"""Least ratio of the alternative's time to ours."""

SMALL = {"filters": 128, "bottleneck": 64, "hidden": 128, "skip": 64, "blocks": 6, "repeats": 2}
WITHOUT_SKIP = {"filters": 256, "bottleneck": 256, "repeats": 4, "skip": 0, "bias": False, "mask": "relu"}
MINI = ("conv_tasnet", "dprnn", "sepformer")
"""Models whose small recipe is timed: `recipes/separation/<name>_mini.yaml`."""


def ours(name: str, **arguments: Any) -> nn.Module:
    model: nn.Module = build("model", {"name": name, **arguments}, specification=Specification("separation", RATE, sources=2))
    return model


def asteroid_conv_tasnet(**arguments: Any) -> nn.Module:
    from asteroid.models import ConvTasNet

    return ConvTasNet(n_src=2, mask_act="sigmoid", **arguments)  # type: ignore[no-any-return]


def asteroid_dprnn(**arguments: Any) -> nn.Module:
    from asteroid.models import DPRNNTasNet

    return DPRNNTasNet(n_src=2, n_filters=64, mask_act="relu", rnn_type="LSTM", **arguments)  # type: ignore[no-any-return]


class SpeechBrainConvTasNet(nn.Module):
    """SpeechBrain's three parts of Conv-TasNet, as its recipes put them together."""

    def __init__(self) -> None:
        super().__init__()
        from speechbrain.lobes.models.conv_tasnet import Decoder, Encoder, MaskNet

        self.encoder, self.decoder = Encoder(16, 256), Decoder(16, 256)
        self.masks = MaskNet(256, 256, 512, 3, 8, 4, 2, norm_type="gLN", causal=False, mask_nonlinear="relu")

    def forward(self, mixture: Tensor) -> Tensor:
        """(batch, time) -> (batch, time, sources)."""
        encoded = self.encoder(mixture)
        batch, frames, filters = encoded.shape
        masks = self.masks(encoded.permute(0, 2, 1).reshape(batch, filters, frames))
        return self.decoder(encoded, masks.permute(1, 3, 0, 2))  # type: ignore[no-any-return]


def speechbrain_sepformer() -> nn.Module:
    from speechbrain.lobes.models.dual_path import SepformerWrapper

    return SepformerWrapper()  # type: ignore[no-any-return]


Case = tuple[str, Callable[[], nn.Module], Callable[[], nn.Module], tuple[int, float]]
CASES: list[Case] = [
    ("conv_tasnet 5.05M / asteroid", lambda: ours("conv_tasnet"), asteroid_conv_tasnet, (2, 1.0)),
    ("conv_tasnet 8.71M / speechbrain", lambda: ours("conv_tasnet", **WITHOUT_SKIP), SpeechBrainConvTasNet, (2, 1.0)),
    (
        "conv_tasnet 0.31M / asteroid",
        lambda: ours("conv_tasnet", **SMALL),
        lambda: asteroid_conv_tasnet(n_filters=128, bn_chan=64, hid_chan=128, skip_chan=64, n_blocks=6, n_repeats=2),
        (4, 2.0),
    ),
    (
        "dprnn 2.61M k16 / asteroid",
        lambda: ours("dprnn", kernel=16, stride=8, chunk=100),
        lambda: asteroid_dprnn(bn_chan=64, kernel_size=16, stride=8, chunk_size=100),
        (2, 1.0),
    ),
    (
        "dprnn 2.61M k2 / asteroid",
        lambda: ours("dprnn"),
        lambda: asteroid_dprnn(bn_chan=64, kernel_size=2, stride=1, chunk_size=250),
        (1, 0.5),
    ),
    ("sepformer 25.7M / speechbrain", lambda: ours("sepformer"), speechbrain_sepformer, (1, 0.5)),
]


def size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def step_of(model: nn.Module, batch: int, seconds: float) -> Callable[[], None]:
    mixture = 0.1 * torch.randn(batch, int(seconds * RATE))

    def step() -> None:
        model.zero_grad()
        model(mixture).square().mean().backward()

    return step


def compare(case: Case, repeats: int) -> dict[str, float]:
    """Seconds of a step, the alternative's, and the ratio of the two."""
    _, make, make_other, shape = case
    torch.manual_seed(0)
    model, other = make(), make_other()
    difference = abs(size(model) - size(other)) / size(model)
    assert difference < 0.003, f"{size(model):,} and {size(other):,} parameters are no networks of the same size"
    mine, theirs = median_seconds(step_of(model, *shape), step_of(other, *shape), repeats=repeats, warm_up=1)
    return {"parameters": size(model), "other_parameters": size(other), "seconds": mine, "other_seconds": theirs, "ratio": theirs / mine}


def mini(repeats: int) -> dict[str, dict[str, float]]:
    """Parameters and seconds of a step of the network of each small recipe."""
    folder = Path(__file__).resolve().parents[1] / "recipes" / "separation"
    sections = [yaml.safe_load((folder / f"{name}_mini.yaml").read_text(encoding="utf-8"))["model"] for name in MINI]
    models = {section["name"]: ours(**section) for section in sections}
    seconds = median_seconds(*(step_of(model, 8, 3.0) for model in models.values()), repeats=repeats, warm_up=1)
    return {label: {"parameters": size(model), "seconds": taken} for (label, model), taken in zip(models.items(), seconds, strict=True)}


def main() -> int:
    parser = argparse.ArgumentParser(description="Training steps of separators against Asteroid and SpeechBrain.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    stand_in_for("torchaudio", "ruamel", "requests")
    rows: dict[str, dict[str, float]] = {}
    absent: list[str] = []
    for case in CASES:
        try:
            rows[case[0]] = compare(case, arguments.repeats)
        except ImportError as error:
            absent.append(f"{case[0]}: cannot be imported ({error}); pip install --no-deps asteroid asteroid-filterbanks speechbrain")
    small = mini(arguments.repeats)
    missed = [label for label, row in rows.items() if row["ratio"] < LEAST]
    if arguments.json:
        print(json.dumps({"steps": rows, "mini": small, "absent": absent, "missed": missed}, indent=2))
        return int(bool(missed))
    for label, row in rows.items():
        verdict = " MISSED" if label in missed else ""
        print(f"{label:34} {row['seconds']:7.3f} s {row['other_seconds']:7.3f} s  ratio {row['ratio']:5.2f} >= {LEAST:g}{verdict}")
    for label, row in small.items():
        print(f"mini {label:29} {row['parameters']:9,.0f} parameters {row['seconds']:7.3f} s for 8 x 3 s")
    print("\n".join([*absent, f"median process time, one thread, {arguments.repeats} repeats in turn; torch {torch.__version__}"]))
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
