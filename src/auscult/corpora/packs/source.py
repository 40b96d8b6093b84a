"""A recording whose audio lies in a pack, for lhotse and for the store.

Problem: cuts are trimmed, joined, mixed and sent to other processes, and all the while somebody must know where their samples are. Choice:
the source of the recording knows it. `source` still names the file that the audio was decoded from, so ids, messages, hashes and searches
for leaks are those of the corpus without pack; only reading goes elsewhere. Rejected: a table in the store (every user of a cut would
have to be handed it), and rewriting manifests (two manifests of one corpus).

In a room of its own because it needs lhotse, which is not imported when a recipe is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from lhotse import AudioSource, MonoCut, Recording
from lhotse.utils import compute_num_samples
from numpy.typing import NDArray

from auscult.audio.reading import AudioError
from auscult.corpora.packs.pack import INDEX, Pack, Place
from auscult.errors import UserError


class PackedSource(AudioSource):  # type: ignore[misc]
    """One channel of a recording in a pack.

    Args:
        channel: of the file it was decoded from.
        source: that file, which need not exist any more.
        pack: where the audio is.
        place: where in it.
        sample_rate: of the audio in the pack, hertz.
    """

    def __init__(self, channel: int, source: str, pack: Pack, place: Place, sample_rate: int) -> None:
        super().__init__(type="file", channels=[channel], source=source)
        self.pack, self.place, self.sample_rate = pack, place, sample_rate

    def read(self, start: int, count: int) -> NDArray[np.float32]:
        """Return (count,) float32, a fresh array.

        Raises:
            AudioError: the recording does not hold so many samples.
        """
        if not 0 <= start <= start + count <= self.place.samples:
            detail = f"has {self.place.samples} samples in {self.pack.path}, {start} to {start + count} were asked for"
            raise AudioError(Path(self.source), "truncated", f"{detail}; prepare the corpus again")
        return self.pack.read(self.place.offset + start, count)

    def load_audio(
        self, offset: float = 0.0, duration: float | None = None, force_opus_sampling_rate: int | None = None
    ) -> NDArray[np.float32]:
        """Return (time,) float32: what lhotse calls where it mixes or transforms a recording."""
        start = compute_num_samples(offset, self.sample_rate) if offset else 0
        count = self.place.samples - start if duration is None else compute_num_samples(duration, self.sample_rate)
        return self.read(start, count)


def packed(cut: MonoCut, pack: Pack, places: Mapping[tuple[str, int], Place], sample_rate: int) -> Recording:
    """Return the recording of a cut with the pack as its source; of several channels the one of the cut is left.

    Raises:
        UserError: the pack does not hold it, or holds it with another length or rate.
    """
    recording, index = cut.recording, pack.path.parent / INDEX
    source = recording.sources[0]
    place = places.get((source.source, cut.channel))
    if place is None or len(recording.sources) != 1:
        raise UserError(
            f'{index} does not hold channel {cut.channel} of {source.source}, which cut "{cut.id}" needs; prepare the corpus again'
        )
    if (place.samples, sample_rate) != (recording.num_samples, recording.sampling_rate):
        raise UserError(
            f'{index} has {place.samples} samples at {sample_rate} Hz of {source.source}, the manifest of cut "{cut.id}" says '
            f"{recording.num_samples} at {recording.sampling_rate} Hz; prepare the corpus again"
        )
    return replace(recording, sources=[PackedSource(cut.channel, source.source, pack, place, sample_rate)], channel_ids=[cut.channel])
