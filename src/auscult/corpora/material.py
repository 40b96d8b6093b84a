"""What the voices of the synthetic corpus say: digits, spoken commands and sentences, in English and Polish.

Sentences are drawn from a small grammar (subject, verb, object, place, time) whose parts fit each other in every combination,
so that case and gender are right in Polish and more than 50,000 different sentences exist without any text being shipped or
fetched. Together the parts use every letter of the language. Texts are lower case without punctuation, so that every alphabet
of the language covers them.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Language = Literal["en", "pl"]
Material = Literal["digits", "commands", "sentences"]

DIGITS: dict[Language, tuple[str, ...]] = {
    "en": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "pl": ("zero", "jeden", "dwa", "trzy", "cztery", "pięć", "sześć", "siedem", "osiem", "dziewięć"),
}


def _alternatives(text: str) -> tuple[str, ...]:
    return tuple(" ".join(alternative.split()) for alternative in text.split("|"))


COMMANDS: dict[Language, tuple[tuple[str, ...], ...]] = {
    "en": (
        _alternatives("turn on | turn off | switch on | switch off | check | adjust"),
        _alternatives("the light | the radio | the heating | the fan | the alarm | the music | the television | the oven"),
        _alternatives("| in the kitchen | in the bedroom | in the hall | upstairs | now | at six | quickly please"),
    ),
    "pl": (
        _alternatives("włącz | wyłącz | sprawdź | przełącz | ustaw | uruchom"),
        _alternatives("światło | radio | ogrzewanie | wentylator | alarm | muzykę | telewizor | piekarnik"),
        _alternatives("| w kuchni | w sypialni | na korytarzu | na górze | teraz | o szóstej | na pięć minut"),
    ),
}

SENTENCES: dict[Language, tuple[tuple[str, ...], ...]] = {
    "en": (
        _alternatives(
            """the old farmer | my younger sister | a quiet boy | the doctor | our neighbour | the queen's cousin | an engineer
            | the jazz singer | a patient teacher | the fox | her brother | nobody here"""
        ),
        _alternatives("sees | carries | paints | sells | finds | watches | remembers | describes | wants | fixes"),
        _alternatives(
            """the red apple | a broken clock | a new book | the green boat | that heavy stone | the yellow flower | fresh bread
            | a wooden box | the last ticket | six small keys | a quick sketch | the white horse"""
        ),
        _alternatives(
            """in the garden | on the bridge | by the window | in a large city | near the river | behind the school | at the market
            | under the oak"""
        ),
        _alternatives("today | every evening | at dawn | on sunday | in june | before lunch | again | without a word"),
    ),
    "pl": (
        _alternatives(
            """stary rolnik | moja siostra | cichy chłopiec | lekarka | nasz sąsiad | młody inżynier | jej brat | śpiewaczka
            | cierpliwa nauczycielka | leśniczy | źle ubrany gość | dziewczynka"""
        ),
        _alternatives("widzi | niesie | maluje | sprzedaje | znajduje | ogląda | pamięta | opisuje | kupuje | naprawia"),
        _alternatives(
            """czerwone jabłko | stary fotel | nową książkę | zieloną łódź | ciężki kamień | żółty kwiat | świeży chleb
            | drewnianą skrzynię | ostatni bilet | sześć małych kluczy | piękny rysunek | białego konia"""
        ),
        _alternatives("w ogrodzie | na moście | przy oknie | w dużym mieście | nad rzeką | za szkołą | na targu | pod dębem"),
        _alternatives("dzisiaj | co wieczór | o świcie | w niedzielę | w czerwcu | przed obiadem | znowu | bez słowa"),
    ),
}


def draw_texts(
    language: Language, material: Material, count: int, random: np.random.Generator, shortest: int = 1, longest: int = 5
) -> list[str]:
    """Draw what one speaker says; a longer list starts with a shorter one from an equal generator.

    Args:
        language: "en" or "pl".
        material: which kind of text.
        count: number of texts.
        random: the only source of chance.
        shortest: smallest number of digits in a digit string, counted in words.
        longest: largest number of digits in a digit string.

    >>> draw_texts("en", "digits", 2, np.random.default_rng(0), shortest=2, longest=2)
    ['eight six', 'five two']
    """
    if material == "digits":
        return [_digits(language, int(random.integers(shortest, longest + 1)), random) for _ in range(count)]
    parts = COMMANDS[language] if material == "commands" else SENTENCES[language]
    return [" ".join(" ".join(part[random.integers(len(part))] for part in parts).split()) for _ in range(count)]


def _digits(language: Language, length: int, random: np.random.Generator) -> str:
    return " ".join(DIGITS[language][index] for index in random.integers(10, size=length))
