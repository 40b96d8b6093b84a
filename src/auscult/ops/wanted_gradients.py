"""Which gradients a backward pass is going to use.

Problem: `needs_input_grad` of a Python autograd function was settled in the forward pass. A weight that requires a gradient has its product
computed even if `torch.autograd.grad` asks for the features alone, as every attack on gradients does at every iteration; native functions
know better, because they ask the engine. Choice: ask it too. The question has no public name in torch, so whatever it cannot answer counts
as wanted: a gradient too many costs time, one too few would be wrong.
"""

from __future__ import annotations

from typing import Any

import torch


def wanted_gradients(context: Any) -> tuple[bool, ...]:
    """Return for each argument of a function's `forward` whether its gradient will be used; call it inside `backward`.

    Args:
        context: of the function. Among the arguments of its `forward`, tensors come first; what may be None or no tensor comes last.
    """
    edges = [node for node, _ in context.next_functions]
    edges += [None] * (len(context.needs_input_grad) - len(edges))
    return tuple(needed and _will_run(edge) for needed, edge in zip(context.needs_input_grad, edges, strict=True))


def _will_run(node: Any) -> bool:
    ask = getattr(torch._C, "_will_engine_execute_node", None)
    if ask is None or node is None:
        return True
    try:
        return bool(ask(node))
    except RuntimeError:  # a leaf whose gradient `torch.autograd.grad` was asked for
        return True
