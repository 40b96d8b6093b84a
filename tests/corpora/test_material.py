from __future__ import annotations

from math import prod

import numpy as np
import pytest

from auscult.corpora.material import COMMANDS, DIGITS, SENTENCES, Language, Material, draw_texts

LETTERS = {"en": set("abcdefghijklmnopqrstuvwxyz '"), "pl": set("aąbcćdeęfghijklłmnńoóprsśtuwyzźż ")}


@pytest.mark.parametrize("language", ["en", "pl"])
def test_texts_use_the_letters_of_the_language_and_sentences_use_all(language: Language) -> None:
    sentences = " ".join(alternative for part in SENTENCES[language] for alternative in part)
    others = " ".join([*DIGITS[language], *(alternative for part in COMMANDS[language] for alternative in part)])
    assert set(sentences) == LETTERS[language]
    assert set(others) <= LETTERS[language]
    assert prod(len(part) for part in SENTENCES[language]) > 50_000


@pytest.mark.parametrize("material", ["digits", "commands", "sentences"])
@pytest.mark.parametrize("language", ["en", "pl"])
def test_more_texts_begin_with_the_fewer(language: Language, material: Material) -> None:
    few = draw_texts(language, material, 5, np.random.default_rng(3))
    many = draw_texts(language, material, 50, np.random.default_rng(3))
    assert many[:5] == few
    assert len(set(many)) > 20
    assert all(text == " ".join(text.split()) and text for text in many)


def test_digit_strings_keep_their_bounds() -> None:
    lengths = {len(text.split()) for text in draw_texts("en", "digits", 200, np.random.default_rng(0), 2, 4)}
    assert lengths == {2, 3, 4}
