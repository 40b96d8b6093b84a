"""All numbers of a check run in one HDF5 file, for tools that read arrays and not JSON.

The event log stays the truth; this is a copy in another form, made from it whenever asked for. One group per utterance: the
series of its steps as datasets, what is known of it as attributes, and the stored arrays.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from auscult.report.check_record import Check, Overfit, read_check
from auscult.runs.files import write_atomic
from auscult.runs.hdf5 import require_h5py
from auscult.runs.json_values import to_json


def write_hdf5(run_path: Path) -> Path:
    """Write `metrics.h5` into a check run.

    Returns:
        The file. `/utterances/<number>` holds `steps/<name>` (steps,) float64, nan where not measured; `arrays/<name>`; and attributes.
        `/model` holds the model's description as attributes, nested values as JSON.

    Raises:
        MissingExtra: h5py is not installed.
        UserError: the path is no check run, or the file cannot be written.
    """
    h5py = require_h5py()
    check = read_check(run_path)
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        _describe(file, {"run": check.run.path.name, "state": check.state, **check.end})
        _describe(file.create_group("model"), check.model)
        for utterance in check.utterances:
            _fill(file.create_group(f"utterances/{utterance.number}"), check, utterance)
    path = check.run.path / "metrics.h5"
    write_atomic(path, stream.getvalue())
    return path


def _fill(group: Any, check: Check, utterance: Overfit) -> None:
    _describe(group, utterance.start)
    _describe(group.create_group("end"), utterance.end)
    for name, values in utterance.steps.items():
        group.create_dataset(f"steps/{name}", data=values)
    for name, array in (check.arrays(utterance) or {}).items():
        stored: Any = array.astype(object) if array.dtype.kind == "U" else array  # h5py has no fixed-width Unicode
        group.create_dataset(f"arrays/{name}", data=stored)


def _describe(group: Any, values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if value is not None:
            group.attrs[key] = value if isinstance(value, str | int | float | np.generic) else to_json(value)
