"""Decoders against enumeration; language model fusion against hand-computed back-off probabilities."""

from __future__ import annotations

import itertools
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from auscult import registry
from auscult.data.alphabet import Alphabet
from auscult.errors import MissingExtra, UserError
from auscult.tasks.decoders.greedy import GreedyDecoder
from auscult.tasks.decoders.language_model import WordLanguageModel
from auscult.tasks.decoders.prefix_beam import PrefixBeamDecoder
from auscult.testing.losses import enumerate_texts

AB = Alphabet(("a", "b"))
WORDS = Alphabet((" ", "a", "b"))
LN10 = math.log(10.0)
ARPA = """\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-2.0\t<unk>
-99\t<s>\t-0.3
-0.7\t</s>
-0.9\ta\t-0.2
-0.5\tb\t-0.1

\\2-grams:
-0.2\t<s> b
-0.3\tb </s>
-1.1\tb b

\\end\\
"""


def log_probabilities(frames: int, classes: int, seed: int, sharpness: float = 1.0) -> NDArray[np.float64]:
    logits = sharpness * np.random.default_rng(seed).normal(size=(frames, classes))
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def spelled(text: str, alphabet: Alphabet, certainty: float = 0.97) -> NDArray[np.float64]:
    """Frames that spell a text with a blank after each character."""
    classes = len(alphabet.labels) + 1
    path = [token for symbol in alphabet.encode(text) for token in (symbol, alphabet.blank)]
    values = np.full((len(path), classes), (1.0 - certainty) / (classes - 1))
    values[np.arange(len(path)), path] = certainty
    return np.log(values)


@pytest.fixture
def arpa(tmp_path: Path) -> Path:
    path = tmp_path / "words.arpa"
    path.write_text(ARPA)
    return path


def test_two_frames_where_greedy_is_not_the_best_text() -> None:
    frames, table = np.log([[0.4, 0.6], [0.4, 0.6]]), Alphabet(("a",))
    assert GreedyDecoder()(frames, table) == ""
    assert PrefixBeamDecoder()(frames, table) == "a"


def test_greedy_merges_before_it_drops_blanks() -> None:
    path = [0, 0, 2, 0, 1, 1, 2, 2, 1]
    frames = np.log(np.eye(3)[path] * 0.94 + 0.02)
    assert GreedyDecoder()(frames, AB) == "aabb"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.3, 1.0, 3.0]))
def test_unlimited_beam_equals_enumeration(seed: int, sharpness: float) -> None:
    frames = log_probabilities(5, 3, seed, sharpness)
    texts = enumerate_texts(np.exp(frames), blank=2)
    decoded = PrefixBeamDecoder(beam_width=1_000, minimum_probability=0.0)(frames, AB)
    assert texts[tuple(AB.encode(decoded))] == pytest.approx(max(texts.values()), rel=1e-12)


def test_unlimited_beam_beats_greedy_somewhere() -> None:
    better = 0
    for seed in range(50):
        frames = log_probabilities(5, 3, seed)
        texts = enumerate_texts(np.exp(frames), blank=2)
        best, greedy = (decoder(frames, AB) for decoder in (PrefixBeamDecoder(1_000, 0.0), GreedyDecoder()))
        better += texts[tuple(AB.encode(best))] > texts[tuple(AB.encode(greedy))] * (1 + 1e-9)
    assert better > 10


@pytest.mark.parametrize("decoder", [GreedyDecoder(), PrefixBeamDecoder(), PrefixBeamDecoder(1, 0.0), PrefixBeamDecoder(4, 0.99)])
def test_clear_outputs_are_read_by_every_decoder(decoder: GreedyDecoder | PrefixBeamDecoder) -> None:
    polish = Alphabet.named("polish")
    for dtype in (np.float32, np.float64):
        assert decoder(spelled("zażółć gęślą jaźń oo", polish).astype(dtype), polish) == "zażółć gęślą jaźń oo"


@pytest.mark.parametrize("decoder", [GreedyDecoder(), PrefixBeamDecoder()])
def test_no_frames_no_text(decoder: GreedyDecoder | PrefixBeamDecoder) -> None:
    assert decoder(np.zeros((0, 3)), AB) == ""


def test_probability_zero_and_a_vanishing_beam_are_survived() -> None:
    with np.errstate(divide="ignore"):
        frames = np.log(np.eye(3)[[0, 2, 0, 0, 1]])
    for decoder in (GreedyDecoder(), PrefixBeamDecoder(), PrefixBeamDecoder(1, 0.9)):
        assert decoder(frames, AB) == "aab"


def test_long_utterances_do_not_underflow() -> None:
    frames = log_probabilities(3_000, 3, seed=0, sharpness=0.1)
    assert len(PrefixBeamDecoder(4)(frames, AB)) > 100


@pytest.mark.parametrize("decoder", [GreedyDecoder(), PrefixBeamDecoder()])
@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((4, 3)), r"frame 0 add up to exp\(1.1\), not 1; apply log_softmax"),
        (np.log(np.full((4, 4), 0.25)), r"expected \(frames, 3\) for 2 labels and the blank, got \(4, 4\)"),
        (np.zeros(3), r"expected \(frames, 3\)"),
        (np.full((2, 3), np.nan), "frame 0 add up to exp"),
    ],
)
def test_refusals(decoder: GreedyDecoder | PrefixBeamDecoder, frames: NDArray[np.float64], message: str) -> None:
    with pytest.raises(UserError, match=message):
        decoder(frames, AB)


def test_word_bonus_counts_words() -> None:
    """Score = log p + bonus * words, so a large bonus splits and a penalty joins; against enumeration."""
    for seed, bonus in itertools.product(range(10), (-1.0, 1.0)):
        frames = log_probabilities(5, 4, seed)
        texts = enumerate_texts(np.exp(frames), blank=3)
        scores = {text: math.log(p) + bonus * len(WORDS.decode(text).split()) for text, p in texts.items() if p > 0}
        decoded = PrefixBeamDecoder(10_000, 0.0, word_bonus=bonus)(frames, WORDS)
        assert scores[tuple(WORDS.labels.index(c) for c in decoded)] == pytest.approx(max(scores.values()), abs=1e-9)


def test_registered_and_described() -> None:
    assert registry.build("decoder", {"name": "greedy"}).describe() == "greedy (best class per frame), no language model"
    built = registry.build("decoder", {"name": "prefix_beam", "beam_width": 8, "minimum_probability": 0.01})
    assert built.describe() == "prefix beam search, width 8, classes from p = 0.01, no language model"


def test_missing_extra_says_what_to_install(arpa: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flashlight.lib.text.decoder.kenlm", None)
    with pytest.raises(MissingExtra, match=r"auscult\[lm\]"):
        PrefixBeamDecoder(language_model=str(arpa))


class TestLanguageModel:
    @pytest.fixture(autouse=True)
    def _library(self) -> None:
        pytest.importorskip("flashlight.lib.text.decoder.kenlm", reason="needs the extra lm (flashlight-text)", exc_type=ImportError)

    @staticmethod
    def sentence(words: list[str]) -> float:
        """Natural log-probability of a sentence by the back-off rule of the file above."""
        pairs = {("<s>", "b"): -0.2, ("b", "</s>"): -0.3, ("b", "b"): -1.1}
        single = {"<unk>": -2.0, "</s>": -0.7, "a": -0.9, "b": -0.5}
        back_off = {"<s>": -0.3, "a": -0.2, "b": -0.1}
        known = [word if word in single else "<unk>" for word in words]
        total = 0.0
        for before, word in itertools.pairwise(["<s>", *known, "</s>"]):
            total += pairs.get((before, word), back_off.get(before, 0.0) + single[word])
        return total * LN10

    @pytest.mark.parametrize("words", [[], ["b"], ["a"], ["b", "b"], ["a", "b", "ab", "a"]])
    def test_scores_follow_the_back_off_rule(self, arpa: Path, words: list[str]) -> None:
        model = WordLanguageModel(arpa)
        state, total = model.start(), 0.0
        for word in words:
            state, score = model.score(state, word)
            total += score
        assert total + model.finish(state) == pytest.approx(self.sentence(words), abs=1e-5)

    def test_fusion_equals_enumeration(self, arpa: Path) -> None:
        changed = 0
        for seed in range(15):
            frames = log_probabilities(5, 4, seed)
            texts = enumerate_texts(np.exp(frames), blank=3)
            scores = {t: math.log(p) + 0.7 * self.sentence(w := WORDS.decode(t).split()) + 0.4 * len(w) for t, p in texts.items() if p > 0}
            decoder = PrefixBeamDecoder(10_000, 0.0, language_model=str(arpa), language_model_weight=0.7, word_bonus=0.4)
            decoded = decoder(frames, WORDS)
            assert scores[tuple(WORDS.labels.index(c) for c in decoded)] == pytest.approx(max(scores.values()), abs=1e-4)
            changed += decoded != PrefixBeamDecoder(10_000, 0.0)(frames, WORDS)
        assert changed > 3

    def test_weight_zero_changes_nothing(self, arpa: Path) -> None:
        for seed in range(10):
            frames = log_probabilities(12, 4, seed)
            assert PrefixBeamDecoder(16, language_model=str(arpa), language_model_weight=0.0)(frames, WORDS) == PrefixBeamDecoder(16)(
                frames, WORDS
            )

    def test_described_with_weights(self, arpa: Path) -> None:
        text = PrefixBeamDecoder(language_model=str(arpa), language_model_weight=0.7, word_bonus=0.4).describe()
        assert text == "prefix beam search, width 32, classes from p = 0.001, language model words.arpa with weight 0.7, word bonus 0.4"

    def test_words_in_capitals_are_refused(self, arpa: Path) -> None:
        arpa.write_text(
            ARPA.replace("\ta\t", "\tA\t")
            .replace("\tb\t", "\tB\t")
            .replace("b </s>", "B </s>")
            .replace("<s> b", "<s> B")
            .replace("b b", "B B")
        )
        with pytest.raises(UserError, match=r"the alphabet can write none of its 2 words \(its first is 'A'\)"):
            PrefixBeamDecoder(language_model=str(arpa))(spelled("a", WORDS), WORDS)

    def test_an_alphabet_without_space_is_refused(self, arpa: Path) -> None:
        with pytest.raises(UserError, match="needs an alphabet with a space"):
            PrefixBeamDecoder(language_model=str(arpa))(spelled("a", AB), AB)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"not a model\n", "no .1-grams: section"),
            (b"\xff\xfe\x00binary", "not a text file"),
            (ARPA.replace("-0.9\ta", "-0.9x\ta").encode(), "not a readable ARPA language model"),
        ],
    )
    def test_bad_files(self, tmp_path: Path, content: bytes, message: str) -> None:
        (tmp_path / "bad.arpa").write_bytes(content)
        with pytest.raises(UserError, match=message):
            WordLanguageModel(tmp_path / "bad.arpa")

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="cannot read the language model"):
            WordLanguageModel(tmp_path / "none.arpa")
