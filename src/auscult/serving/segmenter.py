"""Who speaks when within each window: a segmentation network behind a NumPy interface.

Everything after the network (counting, clustering, turns) is arithmetic on small arrays, is tested with segmentations that are known,
and must not care which network made them; so this is the only module of the pipeline that knows powerset classes and batches of
tensors. The most likely class of a frame decides (no threshold); the probabilities are kept for averages and confidences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from auscult.errors import UserError
from auscult.losses.powerset import Powerset
from auscult.serving.windows import FrameGrid


class LocalActivity(NamedTuple):
    """What a segmentation says about windows; speakers are numbered anew in each.

    Attributes:
        probabilities: (windows, frames, speakers) float32.
        active: (windows, frames, speakers) bool.
        lengths: (windows,) int64 true frames; nothing is active beyond them.
    """

    probabilities: NDArray[np.float32]
    active: NDArray[np.bool_]
    lengths: NDArray[np.int64]


def join_activity(parts: Sequence[LocalActivity]) -> LocalActivity:
    """Return the windows of several parts, in order, as one; shorter ones are filled up with silence.

    >>> one, other = (LocalActivity(np.ones((1, n, 2), np.float32), np.ones((1, n, 2), bool), np.array([n])) for n in (2, 3))
    >>> join_activity([one, other]).active[:, :, 0].astype(int).tolist()
    [[1, 1, 0], [1, 1, 1]]
    """
    frames = max(part.active.shape[1] for part in parts)
    padded = [[np.pad(field, ((0, 0), (0, frames - field.shape[1]), (0, 0))) for field in part[:2]] for part in parts]
    return LocalActivity(
        np.concatenate([part[0] for part in padded]),
        np.concatenate([part[1] for part in padded]),
        np.concatenate([part.lengths for part in parts]),
    )


class Segmenter(Protocol):
    """What the pipeline needs of a segmentation.

    Attributes:
        grid: the frames of a recording whose first sample is the first of a window.
        window_samples: samples of a full window.
        minimum_samples: of the shortest window that gives a frame.
    """

    grid: FrameGrid
    window_samples: int
    minimum_samples: int

    def segment(self, windows: NDArray[np.float32], lengths: NDArray[np.int64]) -> LocalActivity:
        """Segment a few windows (windows, time) float32 of true lengths (windows,) int64 samples."""


class NetworkSegmenter:
    """A powerset segmentation network; the attributes are those of `Segmenter`.

    Args:
        model: with `frame_centres`, `frame_step` and `minimum_samples`, as `powerset_segmentation` has them.
        powerset: its classes.
        sample_rate: of its samples, in hertz.
        window: seconds of the windows it was trained on.

    Raises:
        UserError: a frame is not a whole number of samples long.
    """

    def __init__(self, model: nn.Module, powerset: Powerset, sample_rate: int, window: float) -> None:
        network: Any = model
        step = network.frame_step * sample_rate
        if abs(step - round(step)) > 1e-6:
            raise UserError(f"the segmentation's frames are {step:g} samples long; expected a whole number: change the front-end's step")
        self.model = model.eval()
        self.powerset = powerset
        self.grid = FrameGrid(sample_rate, round(step), float(network.frame_centres(1)[0]) * sample_rate)
        self.window_samples = round(window * sample_rate / step) * round(step)
        self.minimum_samples = int(network.minimum_samples)

    def segment(self, windows: NDArray[np.float32], lengths: NDArray[np.int64]) -> LocalActivity:
        """Segment windows in one batch."""
        device = next(self.model.parameters()).device
        with torch.inference_mode():
            samples = torch.from_numpy(np.ascontiguousarray(windows[:, : int(lengths.max())])).to(device)
            output = self.model(samples, torch.from_numpy(lengths).to(device))
            scores = output.logits.float().log_softmax(-1)
            probabilities = self.powerset.soft_activity(scores).cpu().numpy()
            active = self.powerset.to_activity(scores.argmax(-1)).cpu().numpy() > 0
        frame_lengths = output.lengths.cpu().numpy().astype(np.int64)
        true = np.arange(probabilities.shape[1])[None, :, None] < frame_lengths[:, None, None]
        return LocalActivity(np.where(true, np.clip(probabilities, 0.0, 1.0), 0.0).astype(np.float32), active & true, frame_lengths)
