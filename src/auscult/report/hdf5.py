"""Every number of a run in one HDF5 file, for tools that read those (`auscult check --hdf5`).

One group per kind of event, one dataset per field, rows in order; arrays of the checked utterances beside them. The run
directory stays the truth: this is a copy of it, written as a whole.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from auscult.errors import MissingExtra
from auscult.runs.directory import RunDirectory
from auscult.runs.files import write_atomic


def write_hdf5(run_path: Path) -> Path:
    """Write `metrics.h5` into a run directory and return its path.

    Groups: `events/<kind>` with a dataset per numeric or text field; `items/<split>` likewise; `arrays/<utterance>`.
    A field that an event lacks is NaN or an empty text.

    Raises:
        MissingExtra: h5py is not installed.
        UserError: not a run directory.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingExtra("hdf5", "writing HDF5") from error
    run = RunDirectory.open(run_path)
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file.attrs["run"] = run.path.name
        events = run.events.read()
        for kind in dict.fromkeys(str(event["event"]) for event in events):
            _write_rows(file.create_group(f"events/{kind}"), [event for event in events if event["event"] == kind])
        for path in sorted((run.path / "items").glob("*.jsonl")):
            _write_rows(file.create_group(f"items/{path.stem}"), run.read_items(path.stem))
        for path in sorted(run.arrays_folder.glob("*.npz")):
            group = file.create_group(f"arrays/{path.stem}")
            with np.load(path) as arrays:
                for name in arrays.files:
                    values = arrays[name]
                    group[name] = _plain(values)
    target = run.path / "metrics.h5"
    write_atomic(target, memory.getvalue())
    return target


def _plain(values: np.ndarray) -> Any:
    if values.dtype.kind != "U":
        return values
    return [str(value) for value in values]


def _write_rows(group: Any, rows: list[dict[str, Any]]) -> None:
    """Store rows as columns; nested values are left to events.jsonl."""
    for name in dict.fromkeys(key for row in rows for key in row):
        column = [row.get(name) for row in rows]
        present = [value for value in column if value is not None]
        if present and all(isinstance(value, int | float) for value in present):
            group[name] = np.array([np.nan if value is None else float(value) for value in column])
        elif present and all(isinstance(value, str) for value in present):
            group[name] = ["" if value is None else value for value in column]
