from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auscult.runs.json_values import from_json, to_json

WORDS = st.sampled_from(["nan", "inf", "-inf", "\\nan", "\\\\inf", "finance", "Nan"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_every_value_comes_back(value):
    assert from_json(to_json(value)) == value


@given(VALUES)
def test_text_is_strict_json_on_one_line_that_utf8_can_carry(value):
    text = to_json(value)
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert b"\n" not in text.encode("utf-8")


def test_non_finite_numbers_are_words_and_come_back_as_numbers():
    text = to_json({"loss": math.nan, "norms": [math.inf, -math.inf]})
    assert json.loads(text) == {"loss": "nan", "norms": ["inf", "-inf"]}
    back = from_json(text)
    assert math.isnan(back["loss"])
    assert back["norms"] == [math.inf, -math.inf]


def test_spoken_nan_stays_a_word():
    assert from_json(to_json({"reference": "nan", "loss": math.inf})) == {"reference": "nan", "loss": math.inf}


def test_numpy_scalars_and_paths_are_plain_values():
    value = {"loss": np.float32(0.5), "bad": np.float32("nan"), "count": np.int64(3), "passed": np.bool_(True), "file": Path("a/b")}
    back = from_json(to_json(value))
    assert math.isnan(back.pop("bad"))
    assert back == {"loss": 0.5, "count": 3, "passed": True, "file": "a/b"}


@pytest.mark.parametrize("value", [{1, 2}, object(), {"x": math.nan, "y": object()}])
def test_what_is_not_data_is_refused(value):
    with pytest.raises(TypeError, match="cannot be stored as JSON"):
        to_json(value)


def test_file_name_that_is_not_utf8_comes_back():
    name = b"caf\xe9.wav".decode("utf-8", "surrogateescape")
    text = to_json([name, "zażółć"])
    text.encode("utf-8")
    assert from_json(text) == [name, "zażółć"]
