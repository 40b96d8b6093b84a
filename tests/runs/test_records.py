from __future__ import annotations

import math

import pytest

from auscult.errors import UserError

ITEMS = [{"id": "b", "reference": "nan", "duration": 1.25}, {"id": "a", "reference": "żółw\u2028", "score": math.inf}]


def test_items_come_back_as_they_were_in_their_order(make_run):
    run = make_run()
    run.write_items("test", ITEMS)
    assert run.read_items("test") == ITEMS
    run.write_items("test", [])
    assert run.read_items("test") == []


def test_same_items_make_the_same_bytes(make_run):
    first, second = make_run("a"), make_run("b")
    for run in (first, second):
        run.write_items("test", iter(ITEMS))
    assert (first.path / "items/test.jsonl").read_bytes() == (second.path / "items/test.jsonl").read_bytes()


@pytest.mark.parametrize("items", [[{"id": "a"}, {"id": "a"}], [{"reference": "no id"}], [{"id": None}]])
def test_items_need_an_id_of_their_own(make_run, items):
    run = make_run()
    with pytest.raises(ValueError, match="must each have an id of their own"):
        run.write_items("test", items)
    with pytest.raises(UserError, match="has no items"):
        run.read_items("test")


def test_damaged_items_name_file_and_line(make_run):
    run = make_run()
    run.write_items("test", ITEMS)
    path = run.path / "items" / "test.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match=r"test\.jsonl, line 2: is damaged"):
        run.read_items("test")


def test_summary_comes_back_with_its_nan(make_run):
    run = make_run()
    run.write_summary("validation", {"metrics": {"wer": 0.125, "cer": math.nan}, "intervals": {"wer": [0.1, 0.15]}, "protocol": {}})
    summary = run.read_summary("validation")
    assert math.isnan(summary["metrics"].pop("cer"))
    assert summary == {"metrics": {"wer": 0.125}, "intervals": {"wer": [0.1, 0.15]}, "protocol": {}}


def test_split_that_was_not_judged_says_which_were(make_run):
    run = make_run()
    run.write_summary("validation", {"metrics": {}})
    with pytest.raises(UserError, match=r'has no summary of split "test" \(there: validation\); make them with `auscult evaluate'):
        run.read_summary("test")


@pytest.mark.parametrize("split", ["", "../test", ".hidden", "a/b"])
def test_split_cannot_leave_the_folder(make_run, split):
    with pytest.raises(UserError, match="expected a plain name"):
        make_run().write_items(split, [])
