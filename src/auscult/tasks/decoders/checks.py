"""What every decoder demands of its input, said once.

Logits decode to something plausible with arg-max and to something wrong with a beam, and a blank assumed at the wrong index writes
nonsense; both are refused here instead.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auscult.data.alphabet import Alphabet
from auscult.errors import UserError

_TOLERANCE = 1e-3  # nats by which the probabilities of a frame may miss a sum of 1


def check_log_probabilities(log_probabilities: NDArray[np.floating], alphabet: Alphabet) -> None:
    """Refuse anything but (frames, classes) natural logarithms of probabilities, blank last.

    Raises:
        UserError: wrong shape or number of classes, or a frame whose probabilities are not finite or do not add up to 1.
    """
    classes = len(alphabet.labels) + 1
    if log_probabilities.ndim != 2 or log_probabilities.shape[1] != classes:
        raise UserError(
            f"decoder: expected (frames, {classes}) for {len(alphabet.labels)} labels and the blank, got {log_probabilities.shape}"
        )
    with np.errstate(invalid="ignore"):  # not-a-number is reported below
        totals = np.logaddexp.reduce(log_probabilities, axis=1)
    wrong = np.flatnonzero(~(np.abs(totals) < _TOLERANCE))
    if len(wrong):
        raise UserError(
            f"decoder: the probabilities of frame {wrong[0]} add up to exp({totals[wrong[0]]:.3g}), not 1; apply log_softmax to logits"
        )
