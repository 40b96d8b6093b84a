"""Errors of who-speaks-when in one short window, counted in frames.

Problem: a model that labels windows has no names for speakers, so its outputs must be matched with the reference anew in every window,
and the score it then gets is not the diarization error of a recording (whose speakers must be the same throughout): the two are mixed
up in published tables. Choice: counts of frames with names that say local; ratios are taken over all windows by whoever adds them up.
The lines of the systems that listen to nothing come with them, because a frame error of 40 % means nothing alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from auscult.errors import UserError


class LocalErrors(NamedTuple):
    """Frames of one window.

    Attributes:
        missed: reference speakers beyond the number the system has, summed over frames.
        false_alarm: system speakers beyond the number the reference has.
        confusion: speakers both have that are not matched with one another.
        speech: reference speakers, summed over frames: what local error rates are divided by.
        speech_missed: frames in which somebody speaks and the system hears nobody.
        speech_false_alarm: frames in which nobody speaks and the system hears somebody.
        overlap: frames with two or more reference speakers.
        overlap_found: those of them in which the system has two or more as well.
        overlap_claimed: frames in which the system has two or more.
    """

    missed: int
    false_alarm: int
    confusion: int
    speech: int
    speech_missed: int
    speech_false_alarm: int
    overlap: int
    overlap_found: int
    overlap_claimed: int


def local_errors(reference: NDArray[Any], system: NDArray[Any]) -> LocalErrors:
    """Compare a window with its reference, speakers matched one to one so that most frames agree.

    Args:
        reference: (frames, speakers) of 0 and 1.
        system: (frames, any number of speakers) of 0 and 1.

    Raises:
        UserError: the numbers of frames differ.

    >>> local_errors(np.array([[1, 0], [1, 0], [0, 1]]), np.array([[0, 1], [0, 1], [0, 1]]))[:4]
    (0, 0, 1, 3)
    """
    if reference.ndim != 2 or system.ndim != 2 or len(reference) != len(system):
        raise UserError(
            f"local errors: reference {reference.shape} and system {system.shape} must be (frames, speakers) of the same frames; "
            "the frame grids differ"
        )
    true, found = reference.astype(bool), system.astype(bool)
    counts, sizes = true.sum(axis=1), found.sum(axis=1)
    agreement = true.T.astype(np.int64) @ found.astype(np.int64)  # (reference speakers, system speakers)
    rows, columns = linear_sum_assignment(agreement, maximize=True)
    return LocalErrors(
        missed=int(np.maximum(counts - sizes, 0).sum()),
        false_alarm=int(np.maximum(sizes - counts, 0).sum()),
        confusion=int(np.minimum(counts, sizes).sum() - agreement[rows, columns].sum()),
        speech=int(counts.sum()),
        speech_missed=int(((counts > 0) & (sizes == 0)).sum()),
        speech_false_alarm=int(((counts == 0) & (sizes > 0)).sum()),
        overlap=int((counts > 1).sum()),
        overlap_found=int(((counts > 1) & (sizes > 1)).sum()),
        overlap_claimed=int((sizes > 1).sum()),
    )


def one_speaker_errors(reference: NDArray[Any]) -> int:
    """Return the errors (missed, false alarm and confusion) of hearing one speaker always: (frames, speakers) of 0 and 1.

    >>> one_speaker_errors(np.array([[1, 0], [1, 1], [0, 0], [0, 1]]))
    3
    """
    errors = local_errors(reference, np.ones((len(reference), 1)))
    return errors.missed + errors.false_alarm + errors.confusion
