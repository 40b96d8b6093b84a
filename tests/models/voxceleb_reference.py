"""The two residual networks of voxceleb_trainer once more: plain torch, no masks, everything in the obvious place.

What ours are compared with, in values (tests) and in speed (benchmarks). Names of parameters are those of the published checkpoints.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn


class Excitation(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(width, width // 8), nn.ReLU(inplace=True), nn.Linear(width // 8, width), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc(x.mean(dim=(2, 3)))[..., None, None]


class Block(nn.Module):
    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.se = Excitation(width)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or width_in != width:
            self.downsample = nn.Sequential(nn.Conv2d(width_in, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(torch.relu_(self.conv1(x)))
        y = self.se(self.bn2(self.conv2(y)))
        return torch.relu_(y + self.downsample(x))


def stage(width_in: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    return nn.Sequential(*[Block(width_in if i == 0 else width, width, stride if i == 0 else 1) for i in range(blocks)])


def mel_matrix(bins: int) -> Tensor:
    """(257, bins) HTK triangles from 0 to 8000 Hz, straight in hertz."""
    corner = [700.0 * (math.pow(10.0, step * 2595 * math.log10(1 + 8000 / 700) / (bins + 1) / 2595) - 1.0) for step in range(bins + 2)]
    matrix = torch.zeros(257, bins)
    for row in range(257):
        for column in range(bins):
            low, mid, high = corner[column : column + 3]
            hertz = row * 31.25
            matrix[row, column] = max(0.0, min((hertz - low) / (mid - low), (high - hertz) / (high - mid)))
    return matrix


class ReferenceNetwork(nn.Module):
    """ResNetSE34V2 (`large`) or ResNetSE34L, waveforms (batch, samples) to embeddings."""

    def __init__(self, large: bool, dimensions: int = 512, bins: int = 64, deviation: bool = True) -> None:
        super().__init__()
        self.large, self.deviation = large, deviation
        base = 32 if large else 16
        self.conv1 = nn.Conv2d(1, base, 3, padding=1) if large else nn.Conv2d(1, base, 7, stride=(2, 1), padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(base)
        self.layer1 = stage(base, base, 3, 1)
        self.layer2 = stage(base, 2 * base, 4, 2)
        self.layer3 = stage(2 * base, 4 * base, 6, 2)
        self.layer4 = stage(4 * base, 8 * base, 3, 2 if large else 1)
        width = 8 * base * (bins // 8 if large else 1)
        if large:
            layers = (nn.Conv1d(width, 128, 1), nn.ReLU(), nn.BatchNorm1d(128), nn.Conv1d(128, width, 1), nn.Softmax(dim=2))
            self.attention: Any = nn.Sequential(*layers)
        else:
            self.sap_linear = nn.Linear(width, width)
            self.attention = nn.Parameter(torch.randn(width, 1) / math.sqrt(width))
        self.fc = nn.Linear(width * (2 if deviation else 1), dimensions)
        self.register_buffer("mel", mel_matrix(bins), persistent=False)
        self.register_buffer("window", torch.hamming_window(400), persistent=False)

    def features(self, wave: Tensor) -> Tensor:
        """(batch, samples) -> (batch, bins, frames)."""
        if self.large:
            wave = torch.cat((wave[:, :1] - 0.97 * wave[:, 1:2], wave[:, 1:] - 0.97 * wave[:, :-1]), dim=1)
        spectrum = torch.stft(wave, 512, 160, 400, self.window, center=True, pad_mode="reflect", return_complex=True)
        return nn.functional.instance_norm((self.mel.T @ spectrum.abs().square() + 1e-6).log())

    def encode(self, features: Tensor) -> Tensor:
        """(batch, bins, frames) -> embeddings."""
        x = self.conv1(features[:, None])
        x = self.bn1(torch.relu_(x)) if self.large else torch.relu_(self.bn1(x))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        if self.large:
            x = x.flatten(1, 2)
            share = self.attention(x)
        else:
            x = x.mean(dim=2)
            share = (torch.tanh(self.sap_linear(x.mT)) @ self.attention).softmax(dim=1).mT
        mean = (share * x).sum(dim=2)
        if not self.deviation:
            return self.fc(mean)
        return self.fc(torch.cat((mean, ((share * x**2).sum(dim=2) - mean**2).clamp(min=1e-5).sqrt()), dim=1))

    def forward(self, wave: Tensor) -> Tensor:
        with torch.no_grad():
            features = self.features(wave)
        return self.encode(features)


def randomised(network: ReferenceNetwork, seed: int = 0) -> ReferenceNetwork:
    """Random weights and batch statistics that keep activations in range, unlike those of a new network (mean 0, variance 1)."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0, generator=generator)
        elif name.endswith("running_mean") or (tensor.dim() == 1 and name.endswith("bias")):
            tensor.normal_(0.0, 0.2, generator=generator)
        elif tensor.dim() == 1:
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif tensor.is_floating_point() and tensor.dim() > 1:
            tensor.normal_(0.0, 1.0 / math.sqrt(tensor[0].numel() if name != "attention" else len(tensor)), generator=generator)
    return network.eval()


def published_state(network: ReferenceNetwork, classes: int = 10) -> OrderedDict[str, Tensor]:
    """The state dict voxceleb_trainer writes: encoder under `__S__.`, front-end buffers and a loss with class weights."""
    state = OrderedDict((f"__S__.{key}", value.clone()) for key, value in network.state_dict().items())
    prefix = "__S__.torchfb.1." if network.large else "__S__.torchfb."
    if network.large:
        state["__S__.torchfb.0.flipped_filter"] = torch.tensor([[[-0.97, 1.0]]])
    state[prefix + "spectrogram.window"] = torch.hamming_window(400)
    state[prefix + "mel_scale.fb"] = mel_matrix(network.mel.shape[1])
    state["__L__.weight"] = torch.randn(classes, network.fc.out_features)
    return state
