"""What every separation model offers: a mixture in, as many signals of the same length out.

Problem: separation models in the wild pad inside, return lengths of their own, keep a number of frames as state, and run in a number
format they cannot take, which shows as NaN after days. Choice: one contract, small enough to state here and checked by
`auscult.testing.check_separator`: samples in, samples out, the same length, whatever it is; nothing kept between calls; and a class
attribute that says which number formats the arithmetic survives. The attribute is asked of the *registered class*, never of an instance,
because `torch.compile` wraps instances in a class of another name (a published run trained for weeks in the wrong format that way).

All items of a batch have one length: what a normalisation over time or a recurrent layer makes of padding would otherwise reach the true
samples. The task sees to it by running items of different length apart, so no model here knows masks.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from auscult.errors import UserError
from auscult.specification import Specification

COMPUTE_FORMATS = ("float32", "bfloat16", "float16")


class Separator(nn.Module, ABC):
    """A model that takes a mixture apart.

    Attributes:
        number_formats: values of `precision.compute` in which the arithmetic was shown to work; a recipe with another is refused.
        number_format_note: why the others are left out, for the message.
        ceiling: SI-SDR in dB that the form of the model does not let it pass by much, learned by heart or not.
        sources: signals put out.
        shortest: fewest samples that are taken.

    Args:
        specification: states the number of sources and the sample rate.
    """

    number_formats: ClassVar[tuple[str, ...]] = COMPUTE_FORMATS
    number_format_note: ClassVar[str] = ""
    ceiling: ClassVar[float] = math.inf
    shortest: int = 1

    def __init__(self, specification: Specification) -> None:
        super().__init__()
        if specification.sources is None or specification.sources < 1:
            raise UserError(f"{type(self).__name__}: the specification states no number of sources; is this recipe one of separation?")
        self.sources = specification.sources
        self.sample_rate = specification.sample_rate

    @abstractmethod
    def forward(self, mixture: Tensor) -> Tensor:
        """(batch, time) float32 -> (batch, sources, time) float32, the same time.

        Raises:
            UserError: fewer samples than `shortest`.
        """

    def check_samples(self, mixture: Tensor) -> None:
        """Refuse what is not (batch, time) of at least `shortest` samples.

        Raises:
            UserError: says what was expected and what came.
        """
        if mixture.dim() != 2 or mixture.shape[1] < self.shortest:
            raise UserError(
                f"{type(self).__name__}: expected mixtures (batch, time) of at least {self.shortest} samples, got {tuple(mixture.shape)}"
            )
