"""The alphabet: frozen order, unknown characters, diacritics."""

from __future__ import annotations

import dataclasses
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auscult.data.alphabet import Alphabet, normalise_text
from auscult.errors import UserError

PANGRAM = "Pchnąć w tę łódź jeża lub ośm skrzyń fig"


def test_english_has_29_classes_with_the_blank_last() -> None:
    english = Alphabet.named("english")
    assert "".join(english.labels) == " 'abcdefghijklmnopqrstuvwxyz"
    assert english.blank == 28
    assert english.encode("a z'") == [2, 0, 27, 1]


def test_polish_diacritics_survive_any_spelling() -> None:
    polish = Alphabet.named("polish")
    assert len(polish.labels) == 37
    for form in ("NFC", "NFD", "NFKD"):
        tokens = polish.encode(unicodedata.normalize(form, PANGRAM.upper()))
        assert polish.decode(tokens) == PANGRAM.lower()


def test_the_order_of_labels_is_fixed() -> None:
    assert Alphabet.named("english") == Alphabet(tuple(" 'abcdefghijklmnopqrstuvwxyz")) != Alphabet.named("polish")


def test_alphabet_of_texts_does_not_depend_on_their_order() -> None:
    texts = ["Two  words", "żółw", "one"]
    assert Alphabet.from_texts(texts) == Alphabet.from_texts(reversed(texts))
    assert "".join(Alphabet.from_texts(texts).labels) == " denorstwółż"


def test_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Alphabet.named("english").labels = ("a",)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ((), "no labels"),
        (("b", "a"), "sorted by code point"),
        (("a", "a"), "sorted by code point"),
        (("A",), "'A' is not one lower-case character"),
        (("ab",), "'ab' is not one"),
        (("",), "'' is not one"),
        (("\t",), "is not one"),
        (("\u212b",), "is not one"),
    ],
)
def test_refused_labels(labels: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Alphabet(labels)


def test_unknown_name_has_a_suggestion() -> None:
    with pytest.raises(UserError, match=r'alphabet "englsh" \(did you mean "english"\?\)'):
        Alphabet.named("englsh")


def test_unknown_characters_name_the_utterance_and_themselves() -> None:
    english = Alphabet.named("english")
    with pytest.raises(UserError, match=r"utterance \"u-7\" holds characters outside the alphabet: '!' \(U\+0021\), 'é' \(U\+00E9\)"):
        english.encode("café! café!", id="u-7")
    with pytest.raises(UserError, match="text 'café'"):
        english.encode("café")
    assert english.unknown("café! café!") == {"!": 2, "é": 2}


def test_dropping_leaves_single_spaces() -> None:
    english = Alphabet.named("english")
    assert english.decode(english.encode("yes - 7 no 8", unknown="drop")) == "yes no"
    assert english.encode("1234", unknown="drop") == []
    with pytest.raises(UserError, match='expected "error" or "drop"'):
        english.encode("a", unknown="skip")  # type: ignore[arg-type]


@pytest.mark.parametrize("token", [28, -1, 99])
def test_blank_and_other_strangers_do_not_decode(token: int) -> None:
    with pytest.raises(UserError, match=f"token {token} is no label"):
        Alphabet.named("english").decode([0, token])


@given(st.text(max_size=30))
def test_normalisation_is_idempotent(text: str) -> None:
    once = normalise_text(text)
    assert normalise_text(once) == once == Alphabet.normalise(text)


@given(st.text(min_size=1, max_size=30).filter(lambda text: normalise_text(text) != ""))
def test_round_trip_of_any_text(text: str) -> None:
    alphabet = Alphabet.from_texts([text])
    assert alphabet.decode(alphabet.encode(text)) == normalise_text(text)
