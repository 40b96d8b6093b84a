"""Names of recordings, and many files through one diarizer, offline or as a stream.

Problem: RTTM knows recordings by a name without blanks, files have names of any kind, and two files of one name in two folders would be
one recording. Choice: the name of a recording is the file's without its ending, in Unicode's composed form (macOS writes another one
to disk than people type), blanks become underscores, and two files of one name are refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from auscult.audio.reading import read_audio
from auscult.audio.resampling import resample, upsampling_note
from auscult.corpora.references import normal, read_beside, read_regions, read_turns
from auscult.errors import UserError
from auscult.metrics.rttm import read_rttm, read_uem
from auscult.metrics.segments import Turn
from auscult.serving.diarizer import Diarization, Diarizer
from auscult.serving.diarizer_settings import Speakers
from auscult.serving.diarizer_stream import DiarizerStream
from auscult.serving.online_speakers import OnlineRules


def recording_name(path: str | Path) -> str:
    """Return what RTTM calls a file.

    >>> recording_name("talks/Caf\\u00e9 two.v1.wav")
    'Café_two.v1'
    """
    return "_".join(normal(Path(path).stem).split()) or "recording"


def check_names(paths: Iterable[str | Path]) -> None:
    """Refuse files that RTTM would call the same.

    Raises:
        UserError: names both files.
    """
    seen: dict[str, str | Path] = {}
    for path in paths:
        name = recording_name(path)
        if name in seen:
            raise UserError(f'{seen[name]} and {path} are both "{name}" in RTTM; give them in two calls, or rename one')
        seen[name] = path


def read_references(path: Path) -> dict[str, Sequence[Turn]]:
    """Read reference turns by recording: one RTTM file, or a folder in which every RTTM file belongs to the recording of its own name.

    Raises:
        UserError: a file cannot be read, or the folder holds none.
    """
    if not path.is_dir():
        return read_turns(path)
    found: dict[str, Sequence[Turn]] = read_beside(path, ".rttm", lambda file: read_rttm(file).turns)
    if not found:
        raise UserError(f"{path}: holds no .rttm file; give the RTTM file, or the folder it is in")
    return found


def read_evaluated(path: Path) -> dict[str, Sequence[tuple[float, float]]]:
    """Read evaluated regions by recording, from one UEM file or a folder; like `read_references`."""
    if not path.is_dir():
        return read_regions(path)
    found: dict[str, Sequence[tuple[float, float]]] = read_beside(path, ".uem", read_uem)
    if not found:
        raise UserError(f"{path}: holds no .uem file; give the UEM file, or leave --uem out to score whole recordings")
    return found


def diarize_files(
    diarizer: Diarizer,
    paths: Iterable[Path],
    speakers: int | None = None,
    minimum: int = 1,
    maximum: int | None = None,
    stream: bool = False,
) -> dict[Path, Diarization]:
    """Return who speaks when in each file.

    Args:
        diarizer: a segmentation and voices.
        paths: audio files.
        speakers: number of speakers, if known.
        minimum: fewest speakers.
        maximum: most speakers.
        stream: decide online; a number of speakers is then an upper limit, because a stream cannot wait for the last one.

    Raises:
        AudioError: a file cannot be read.
        UserError: as `Diarizer.diarize`.
    """
    if not stream:
        return {path: diarizer.diarize(path, speakers, minimum, maximum) for path in paths}
    wanted = Speakers.of(speakers, minimum, maximum)
    return {path: stream_file(diarizer, path, wanted) for path in paths}


def stream_file(diarizer: Diarizer, path: Path, wanted: Speakers) -> Diarization:
    """Return the turns of a file that is heard as a stream; nothing is decided with more than a step of what follows.

    Raises:
        AudioError: the file cannot be read.
        UserError: the diarizer has no voices, or the file is too short for the model.
    """
    samples, sample_rate = read_audio(path)
    rate = diarizer.segmenter.grid.sample_rate
    samples, note = resample(samples, sample_rate, rate), upsampling_note(sample_rate, rate)
    diarizer.check_length(len(samples), str(path))
    rules = OnlineRules() if wanted.maximum is None else OnlineRules(most=wanted.maximum)
    listener = DiarizerStream(diarizer, rules=rules)
    turns = sorted([*listener.push(np.asarray(samples)), *listener.finish()], key=lambda turn: (turn.start, turn.end, turn.speaker))
    notes = [*diarizer.notes, *([] if note is None else [f"{path}: {note}"]), *wanted.shortfall(len({turn.speaker for turn in turns}))]
    return Diarization(turns, None, len(samples) / rate, notes)
