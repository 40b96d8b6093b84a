"""Recordings through a separator into files or a pipe, with a record of what was done and what to beware of.

Two recordings of one name in two folders would overwrite one another's results, and a result may have the name of a recording that is
still to be read; both are refused before anything is computed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from auscult.audio.resampling import upsampling_note
from auscult.errors import UserError
from auscult.serving.diarization_files import recording_name
from auscult.serving.separation_output import Encoding, SpeakerFiles, SpeakerPipe, output_paths

if TYPE_CHECKING:
    from auscult.serving.separator import RunSeparator

Blocks = Iterable[NDArray[np.float32]]


def separate_to_folder(
    separator: RunSeparator, blocks: Blocks, rate: int, name: str, folder: Path, encoding: Encoding = "pcm16"
) -> dict[str, Any]:
    """Separate blocks of samples into one file per speaker.

    Args:
        separator: to use.
        blocks: (time,) each, at `rate`.
        rate: in hertz.
        name: of the recording: its path, or what to call it.
        folder: gets the files, whole or not at all.
        encoding: of the files.

    Returns:
        As `RunSeparator.separate_file`.

    Raises:
        UserError: as `RunSeparator.separate_file`.
    """
    with SpeakerFiles(folder, recording_name(name), separator.sources, separator.sample_rate, encoding) as files:
        record = separator.separate_blocks(blocks, rate, files)
    return {"path": name, **record, "notes": notes_of(name, rate, record)}


def separate_to_pipe(separator: RunSeparator, blocks: Blocks, rate: int, name: str, pipe: BinaryIO, bare: bool) -> dict[str, Any]:
    """Separate blocks of samples into a pipe, as soon as they are final; the record says how many samples were `saturated`."""
    record = separator.separate_blocks(blocks, rate, SpeakerPipe(pipe, separator.sources, separator.sample_rate, bare))
    return {"path": name, **record, "notes": notes_of(name, rate, record)}


def check_outputs(paths: Iterable[Path], folder: Path, sources: int) -> None:
    """Refuse recordings whose results would have one name, or would replace a recording.

    Raises:
        UserError: names the files.
    """
    given = list(paths)
    seen: dict[Path, Path] = {}
    for path in given:
        for output in output_paths(folder, recording_name(path), sources):
            if output in seen:
                raise UserError(f"{seen[output]} and {path} would both become {output}; separate them into two folders, or rename one")
            seen[output] = path
            if output.exists() and any(other.exists() and output.samefile(other) for other in given):
                raise UserError(f"{output}: is a recording to be separated and would be replaced; choose another folder")


def notes_of(name: str, rate: int, record: dict[str, Any]) -> list[str]:
    """Return sentences on what a person should know about a result."""
    upsampled = upsampling_note(rate, record["sample_rate"])
    notes = [] if upsampled is None else [f"{name}: {upsampled}"]
    if record["silent_windows"] == record["windows"]:
        notes.append(f"{name}: nothing but digital silence")
    if record.get("gain", 1.0) < 1.0:
        notes.append(f"{name}: all speakers were made quieter by {-20 * np.log10(record['gain']):.1f} dB, to fit into 16 bits")
    if record.get("saturated"):
        notes.append(f"{name}: {record['saturated']} samples were beyond full scale and are saturated")
    undecided = record["low_margin_joins"] - record["by_profile"]
    if undecided:
        notes.append(
            f"{name}: nothing tells the speakers apart at {undecided} of {record['joins']} joins; they may have changed places there"
        )
    return notes
