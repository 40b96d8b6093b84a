"""SDR, STOI and PESQ of one mixture, beside those of the mixture itself."""

from __future__ import annotations

import math

import numpy as np
import pytest

from auscult.errors import UserError
from auscult.metrics.bss_eval import bss_eval
from auscult.metrics.separation_measures import further_measures
from auscult.testing.known_mixtures import estimates_at


def test_means_over_sources_in_the_order_given() -> None:
    there, said = (one[0] for one in estimates_at(10, batch=1, samples=3000))
    mixture = there.sum(axis=0)
    found = further_measures(["bss_eval"], there, said[::-1], (1, 0), 8000, mixture)
    ratios = bss_eval(there, said, mixture=mixture)
    assert set(found) == {"sdr", "sir", "sar", "sdri"}
    assert found["sdr"] == pytest.approx(ratios.sdr.mean())
    assert found["sdri"] == pytest.approx((ratios.sdr - ratios.input_sdr).mean())
    assert further_measures(["bss_eval"], there, said, (1, 0), 8000)["sdr"] < 0
    assert further_measures([], there, said, (0, 1), 8000, mixture) == {}


def test_silent_sources_are_left_out() -> None:
    pytest.importorskip("pystoi")
    there, said = (one[0] for one in estimates_at(10, batch=1, samples=12_000))
    there[1] = 0
    one = further_measures(["bss_eval", "stoi"], there, said, (0, 1), 8000, said[0])
    assert one["sdri"] == pytest.approx(0)
    assert one["stoi"] == one["stoi_input"] > 0.5
    none = further_measures(["bss_eval", "stoi"], 0 * there, said, (0, 1), 8000)
    assert math.isnan(none["sdr"])
    assert math.isnan(none["stoi"])


def test_a_measure_that_does_not_exist() -> None:
    with pytest.raises(UserError, match=r'no measure "bss_evl" \(did you mean "bss_eval"\?\)'):
        further_measures(["bss_evl"], np.ones((1, 9)), np.ones((1, 9)), (0,), 8000)
