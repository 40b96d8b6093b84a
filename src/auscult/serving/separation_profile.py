"""What each separated speaker has sounded like so far: enough to tell who speaks again after everybody was silent.

Problem: neighbouring windows are put in order by what both of them hear; where their overlap is silent they have nothing in common, and a
coin decides who is who for the rest of the recording. Choice: the long-term average spectrum of each speaker, in bands of equal width on
the mel scale, in decibels without its mean (so that level and distance do not count), averaged over the frames in which somebody is
really heard, with older speech counting less and less. Two spectra are as like as their root-mean-square difference is small; a speaker
who was never heard is as like as an average stranger, so that a voice unlike the known one is taken for a new one. It costs no network
and works at any sample rate; it is much weaker than a speaker encoder, which is why it only breaks ties. Rejected: an encoder (a second
run, and one for 8 kHz, would be needed to separate a file), pitch (one number, and wrong by octaves in residues).
Source: long-term average spectra as a cue to speakers, Hollien and Majewski 1977.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BANDS = 24
"""Bands from 80 Hz to the highest frequency."""
_FRAME_SECONDS = 0.032
_MEMORY_SECONDS = 30.0
"""Seconds of heard speech after which a frame counts 1/e."""
_ENOUGH_SECONDS = 0.2
"""Seconds of heard speech without which there is no spectrum."""
_QUIET = 10 ** (-30 / 10)
"""Power below which a frame says nothing, relative to the mean power of the mixture."""
_FLOOR = 10 ** (-30 / 10)
"""Power of a band, relative to the loudest one, below which there is only what others leave in it."""
_CROSSTALK = 10 ** (-10 / 10)
"""Power below which a frame may be what is left of another speaker, relative to the loudest one in it."""
STRANGERS = 5.0
"""Root-mean-square difference of two spectra, in dB, at which they may as well be of different people as of one: three seconds each of one
reader of LibriSpeech differ by 2.6 to 5.5 dB, of two readers by 4.4 to 8.8 dB (a tenth lies outside at either end)."""
_LOWEST_HERTZ = 80.0


class SpeakerProfiles:
    """Average spectra of the speakers of one recording.

    Args:
        speakers: how many.
        sample_rate: in hertz.
    """

    def __init__(self, speakers: int, sample_rate: int) -> None:
        self._frame = round(_FRAME_SECONDS * sample_rate)
        self._filters = _mel_filters(self._frame, sample_rate)
        self._window = np.hanning(self._frame + 2)[1:-1]
        self._sums = np.zeros((speakers, BANDS))
        self._seconds = np.zeros(speakers)

    def spectra(self, signals: NDArray[np.float64], reference: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what signals (speakers, time) sound like.

        Args:
            signals: of one window.
            reference: mean power of the mixture.

        Returns:
            (speakers, bands) decibels without their mean, and (speakers,) seconds they rest on.
        """
        frames = signals.shape[1] // self._frame
        blocks = signals[:, : frames * self._frame].reshape(len(signals), frames, self._frame)
        loudness = (blocks**2).mean(axis=2)  # (speakers, frames)
        heard = (loudness > _QUIET * reference) & (loudness > _CROSSTALK * loudness.max(axis=0))
        power = np.abs(np.fft.rfft(blocks * self._window)) ** 2 @ self._filters  # (speakers, frames, bands)
        number = heard.sum(axis=1)
        mean = (power * heard[:, :, None]).sum(axis=1) / np.maximum(number, 1)[:, None]
        floor = np.maximum(mean.max(axis=1, keepdims=True), np.finfo(float).tiny) * _FLOOR
        decibels = 10 * np.log10(np.maximum(mean, floor))
        return decibels - decibels.mean(axis=1, keepdims=True), number * _FRAME_SECONDS

    def likeness(self, signals: NDArray[np.float64], reference: float) -> NDArray[np.float64]:
        """Return (speakers, signals) from -1 to 1: how like each speaker each signal sounds; 0 where one was not heard enough."""
        spectra, seconds = self.spectra(signals, reference)
        known = (self._seconds >= _ENOUGH_SECONDS)[:, None] & (seconds >= _ENOUGH_SECONDS)[None]
        profiles = self._sums / np.maximum(self._seconds, 1e-9)[:, None]
        difference = np.sqrt(((profiles[:, None] - spectra[None]) ** 2).mean(axis=2))
        return np.where(known, (STRANGERS - difference) / (STRANGERS + difference), 0.0)

    def learn(self, signals: NDArray[np.float64], reference: float) -> None:
        """Add signals (speakers, time), in the order of the speakers."""
        spectra, seconds = self.spectra(signals, reference)
        fading = np.exp(-seconds / _MEMORY_SECONDS)
        self._sums = fading[:, None] * self._sums + seconds[:, None] * spectra
        self._seconds = fading * self._seconds + seconds


def _mel_filters(frame: int, sample_rate: int) -> NDArray[np.float64]:
    """Return (bins, bands): every frequency belongs to one band."""
    frequencies = np.fft.rfftfreq(frame, 1 / sample_rate)
    mel = 1127 * np.log1p(frequencies / 700)
    low, high = 1127 * np.log1p(_LOWEST_HERTZ / 700), 1127 * np.log1p(sample_rate / 2 / 700)
    band = np.floor((mel - low) / (high - low) * BANDS).clip(-1, BANDS - 1).astype(int)
    filters = np.zeros((len(frequencies), BANDS))
    inside = band >= 0
    filters[np.flatnonzero(inside), band[inside]] = 1.0
    return np.asarray(filters / np.maximum(filters.sum(axis=0), 1.0))
