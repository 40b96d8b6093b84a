"""STOI and PESQ, by the packages everybody compares with.

Problem: reimplemented intelligibility measures differ in the third digit from what is published, and both tools answer nonsense quietly:
STOI returns 0.00001 where it finds too little speech, PESQ takes any sample rate and knows two. Choice: `pystoi` and `pesq` do the
work; what has no value is NaN; a sample rate that is not defined is refused. PESQ is narrow-band at 8 kHz and wide-band at 16 kHz
(ITU-T P.862 and P.862.2), and the two scales are not comparable, so the result names its band.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike

from auscult.errors import MissingExtra, UserError

PESQ_BANDS = {8000: "nb", 16_000: "wb"}
"""Band of PESQ by sample rate: narrow or wide."""


def stoi(reference: ArrayLike, estimate: ArrayLike, sample_rate: int, extended: bool = False) -> float:
    """Return the short-time objective intelligibility, 0 to 1; NaN where the reference has less than 0.4 s of speech.

    Args:
        reference: (time,) clean speech.
        estimate: (time,).
        sample_rate: in hertz; resampled to 10 kHz inside.
        extended: the variant for fluctuating noise.

    Raises:
        MissingExtra: pystoi is not installed.
    """
    try:
        import pystoi
    except ImportError as error:
        raise MissingExtra("intelligibility", "STOI") from error
    there, said = np.asarray(reference, dtype=np.float64), np.asarray(estimate, dtype=np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(pystoi.stoi(there, said, sample_rate, extended=extended))
        except (RuntimeWarning, ValueError):  # too few frames with speech; none at all
            return float("nan")


def pesq(reference: ArrayLike, estimate: ArrayLike, sample_rate: int) -> float:
    """Return the perceptual evaluation of speech quality, about 1 to 4.6; NaN where no utterance is found.

    Args:
        reference: (time,) clean speech.
        estimate: (time,).
        sample_rate: 8000 (narrow band) or 16000 (wide band).

    Raises:
        UserError: another sample rate, or pesq is not installed.
    """
    if sample_rate not in PESQ_BANDS:
        raise UserError(f"PESQ is defined at 8000 and 16000 Hz and not at {sample_rate}; resample the files, or leave PESQ out")
    try:
        import pesq as tool
    except ImportError as error:
        raise UserError("PESQ needs a package that is compiled on installation: pip install pesq") from error
    there, said = np.asarray(reference, dtype=np.float32), np.asarray(estimate, dtype=np.float32)
    try:
        with np.errstate(invalid="ignore"):  # the tool divides by the peak, zeros too
            return float(tool.pesq(sample_rate, there, said, PESQ_BANDS[sample_rate]))
    except (tool.NoUtterancesError, tool.BufferTooShortError):
        return float("nan")
