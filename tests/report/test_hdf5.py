import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from auscult.errors import MissingExtra
from auscult.report.check_record import read_check
from auscult.report.hdf5 import write_hdf5


def test_file_holds_the_numbers_of_the_log(check_builder: Callable[..., Path]) -> None:
    h5py = pytest.importorskip("h5py")
    run = check_builder()
    check = read_check(run)
    with h5py.File(write_hdf5(run)) as file:
        group = file["utterances/3"]
        assert np.array_equal(group["steps/loss"][:], check.utterances[2].steps["loss"])
        assert np.isnan(group["steps/cer"][0])
        assert group.attrs["output_frames"] == 49
        assert group["end"].attrs["stop_reason"] == "threshold"
        assert group["arrays/features"].shape == (107, 257)
        assert group["arrays/labels"].asstr()[-1] == "<blank>"
        assert file["model"].attrs["parameters"] == 41_754_368
    assert not list(run.glob(".*.tmp"))


def test_without_h5py_the_extra_is_named(check_builder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtra, match=r"auscult\[hdf5\]"):
        write_hdf5(check_builder(count=1))
