"""The columns of a manifest as arrays, read from cuts in one pass.

An audit asks a dozen questions of every utterance; asking lhotse objects each time makes 100,000 rows a matter of minutes. Texts are
one long array of code points, so repeats and character counts need no Python loop.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from lhotse.cut import Cut, MixedCut, MonoCut

from auscult.data.alphabet import normalise_text
from auscult.data.strings import speaker_of, speakers_of, text_of

Source = tuple[str, float, float, int]
"""Audio file, start and duration in seconds, channel: what identifies a piece of recording."""


@dataclass(frozen=True)
class Rows:
    """One split.

    Attributes:
        name: of the split.
        ids: utterance ids, manifest order.
        texts: normalised texts.
        speakers: speaker of each utterance, several joined with "+", "unknown" where none is named.
        voices: every speaker of the split by name, whether alone or in a conversation.
        sessions: all that `cut.custom["session"]` names, one or (of the sources of a mixture) several.
        seconds: (utterances,) durations.
        rates: (utterances,) sampling rates, hertz.
        samples: (utterances,) samples at those rates.
        parts: for each utterance the recordings it is made of.
    """

    name: str
    ids: list[str]
    texts: list[str]
    speakers: list[str]
    voices: frozenset[str]
    sessions: frozenset[str]
    seconds: np.ndarray
    rates: np.ndarray
    samples: np.ndarray
    parts: list[list[Cut]]

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, mask: np.ndarray) -> list[str]:
        """Return the ids where a mask (utterances,) holds."""
        return [self.ids[index] for index in np.flatnonzero(mask)]


def read_rows(name: str, cuts: Iterable[Cut]) -> Rows:
    """Read the columns of a split."""
    every = list(cuts)
    normalised: dict[str, str] = {}
    texts = []
    for cut in every:
        text = text_of(cut)
        if text not in normalised:
            normalised[text] = normalise_text(text)
        texts.append(normalised[text])
    parts = [parts_of(cut) for cut in every]
    rates = np.array([cut.sampling_rate for cut in every], dtype=np.int64)
    seconds = np.array([cut.duration for cut in every], dtype=np.float64)
    return Rows(
        name=name,
        ids=[cut.id for cut in every],
        texts=texts,
        speakers=[speaker_of(cut) for cut in every],
        voices=frozenset(speaker for cut in every for speaker in speakers_of(cut)),
        sessions=frozenset(session for members in parts for part in members for session in sessions_of(part)),
        seconds=seconds,
        rates=rates,
        samples=np.rint(seconds * rates).astype(np.int64),
        parts=parts,
    )


def parts_of(cut: Cut) -> list[Cut]:
    """Return the recorded parts of an utterance: itself, or the words of a string."""
    if isinstance(cut, MixedCut):
        return [track.cut for track in cut.tracks if isinstance(track.cut, MonoCut)]
    return [cut]


def is_layered(part: Cut) -> bool:
    """Whether a part is a mixture whose layers are further files of its recording."""
    return bool((getattr(part, "custom", None) or {}).get("layers"))


def source_of(part: Cut) -> Source:
    """Return what identifies the piece of recording a part is."""
    recording = part.recording
    source = recording.sources[0]
    name = str(source.source) if source.type in ("file", "url") else f"{source.type}:{recording.id}"
    channel = part.channel if isinstance(part.channel, int) else -1
    return name, round(part.start, 6), round(part.duration, 6), channel


def sessions_of(part: Cut) -> list[str]:
    """Return the recording sessions that a part of an utterance names."""
    named = (getattr(part, "custom", None) or {}).get("session")
    return [str(one) for one in (named if isinstance(named, list) else [named]) if one not in (None, "")]


def code_points(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return all characters of some texts as one array, and for each the index of its text.

    Returns:
        (characters,) uint32 code points and (characters,) int64 text indices.
    """
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    points = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    return points, np.repeat(np.arange(len(texts)), lengths)


def required_frames(points: np.ndarray, owners: np.ndarray, texts: int) -> np.ndarray:
    """Return (texts,) the output frames CTC needs: characters plus adjacent equal pairs."""
    needed = np.bincount(owners, minlength=texts)
    repeated = (points[1:] == points[:-1]) & (owners[1:] == owners[:-1])
    return needed + np.bincount(owners[1:][repeated], minlength=texts)
