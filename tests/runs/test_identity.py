from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

import auscult
from auscult.runs.identity import Identity, canonical_hash, fingerprint


def test_hash_ignores_key_order_and_nothing_else():
    value = {"a": 1, "b": [1.5, None, "x"], "c": {"d": True}}
    assert canonical_hash(value) == canonical_hash({"c": {"d": True}, "b": [1.5, None, "x"], "a": 1})
    others = [{**value, "a": 2}, {**value, "b": [None, 1.5, "x"]}, {**value, "c": {"d": False}}, {**value, "e": None}]
    assert len({canonical_hash(other) for other in [value, *others]}) == 5


def test_hash_tells_infinity_from_the_word():
    assert canonical_hash({"clip": float("inf")}) != canonical_hash({"clip": "inf"})


def test_hashes_are_the_same_in_every_process(program_environment):
    """The built-in hash differs between processes; names of runs must not (the label bug of the second reference experiment)."""
    program = "from auscult.runs.identity import *; print(canonical_hash({'a': [1, 'x']}), fingerprint('r', 'd'))"
    answers = {
        subprocess.check_output([sys.executable, "-c", program], env={**program_environment, "PYTHONHASHSEED": seed}, text=True)
        for seed in ("1", "2")
    }
    assert answers == {f"{canonical_hash({'a': [1, 'x']})} {fingerprint('r', 'd')}\n"}


def test_fingerprint_is_12_hex_characters_of_both_hashes():
    prints = {fingerprint(recipe, data) for recipe in ("r", "s") for data in ("d", "e")}
    assert len(prints) == 4
    assert all(len(text) == 12 and int(text, 16) >= 0 for text in prints)
    assert fingerprint("ab", "c") != fingerprint("a", "bc")


def test_current_identity_covers_every_file_and_the_versions():
    identity = Identity.current("r", "d", device="NVIDIA H200")
    package = Path(auscult.__file__).parent
    assert list(identity.code) == sorted(path.relative_to(package).as_posix() for path in package.rglob("*.py"))
    assert identity.environment["numpy"] == __import__("numpy").__version__
    assert identity.environment["device"] == "NVIDIA H200"
    assert identity.environment["processors"] >= 1
    assert identity.changes_since(Identity.current("r", "d", device="NVIDIA H200")) == []


def test_identity_survives_its_dictionary(identity):
    values = identity.to_dict()
    assert values["code_hash"] == identity.code_hash
    assert Identity.from_dict(values) == identity


def test_every_kind_of_change_is_told_in_words(identity):
    new = Identity(
        "other", "other", {"training/stepper.py": "2", "models/new.py": "1"}, {"torch": "2.14", "processors": 2, "OMP_NUM_THREADS": "4"}
    )
    assert new.changes_since(identity) == [
        "recipe changed",
        "data changed",
        "code changed: training/stepper.py, models/new.py, models/conv_ctc.py",
        "torch 2.13 -> 2.14",
        "OMP_NUM_THREADS none -> 4",
    ]


def test_long_lists_of_files_are_cut(identity):
    new = dataclasses.replace(identity, code={**identity.code, **{f"new_{number}.py": "1" for number in range(9)}})
    (change,) = new.changes_since(identity)
    assert change.endswith("new_4.py and 4 more")


@pytest.mark.parametrize("missing", ["recipe", "data", "code", "environment"])
def test_incomplete_dictionary_is_an_error(identity, missing):
    values = identity.to_dict()
    del values[missing]
    with pytest.raises(KeyError, match=missing):
        Identity.from_dict(values)
