"""Where somebody speaks in a recording of one speaker, by energy alone.

Problem: turns for simulated conversations must begin and end where the voice does; a file that starts with half a second of room noise
labels that noise as speech, and the model learns to. Choice: levels of 10 ms frames against a threshold between the recording's own
noise floor and its own loud frames, so that no absolute level matters; short pauses are bridged and short sounds dropped; a hangover
keeps weak onsets and word ends, whose level is below any threshold. It knows nothing of speech: a door is speech too, so it is for
clean single-speaker corpora and not for meetings. Rejected: a trained detector (what is trained here would be trained on its labels)
and a fixed threshold in dB (corpora differ by 30 dB in level).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auscult.errors import UserError

FRAME_SECONDS = 0.01
THRESHOLD_SHARE = 0.25
"""Where the threshold lies between noise floor and loud frames, on the scale of levels in dB."""
LEAST_CONTRAST = 10.0
"""dB between floor and loud frames below which a recording has no pauses to tell (it is all sound, or all silence)."""
SILENCE = -60.0
"""dB of full scale below which a frame is silent whatever the rest of the recording is."""


def voice_activity(
    samples: NDArray[np.float32],
    sample_rate: int,
    *,
    shortest_speech: float = 0.1,
    shortest_pause: float = 0.3,
    hangover: float = 0.05,
) -> list[tuple[int, int]]:
    """Return the stretches of speech of a recording, in order, as (start, end) in samples, end excluded.

    Args:
        samples: (time,) float32 in [-1, 1].
        sample_rate: in hertz, at least 1000.
        shortest_speech: seconds; shorter sounds are dropped.
        shortest_pause: seconds; shorter pauses belong to the speech around them.
        hangover: seconds added on both sides of what is above the threshold.

    Raises:
        UserError: samples of another shape, or a negative duration.

    >>> voice_activity(np.zeros(8000, np.float32), 8000)
    []
    """
    if samples.ndim != 1 or sample_rate < 1000:
        raise UserError(f"voice activity: expected samples (time,) at 1000 Hz or more, got {samples.shape} at {sample_rate} Hz")
    if min(shortest_speech, shortest_pause, hangover) < 0:
        raise UserError("voice activity: shortest_speech, shortest_pause and hangover are seconds and must not be negative")
    frame = round(FRAME_SECONDS * sample_rate)
    active = _active_frames(frame_levels(samples, frame))
    stretches = _runs(active)
    stretches = [(start * frame, end * frame) for start, end in stretches if (end - start) * frame >= shortest_speech * sample_rate]
    around = round(hangover * sample_rate)
    widened = [(max(0, start - around), min(len(samples), end + around)) for start, end in stretches]
    return _bridged(widened, round(shortest_pause * sample_rate))


def frame_levels(samples: NDArray[np.float32], frame: int) -> NDArray[np.float64]:
    """Return the level of each whole frame of `frame` samples in dB of full scale: (time // frame,), -120 at least."""
    whole = samples[: len(samples) // frame * frame].astype(np.float64).reshape(-1, frame)
    levels: NDArray[np.float64] = 10 * np.log10(np.square(whole).mean(axis=1) + 1e-12)
    return levels


def _active_frames(levels: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which frames are above the recording's own threshold; all that are not silent where levels hardly differ."""
    if not len(levels):
        return np.zeros(0, dtype=bool)
    smooth = np.convolve(np.pad(levels, 1, mode="edge"), np.full(3, 1 / 3), mode="valid")
    floor, loud = np.quantile(smooth, [0.1, 0.95])
    if loud - floor < LEAST_CONTRAST:
        return np.asarray(smooth > SILENCE)
    return np.asarray(smooth > max(floor + THRESHOLD_SHARE * (loud - floor), SILENCE))


def _runs(active: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return (start, end) of the runs of True, end excluded."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], active, [False]]).astype(np.int8)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def _bridged(stretches: list[tuple[int, int]], pause: int) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start, end in stretches:
        if joined and start - joined[-1][1] < max(pause, 1):
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined
