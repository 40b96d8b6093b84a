"""What a differentially private update of DeepSpeech 2 costs: against a plain one, and against Opacus with its own recurrent layer.

Run `python benchmarks/dp_training.py [--json] [--repeats N] [--only TEXT]`. A step is forward, backward, clipping per utterance and the
clipped sum; neither noise nor optimiser, which are the same everywhere. The rival is the same network of `opacus.layers.DPGRU`, torch's
convolutions and group norm in Opacus' `GradSampleModule`, with the same weights, on utterances of one length (torch's group norm counts
padding); norms of the gradients of all utterances must agree. Variants alternate in one process, medians of process CPU time on one thread.
Memory is the growth of the peak of a process of its own over what it held before the first step. Exit code 1 if a promise is missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auscult.audio.front_end import Features
from auscult.models.deepspeech2 import DeepSpeech2
from auscult.testing.models import FramedSamples, english_specification
from auscult.training.dp_gradients import recording
from auscult.training.dp_step import clipping_factors
from shared_parts.timing import median_seconds

CLIP, SYMBOLS = 1.0, 20


class Shape(NamedTuple):
    """Of a network and its batch."""

    hidden: int
    layers: int
    channels: int
    frames: int
    batch: int

    def __str__(self) -> str:
        return f"{self.layers} layers of {self.hidden}, {self.channels} channels, {self.frames} frames, batch {self.batch}"


SHAPES = [Shape(128, 2, 8, 112, 16), Shape(400, 3, 32, 112, 8), Shape(800, 5, 32, 112, 4)]
PROMISES = {"private / plain": 1.5, "opacus / private": 1.5}
"""Time of a private step over a plain one, at most; time of Opacus' over ours, at least."""


class OpacusDeepSpeech2(nn.Module):
    """The same network of layers that Opacus knows."""

    def __init__(self, model: DeepSpeech2, shape: Shape) -> None:
        from opacus.layers import DPGRU

        super().__init__()
        self.conv = nn.ModuleList(
            nn.Conv2d(one.in_channels, one.out_channels, one.kernel_size, one.stride, one.padding) for one in model.conv
        )  # type: ignore[union-attr, arg-type]
        self.rnn = nn.ModuleList(DPGRU(one.input_size, shape.hidden, bias=False, bidirectional=True) for one in model.rnn)  # type: ignore[union-attr, arg-type]
        self.bn = nn.ModuleDict({name: nn.GroupNorm(one.groups, one.channels) for name, one in model.bn.items()})  # type: ignore[union-attr, arg-type]
        self.fc = nn.Linear(shape.hidden, model.classes, bias=False)
        for name, part in self.named_children():
            for mine, theirs in zip(_leaves(part), _leaves(getattr(model, name)), strict=True):
                mine.load_state_dict(theirs.state_dict())  # DPGRU takes the names of nn.GRU only when it is asked itself

    def forward(self, features: Tensor) -> Tensor:
        """(batch, frames, bins) -> logits (batch, output frames, classes)."""
        planes = features.transpose(1, 2).unsqueeze(1)
        for number, convolution in enumerate(self.conv):
            planes = F.hardtanh(self.bn[f"conv_{number}"](convolution(planes)), 0.0, 20.0)
        values = planes.flatten(1, 2).permute(2, 0, 1).contiguous()  # (frames, batch, size)
        for number, layer in enumerate(self.rnn):
            if number:
                values = self.bn[f"rnn_{number}"](values.permute(1, 2, 0)).permute(2, 0, 1)
            forward, backward = layer(values)[0].chunk(2, dim=-1)
            values = forward + backward
        logits: Tensor = self.fc(self.bn["fc"](values.permute(1, 2, 0)).transpose(1, 2))
        return logits


def _leaves(part: nn.Module) -> list[nn.Module]:
    return list(part.values() if isinstance(part, nn.ModuleDict) else part if isinstance(part, nn.ModuleList) else [part])


def build(shape: Shape) -> tuple[DeepSpeech2, Tensor]:
    torch.manual_seed(0)
    model = DeepSpeech2(
        english_specification(), FramedSamples(257), [], hidden=shape.hidden, layers=shape.layers, channels=shape.channels, norm="group"
    )
    return model, torch.randn(shape.batch, shape.frames, 257)


def sum_of_losses(logits: Tensor) -> Tensor:
    batch, frames, _ = logits.shape
    target = torch.arange(SYMBOLS).repeat(batch, 1)
    lengths = torch.full((batch,), frames), torch.full((batch,), SYMBOLS)
    return F.ctc_loss(logits.log_softmax(-1).transpose(0, 1), target, *lengths, blank=28, reduction="sum")


def loss_of(model: DeepSpeech2, features: Tensor) -> Tensor:
    return sum_of_losses(model.encode(Features(features, torch.full((len(features),), features.shape[1]))).logits)


def plain(shape: Shape) -> Callable[[], Tensor]:
    model, features = build(shape)

    def step() -> Tensor:
        model.zero_grad()
        loss_of(model, features).backward()
        return torch.zeros(0)

    return step


def private(shape: Shape) -> Callable[[], Tensor]:
    model, features = build(shape)

    def step() -> Tensor:
        with recording(model) as gradients:
            loss = loss_of(model, features)
        loss.backward()
        norms = gradients.norms()
        factors = clipping_factors(norms, CLIP).float()
        for parameter in model.parameters():
            parameter.grad = gradients.weighted_sum(parameter, factors)
        return norms

    return step


def rival(shape: Shape) -> Callable[[], Tensor]:
    from opacus.grad_sample import GradSampleModule

    model, features = build(shape)
    wrapped: Any = GradSampleModule(OpacusDeepSpeech2(model, shape), loss_reduction="sum")

    def step() -> Tensor:
        wrapped.zero_grad(set_to_none=True)
        sum_of_losses(wrapped(features)).backward()
        parameters = list(wrapped.parameters())
        norms = torch.stack([one.grad_sample.flatten(1).norm(dim=1) for one in parameters]).norm(dim=0)
        factors = clipping_factors(norms, CLIP)
        for one in parameters:
            one.grad = torch.einsum("i,i...", factors, one.grad_sample)
            one.grad_sample = None
        return norms

    return step


VARIANTS = {"plain": plain, "private": private, "opacus": rival}


def measure(shape: Shape, repeats: int, names: list[str]) -> dict[str, float]:
    steps = {name: VARIANTS[name](shape) for name in names}
    found = {}
    if "opacus" in steps:
        ours, theirs = steps["private"]().double(), steps["opacus"]().double()
        found["relative difference of norms"] = float(((ours - theirs) / theirs).abs().max())
    seconds = dict(zip(names, median_seconds(*steps.values(), repeats=repeats, warm_up=1), strict=True))
    memory = {name: peak_memory(name, shape) for name in names}
    found |= {f"{name} ms": 1000 * value for name, value in seconds.items()} | {f"{name} MB": value for name, value in memory.items()}
    found |= {"private / plain": seconds["private"] / seconds["plain"], "memory, private / plain": memory["private"] / memory["plain"]}
    if "opacus" in seconds:
        found |= {
            "opacus / private": seconds["opacus"] / seconds["private"],
            "memory, opacus / private": memory["opacus"] / memory["private"],
        }
    return found


def peak_memory(name: str, shape: Shape) -> float:
    """Return the growth of the peak memory of a fresh process over two steps, in MB."""
    command = [sys.executable, __file__, "--memory", name, *map(str, shape)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def memory_of(name: str, shape: Shape) -> None:
    step = VARIANTS[name](shape)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts over here; that of `getrusage` is the parent's after a fork
    before = _status("VmRSS")
    step()
    step()
    print((_status("VmHWM") - before) / 1024)


def _status(key: str) -> int:
    """Return a line of the kernel's account of this process, in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def main() -> int:
    torch.set_num_threads(1)
    if "--memory" in sys.argv:
        place = sys.argv.index("--memory")
        memory_of(sys.argv[place + 1], Shape(*map(int, sys.argv[place + 2 :])))
        return 0
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", help="measure only shapes whose description contains this text")
    options = parser.parse_args()
    names = list(VARIANTS)
    try:
        import opacus  # noqa: F401

        warnings.filterwarnings("ignore", "Full backward hook is firing")
    except ImportError:
        print("not compared with Opacus: pip install opacus==1.6.0", file=sys.stderr)
        names.remove("opacus")
    results = {str(shape): measure(shape, options.repeats, names) for shape in SHAPES if options.only in str(shape)}
    missed = [f"{shape}: {key}" for shape, found in results.items() for key in PROMISES if key in found and is_missed(key, found[key])]
    missed += [f"{shape}: norms differ" for shape, found in results.items() if found.get("relative difference of norms", 0.0) > 1e-3]
    if options.json:
        print(json.dumps({"results": results, "promises": PROMISES, "missed": missed}, indent=1))
    else:
        for shape, found in results.items():
            print(shape + ": " + ", ".join(f"{key} {value:.3g}" for key, value in found.items()))
        print("missed: " + ("; ".join(missed) or "nothing"))
    return 1 if missed else 0


def is_missed(key: str, value: float) -> bool:
    return value > PROMISES[key] if key == "private / plain" else value < PROMISES[key]


if __name__ == "__main__":
    sys.exit(main())
