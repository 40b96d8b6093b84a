"""What a recognition model returns: logits and the number of true frames, together.

Logits that travel without their lengths get decoded, or trained, on padding: the reference experiments' loss ignored the
lengths. A named pair cannot be separated by accident, and a loss can refuse lengths that come from anywhere else.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class FrameLogits(NamedTuple):
    """Class scores per output frame, before softmax.

    Attributes:
        logits: (batch, frames, classes), float32 (float64 if the model is), zero beyond `lengths` unless the model says otherwise.
        lengths: (batch,) int64, true output frames of each utterance.
    """

    logits: Tensor
    lengths: Tensor
