"""Fixtures shared by every room: the pack of real recordings, and one thread for small operators."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Wall-clock deadlines fail on a busy machine, and a random failure in continuous integration cannot be looked at again.
settings.register_profile("auscult", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("auscult")

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")


@pytest.fixture(scope="session")
def data_pack() -> Path:
    """Folder of real recordings and metric fixtures; tests that need it are skipped, with the reason, where it is absent."""
    root = Path(os.environ.get("AUSCULT_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"no data pack at {root}; set AUSCULT_DATA")
    return root


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
