from __future__ import annotations

import pytest

from auscult.errors import UserError
from auscult.runs.facts import recipe_facts


def test_sections_and_plain_names_both_name():
    facts = {"task": "recognition", "model": "conv_ctc", "seed": 3}
    assert recipe_facts("task: {name: recognition}\nmodel: conv_ctc\nseed: 3") == facts
    assert recipe_facts("{}") == dict.fromkeys(facts)


@pytest.mark.parametrize("text", ["", "[1]", "a: [", "!!python/object/apply:os.getcwd []"])
def test_text_that_is_no_recipe_is_refused(text):
    with pytest.raises(UserError, match="recipe: "):
        recipe_facts(text)
