"""BSS-eval against published values, against mir_eval, and where the original gives none."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import lfilter

from auscult.audio.reading import read_audio
from auscult.errors import UserError
from auscult.metrics.bss_eval import bss_eval
from auscult.testing.known_mixtures import estimates_at


def folder_of(root: Path, name: str) -> np.ndarray:
    return np.stack([read_audio(path)[0] for path in sorted((root / "fixtures" / "bss_eval" / name).glob("*.wav"))]).astype(np.float64)


@pytest.mark.parametrize("case", ["01", "02", "03"])
def test_published_values(data_pack: Path, case: str) -> None:
    found = bss_eval(folder_of(data_pack, f"ref{case}"), folder_of(data_pack, f"est{case}"))
    expected = json.loads((data_pack / "fixtures" / "bss_eval" / f"output{case}.json").read_text())["Sources"]
    for values, name in zip(found, ("Distortion", "Interference", "Artifact"), strict=False):
        assert values.tolist() == pytest.approx(expected[f"Source to {name}"], abs=1e-3)
    # the fixture names the estimate of each reference
    assert list(found.permutation) == expected["Source permutation"]


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("decibels", [-5, 10, 40])
def test_agrees_with_mir_eval(decibels: float) -> None:
    separation = pytest.importorskip("mir_eval.separation")
    there, said = (one[0] for one in estimates_at(decibels, batch=1, samples=4000))
    said = lfilter([1.0, -0.6, 0.2], [1.0], said[::-1]) + 0.1 * there
    theirs = separation.bss_eval_sources(there, said)
    ours = bss_eval(there, said)
    for own, other in zip(ours[:4], theirs, strict=True):
        assert list(own) == pytest.approx(list(other), abs=1e-3)
    fixed = bss_eval(there, said, permutation=(0, 1))
    assert list(fixed.sdr) == pytest.approx(list(separation.bss_eval_sources(there, said, compute_permutation=False)[0]), abs=1e-3)
    assert fixed.permutation == (0, 1)


def test_a_filter_is_forgiven() -> None:
    there = estimates_at(0, batch=1)[0][0]
    said = lfilter(np.random.default_rng(0).standard_normal(300), [1.0], there, axis=1)
    assert (bss_eval(there, said).sdr > 15).all()  # the tail of the filter is cut off
    assert (bss_eval(there, said, taps=16).sdr < 3).all()


def test_the_mixture_is_measured_as_an_estimate_is() -> None:
    there, said = (one[0] for one in estimates_at(10, batch=1, samples=3000))
    mixture = there.sum(axis=0)
    found = bss_eval(there, said, mixture=mixture)
    assert found.input_sdr.tolist() == pytest.approx(bss_eval(there, np.stack([mixture, mixture])).sdr.tolist())
    without = bss_eval(there, said)
    assert found.sdr.tolist() == pytest.approx(without.sdr.tolist())
    assert np.isnan(without.input_sdr).all()
    with pytest.raises(UserError, match="mixture of 3000 samples"):
        bss_eval(there, said, mixture=mixture[1:])


def test_silence() -> None:
    there, said = (one[0] for one in estimates_at(10, batch=1, sources=3, samples=3000))
    there[1] = 0
    found = bss_eval(there, said[[2, 1, 0]])
    assert found.permutation == (2, 1, 0)
    assert [math.isnan(value) for value in found.sdr] == [False, True, False]
    alone = bss_eval(there[[0, 2]], said[[2, 0]])
    assert found.sdr[[0, 2]] == pytest.approx(alone.sdr)
    quiet = bss_eval(there[[0, 2]], np.stack([said[0], 0 * said[0]]))
    assert [math.isnan(value) for value in quiet.sar] == [False, True]
    assert np.isnan(bss_eval(0 * there, said).sdr).all()


def test_sources_that_are_copies_of_one_another() -> None:
    """The inner products are singular: no Cholesky factor exists."""
    there, said = (one[0] for one in estimates_at(10, batch=1, sources=1, samples=3000))
    found = bss_eval(np.concatenate([there, there]), np.concatenate([said, said]), taps=32)
    assert np.isfinite(found.sdr).all()
    assert found.sdr == pytest.approx(bss_eval(there, said, taps=32).sdr.repeat(2), abs=1e-3)


def test_refusals() -> None:
    for wrong in (np.ones((2, 9)), np.ones((3, 8)), np.ones(9)):
        with pytest.raises(UserError, match="one shape"):
            bss_eval(np.ones((3, 9)), wrong)
