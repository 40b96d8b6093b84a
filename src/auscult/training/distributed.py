"""Data-parallel training over the processes `torchrun` starts (gloo on CPU, nccl on CUDA).

Gradients are reduced by us, once per update and after each process has looked at its own: `DistributedDataParallel` reduces
inside the backward pass, before a process can refuse a bad micro-batch, so one NaN would reach every replica. Sums of
item-weighted gradients are divided by the global number of items, so two processes do exactly what one process does with
twice the accumulation.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor


@dataclass(frozen=True)
class World:
    """The group of processes that train one model.

    Attributes:
        rank: of this process, from 0.
        size: number of processes; 1 means nothing here communicates.
    """

    rank: int = 0
    size: int = 1

    @property
    def main(self) -> bool:
        """Whether this process writes files and draws the progress bar."""
        return self.rank == 0

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Add tensors of one dtype over all processes, in place, as one message."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        for tensor, part in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def any(self, flag: bool, device: torch.device) -> bool:
        """Return whether any process raises a flag."""
        if self.size == 1:
            return flag
        value = torch.tensor(float(flag), device=device)
        distributed.all_reduce(value, op=distributed.ReduceOp.MAX)
        return bool(value.item())

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one dtype by their mean over the processes."""
        self.sum(tensors)
        if self.size > 1:
            for tensor in tensors:
                tensor.div_(self.size)

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Copy tensors from the main process to the others."""
        if self.size > 1:
            for tensor in tensors:
                distributed.broadcast(tensor, src=0)

    def gather(self, value: list[Any]) -> list[Any]:
        """Concatenate lists of plain values over the processes, in rank order."""
        if self.size == 1:
            return value
        parts: list[Any] = [None] * self.size
        distributed.all_gather_object(parts, value)
        return [item for part in parts for item in part]

    def barrier(self) -> None:
        """Wait for every process."""
        if self.size > 1:
            distributed.barrier()


def join_world() -> World:
    """Join the process group `torchrun` announces in the environment; a lone process needs none."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World()
    if not distributed.is_initialized():
        cuda = torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        distributed.init_process_group("nccl" if cuda else "gloo")
    return World(rank=distributed.get_rank(), size=size)


def leave_world(world: World) -> None:
    """Leave the process group."""
    if world.size > 1:
        distributed.destroy_process_group()


def announced_rank() -> int:
    """Return this process's rank as `torchrun` announced it, 0 for a lone process."""
    return int(os.environ.get("RANK", "0"))
