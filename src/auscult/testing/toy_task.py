"""A task of a few numbers, for tests of everything that must not care what a task is about.

The model has a batch norm on purpose: a trainer that only skips bad steps passes every test without one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from auscult.data.audit_report import AuditReport
from auscult.specification import Specification
from auscult.tasks.base import Item, Loss, Task


@dataclass(frozen=True)
class ToyBatch:
    """features (batch, dimensions) float32, targets (batch,) float32."""

    features: Tensor
    targets: Tensor
    ids: tuple[str, ...]

    def to(self, device: Any) -> ToyBatch:
        """Return the batch on a device."""
        return ToyBatch(self.features.to(device), self.targets.to(device), self.ids)

    def select(self, indices: Sequence[int]) -> ToyBatch:
        """Return some items."""
        chosen = list(indices)
        return ToyBatch(self.features[chosen], self.targets[chosen], tuple(self.ids[index] for index in chosen))


class ToyTask(Task):
    """Regression of a linear function."""

    primary_metric = "error"
    dimensions = 8

    def __init__(self, batch_norm: bool = True) -> None:
        self.batch_norm = batch_norm
        self.data_hash = "toy"
        self.specification = Specification(task="toy", sample_rate=8000)

    def build_model(self) -> nn.Module:
        """Linear, (batch norm,) ReLU, linear."""
        middle: list[nn.Module] = [nn.BatchNorm1d(16)] if self.batch_norm else []
        return nn.Sequential(nn.Linear(self.dimensions, 16), *middle, nn.ReLU(), nn.Linear(16, 1))

    def batch(self, index: int, items: int = 4) -> ToyBatch:
        """Return batch number `index` of an endless, deterministic sequence."""
        random = np.random.default_rng(index)
        features = torch.from_numpy(random.standard_normal((items, self.dimensions)).astype(np.float32))
        return ToyBatch(features, features.sum(1), tuple(f"batch{index}-item{item}" for item in range(items)))

    def cuts(self, split: str) -> Any:
        """Have no cuts."""
        raise KeyError(split)

    def audit(self, audio: bool = True, progress: Any = None) -> AuditReport:
        """Find nothing."""
        return AuditReport({}, (), audio)

    def collate(self, cuts: Sequence[Any], random: Sequence[np.random.Generator] | None = None) -> ToyBatch:
        """Return the batches with the given numbers, joined."""
        batches = [self.batch(int(cut), 1) for cut in cuts]
        return ToyBatch(
            torch.cat([one.features for one in batches]), torch.cat([one.targets for one in batches]), tuple(one.ids[0] for one in batches)
        )

    def loss(self, model: nn.Module, batch: ToyBatch) -> Loss:
        """Mean squared error."""
        return Loss(nn.functional.mse_loss(model(batch.features).float()[:, 0], batch.targets), len(batch.ids))

    def judge(self, model: nn.Module, batch: ToyBatch) -> list[Item]:
        """One squared error per item."""
        errors = (model(batch.features)[:, 0] - batch.targets) ** 2
        return [{"id": one, "error": float(error)} for one, error in zip(batch.ids, errors, strict=True)]

    def summarise(self, items: Sequence[Item]) -> dict[str, float]:
        """Mean squared error."""
        return {"error": float(np.mean([item["error"] for item in items]))}
