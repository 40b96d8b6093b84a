from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from auscult.report.hdf5 import write_hdf5
from auscult.runs.directory import RunDirectory
from auscult.runs.identity import Identity

h5py = pytest.importorskip("h5py")


def test_every_number_and_text_is_there(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "recognition-toy-abc-check", "seed: 0\n", Identity("r", "d", {}, {}), ["a", "ą"], "check")
    for update in range(3):
        run.events.append("step", index=0, update=update, loss=1.0 / (update + 1), cer=None if update else 0.5)
    run.write_items("check", [{"id": "u1", "hypothesis": "zażółć", "words": 1}])
    run.arrays_folder.mkdir(exist_ok=True)
    np.savez(run.arrays_folder / "0.npz", features=np.eye(3, dtype=np.float32), labels=np.array(["a", "ą"]))
    with h5py.File(write_hdf5(run.path)) as file:
        assert file["events/step/loss"][:].tolist() == [1.0, 0.5, 1 / 3]
        assert np.isnan(file["events/step/cer"][:]).tolist() == [False, True, True]
        assert file["items/check/hypothesis"][0].decode() == "zażółć"
        assert file["arrays/0/features"][:].shape == (3, 3)
        assert [value.decode() for value in file["arrays/0/labels"][:]] == ["a", "ą"]
