"""Samples of utterances, decoded once and kept in memory up to a limit.

Problem: on small corpora every epoch decodes and resamples the same words, which costs more than a small model's update. Choice: a
least-recently-used cache, bounded in bytes, of each *segment at the target rate*. The segment is the unit because its samples are then
the same bits whether they were cached or not (resampling a whole file and cutting it differs at the edges from resampling the cut).
16-bit recordings at their own rate are kept as int16, half the memory, only where the way back is exact. Every process has its own
cache; a store sent to a worker starts empty there. A recording in a pack is sliced from it, and kept only where it had to be resampled.
Rejected: caching float32 always, and a cache shared between processes (locks).
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from lhotse.audio import Recording
from lhotse.audio.utils import AudioLoadingError, DurationMismatchError
from lhotse.cut import Cut, MixedCut, MonoCut, PaddingCut
from lhotse.utils import compute_num_samples

from auscult.audio.reading import AudioError, read_audio
from auscult.audio.resampling import resample
from auscult.corpora.packs.source import PackedSource
from auscult.errors import UserError

_FULL_SCALE = np.float32(32768.0)
_Key = tuple[str, int | None, int, int]


class AudioStore:
    """Reads utterances at one sampling rate.

    Args:
        sample_rate: of the samples returned, hertz.
        megabytes: most memory for decoded audio in this process; 0 keeps nothing.
    """

    def __init__(self, sample_rate: int, megabytes: int) -> None:
        if sample_rate <= 0 or megabytes < 0:
            raise UserError(
                f"audio store: expected a positive sample rate and no negative cache size, got {sample_rate} Hz, {megabytes} MB"
            )
        self.sample_rate = sample_rate
        self.limit = megabytes * 2**20
        self.bytes = 0
        self.reads = 0
        self._cached: OrderedDict[_Key, np.ndarray] = OrderedDict()

    def samples(self, cut: Cut) -> np.ndarray:
        """Return the samples of an utterance, a fresh float32 array (time,) at `sample_rate`.

        A MonoCut reads its own channel, as in lhotse (another speaker may be on the other); cuts of several channels become their mean.

        Raises:
            AudioError: the file is missing, unreadable, empty, truncated or holds non-finite samples.
        """
        if isinstance(cut, MonoCut) and _plain(cut):
            return self._segment(cut)
        if isinstance(cut, MixedCut) and _appended(cut):
            return self._string(cut)
        return self._general(cut)

    def stretch(self, cut: Cut, start: int, count: int) -> np.ndarray:
        """Return `count` samples of an utterance from `start` on, both at `sample_rate`, repeated from the first where it is shorter.

        The whole utterance is decoded and kept while the cache has room; after that only the stretch is, because a corpus that does
        not fit is seldom asked for the same utterance twice, and of a pack it always is. At another rate than the file's, a stretch that
        was decoded alone differs at its edges from the same stretch of the whole (the resampler has no more past), so there the whole is
        always decoded.

        Raises:
            AudioError: as `samples`.
        """
        if isinstance(cut, MonoCut) and cut.sampling_rate == self.sample_rate and _plain(cut):
            key = path, channel, first, length = self._key(cut)
            full = self.bytes + 2 * length > self.limit and key not in self._cached
            if start + count <= length and (full or isinstance(cut.recording.sources[0], PackedSource)):
                return self._read(cut.recording, (path, channel, first + start, count))
        whole = self.samples(cut)
        return whole[start : start + count] if start + count <= len(whole) else np.resize(whole, count)

    def part(self, recording: Recording, place: int, start: int, count: int) -> np.ndarray:
        """Return `count` samples from `start` on, at `sample_rate`, of one of the files of a recording: of a layer of a mixture, say.

        Files of several channels become their mean. At another rate than the file's the whole file is decoded, see `stretch`.

        Raises:
            AudioError: as `samples`.
        """
        path, rate = str(recording.sources[place].source), recording.sampling_rate
        whole = rate != self.sample_rate
        key: _Key = (path, None, 0, recording.num_samples) if whole else (path, None, start, count)
        kept = self._cached.get(key)
        if kept is not None:
            self._cached.move_to_end(key)
            samples = _to_float(kept)
        else:
            self.reads += 1
            samples, found = read_audio(path, start=key[2], samples=key[3])
            if found != rate:
                raise UserError(f"{path}: the manifest says {rate} Hz, the file has {found} Hz; prepare the corpus again")
            samples = resample(samples, rate, self.sample_rate)
            if key[3] == recording.num_samples:  # a stretch at random hardly comes twice
                self._keep(key, samples)
        return samples[start : start + count] if whole else samples

    def _key(self, cut: MonoCut) -> _Key:
        recording = cut.recording
        channel = cut.channel if recording.num_channels > 1 else None
        start = compute_num_samples(cut.start, recording.sampling_rate) if cut.start else 0
        return str(recording.sources[0].source), channel, start, cut.num_samples

    def _string(self, cut: MixedCut) -> np.ndarray:
        placed = []
        for track in cut.tracks:
            start = round(track.offset * self.sample_rate)
            if isinstance(track.cut, PaddingCut):
                placed.append((start, np.zeros(round(track.cut.duration * self.sample_rate), dtype=np.float32)))
            else:
                placed.append((start, self._segment(track.cut)))
        total = np.zeros(max(start + len(samples) for start, samples in placed), dtype=np.float32)
        for start, samples in placed:
            total[start : start + len(samples)] += samples
        return total

    def _segment(self, cut: MonoCut) -> np.ndarray:
        recording, key = cut.recording, self._key(cut)
        kept = self._cached.get(key)
        if kept is not None:
            self._cached.move_to_end(key)
            return _to_float(kept)
        samples = self._read(recording, key)
        if recording.sampling_rate != self.sample_rate or not isinstance(recording.sources[0], PackedSource):
            self._keep(key, samples)
        return samples

    def _read(self, recording: Recording, key: _Key) -> np.ndarray:
        path, channel, start, count = key
        rate, source = recording.sampling_rate, recording.sources[0]
        self.reads += 1
        if isinstance(source, PackedSource):
            samples = source.read(start, count)
        else:
            whole = start == 0 and count == recording.num_samples
            samples, found_rate = read_audio(path, start=start, samples=None if whole else count, channel=channel)
            if found_rate != rate:
                raise UserError(f"{path}: the manifest says {rate} Hz, the file has {found_rate} Hz; prepare the corpus again")
            if whole and len(samples) != count:
                raise UserError(f"{path}: the manifest says {count} samples, the file has {len(samples)}; prepare the corpus again")
        return samples if rate == self.sample_rate else resample(samples, rate, self.sample_rate)

    def _keep(self, key: _Key, samples: np.ndarray) -> None:
        packed = _to_int16(samples)
        if packed.nbytes > self.limit:
            return
        self._cached[key] = packed
        self.bytes += packed.nbytes
        while self.bytes > self.limit:
            _, oldest = self._cached.popitem(last=False)
            self.bytes -= oldest.nbytes

    def _general(self, cut: Cut) -> np.ndarray:
        """Read whatever lhotse can read; its errors name the file already."""
        self.reads += 1
        try:
            loaded = cut.load_audio()  # (channels, time)
        except (OSError, RuntimeError, ValueError, AudioLoadingError, DurationMismatchError) as error:
            raise AudioError(_first_path(cut), "unreadable", str(error)) from error
        samples = np.asarray(loaded, dtype=np.float32).mean(axis=0, dtype=np.float32)
        return samples if cut.sampling_rate == self.sample_rate else resample(samples, cut.sampling_rate, self.sample_rate)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cached": OrderedDict(), "bytes": 0, "reads": 0}


def _plain(cut: MonoCut) -> bool:
    recording = cut.recording
    return recording is not None and not recording.transforms and len(recording.sources) == 1 and recording.sources[0].type == "file"


def _appended(cut: MixedCut) -> bool:
    return not cut.transforms and all(
        track.snr is None
        and not track.mute
        and (isinstance(track.cut, PaddingCut) or (isinstance(track.cut, MonoCut) and _plain(track.cut)))
        for track in cut.tracks
    )


def _to_int16(samples: np.ndarray) -> np.ndarray:
    """Return int16 where converting back gives the same bits, otherwise a copy in float32."""
    scaled = samples * _FULL_SCALE
    if len(samples) and float(scaled.max()) <= 32767.0 and float(scaled.min()) >= -32768.0:
        packed = scaled.astype(np.int16)
        if np.array_equal(packed, scaled) and not np.signbit(samples[samples == 0]).any():
            return packed
    return samples.copy()


def _to_float(kept: np.ndarray) -> np.ndarray:
    return kept / _FULL_SCALE if kept.dtype == np.int16 else kept.copy()


def _first_path(cut: Cut) -> Path:
    return Path(paths_of(cut)[0] if paths_of(cut) else cut.id)


def paths_of(cut: Cut) -> list[str]:
    """Return the audio files an utterance is read from, in order of its parts."""
    parts = [track.cut for track in cut.tracks] if isinstance(cut, MixedCut) else [cut]
    recordings = [part.recording for part in parts if not isinstance(part, PaddingCut) and part.has_recording]
    return [str(source.source) for recording in recordings for source in recording.sources if source.type == "file"]
