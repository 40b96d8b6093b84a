"""Where the numbers live and how wide they are: device, autocast, loss scale, determinism, threads.

The scaler is our own twenty lines rather than `torch.amp.GradScaler`: the stepper has already measured the gradient norm, and
must decide between "the scale is too high" (normal) and "the loss is not finite" (a fault), which the stock scaler cannot tell apart.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch

from auscult.errors import UserError

if TYPE_CHECKING:
    from auscult.recipe import Precision

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class LossScale:
    """Dynamic loss scale for float16: halved when gradients overflow, doubled after `growth_interval` good updates.

    Attributes:
        value: current scale; 1 and fixed unless `enabled`.
    """

    floor = 2.0**-10

    def __init__(self, enabled: bool, value: float = 2.0**14, growth_interval: int = 1000) -> None:
        self.enabled = enabled
        self.value = value if enabled else 1.0
        self.growth_interval = growth_interval
        self.good = 0

    @property
    def can_fall(self) -> bool:
        """Whether the scale has somewhere left to go; if not, an overflow is a fault."""
        return self.enabled and self.value / 2 >= self.floor

    def fall(self) -> None:
        """Halve the scale after an overflow."""
        self.value, self.good = self.value / 2, 0

    def switch_off(self) -> None:
        """Scale no more."""
        self.enabled, self.value, self.good = False, 1.0, 0

    def succeeded(self) -> None:
        """Count a good update."""
        self.good += 1
        if self.enabled and self.good >= self.growth_interval:
            self.value, self.good = self.value * 2, 0

    def state_dict(self) -> dict[str, float]:
        """Return scale and growth counter."""
        return {"value": self.value, "good": self.good}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continue from `state_dict`; a scale that was switched off meanwhile stays off."""
        if self.enabled:
            self.value, self.good = float(state["value"]), int(state["good"])


class Arithmetic:
    """The device and number format of one run.

    Attributes:
        device: where the model lives.
        compute: autocast dtype; float32 means no autocast. Falls to float32 for good when the sentinel asks.
        scale: loss scale, active for float16 only.
    """

    def __init__(self, precision: Precision, device: torch.device | None = None) -> None:
        self.device = device if device is not None else choose_device(precision.device)
        self.compute = DTYPES[precision.compute]
        self.scale = LossScale(enabled=self.compute is torch.float16)
        if precision.deterministic:
            torch.use_deterministic_algorithms(True)
            torch.backends.cudnn.benchmark = False

    @property
    def reduced(self) -> bool:
        """Whether the forward pass runs below float32."""
        return self.compute is not torch.float32

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context for forward passes."""
        if not self.reduced:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.compute)

    def fall_back(self) -> None:
        """Continue in float32."""
        self.compute = torch.float32
        self.scale.switch_off()

    def state_dict(self) -> dict[str, Any]:
        """Return number format and scale."""
        return {"compute": str(self.compute).removeprefix("torch."), "scale": self.scale.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.scale.load_state_dict(state["scale"])
        if DTYPES[state["compute"]] is not self.compute:
            self.fall_back()


def choose_device(name: str) -> torch.device:
    """Return the device a recipe asks for; "auto" takes CUDA where there is one.

    Raises:
        UserError: CUDA is asked for and absent.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError('precision.device: "cuda" asked for, but torch sees no CUDA device; use "auto" or "cpu"')
    return torch.device(name)
