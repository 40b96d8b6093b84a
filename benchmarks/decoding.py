"""Speed of decoding and scoring, each as a ratio against a named alternative in the same process.

Single-thread process CPU time, medians over alternating repeats. Run: `OMP_NUM_THREADS=1 python benchmarks/decoding.py`.
Promises: 2,620 utterances greedily decoded in < 5 s and aligned in < 1 s; 10,000 bootstrap replicates of them in < 0.5 s.
"""

from __future__ import annotations

import json
import math
from functools import partial

import jiwer
import numpy as np
from numpy.typing import NDArray

from auscult.data.alphabet import Alphabet
from auscult.metrics.bootstrap import bootstrap_ratio
from auscult.metrics.error_rate import word_errors
from auscult.tasks.decoders.greedy import GreedyDecoder
from auscult.tasks.decoders.prefix_beam import PrefixBeamDecoder
from shared_parts.timing import median_seconds

UTTERANCES, SPEAKERS, REPEATS = 2620, 40, 3
WORDS = ["the", "of", "and", "to", "auscultation", "hears", "what", "is", "wrong", "inside"]


seconds = partial(median_seconds, repeats=REPEATS)


def texts(random: np.random.Generator) -> tuple[list[str], list[str]]:
    references = [[WORDS[index] for index in random.integers(0, len(WORDS), random.integers(1, 40))] for _ in range(UTTERANCES)]
    hypotheses = [[word if random.random() > 0.05 else "uh" for word in words] for words in references]
    return [" ".join(words) for words in references], [" ".join(words) for words in hypotheses]


def outputs(random: np.random.Generator, alphabet: Alphabet, text: str) -> NDArray[np.float32]:
    """Peaked outputs as a trained model gives: the text, a blank after each character, some of it uncertain."""
    path = [token for symbol in alphabet.encode(text) for token in (symbol, alphabet.blank)]
    logits = random.normal(size=(len(path), len(alphabet.labels) + 1)) * 1.5
    logits[np.arange(len(path)), path] += random.uniform(3.0, 12.0, len(path))
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def textbook_beam(frames: NDArray[np.float32], alphabet: Alphabet, width: int = 32, minimum: float = 0.001) -> str:
    """The usual implementation: tuples as prefixes, sums in the logarithm, the same pruning."""
    beam = {(): (0.0, -math.inf)}
    for frame in frames.tolist():
        following: dict[tuple[int, ...], tuple[float, float]] = {}

        def add(prefix: tuple[int, ...], blank: float, symbol: float, into: dict[tuple[int, ...], tuple[float, float]] = following) -> None:
            old = into.get(prefix, (-math.inf, -math.inf))
            into[prefix] = (float(np.logaddexp(old[0], blank)), float(np.logaddexp(old[1], symbol)))

        for prefix, (blank, symbol) in beam.items():
            total = float(np.logaddexp(blank, symbol))
            add(prefix, total + frame[-1], symbol + frame[prefix[-1]] if prefix else -math.inf)
            for token, score in enumerate(frame[:-1]):
                if score >= math.log(minimum):
                    source = blank if prefix and prefix[-1] == token else total
                    add((*prefix, token), -math.inf, source + score)
        beam = dict(sorted(following.items(), key=lambda entry: -float(np.logaddexp(*entry[1])))[:width])
    return alphabet.decode(max(beam, key=lambda prefix: float(np.logaddexp(*beam[prefix]))))


def bootstrap_loop(errors: NDArray[np.int64], words: NDArray[np.int64], speakers: list[int], replicates: int) -> None:
    random = np.random.default_rng(0)
    groups = [np.flatnonzero(np.asarray(speakers) == speaker) for speaker in range(SPEAKERS)]
    rates = []
    for _ in range(replicates):
        chosen = np.concatenate([random.choice(groups[index], len(groups[index])) for index in random.integers(0, SPEAKERS, SPEAKERS)])
        rates.append(errors[chosen].sum() / words[chosen].sum())
    np.quantile(rates, [0.025, 0.975])


def main() -> None:
    random = np.random.default_rng(0)
    references, hypotheses = texts(random)
    rows = {}
    ours, theirs = seconds(
        lambda: [word_errors(*pair) for pair in zip(references, hypotheses, strict=True)],
        lambda: jiwer.process_words(references, hypotheses),
    )
    rows["alignment of 2,620 utterances"] = {"seconds": ours, "alternative": "jiwer.process_words", "times_faster": theirs / ours}

    errors, words, speakers = (
        random.poisson(1.0, UTTERANCES),
        random.integers(1, 40, UTTERANCES),
        [index % SPEAKERS for index in range(UTTERANCES)],
    )
    ours, theirs = seconds(lambda: bootstrap_ratio(errors, words, speakers), lambda: bootstrap_loop(errors, words, speakers, 500))
    rows["bootstrap, 10,000 replicates"] = {
        "seconds": ours,
        "alternative": "loop (500 replicates x 20)",
        "times_faster": 20 * theirs / ours,
    }

    alphabet = Alphabet.named("english")
    frames = [outputs(random, alphabet, text) for text in references[:40]]
    greedy, beam = GreedyDecoder(), PrefixBeamDecoder()
    if [beam(one, alphabet) for one in frames] != [textbook_beam(one, alphabet) for one in frames]:
        raise SystemExit("the textbook beam decodes to other texts: the comparison is void")
    ours, theirs = seconds(lambda: [beam(one, alphabet) for one in frames], lambda: [textbook_beam(one, alphabet) for one in frames])
    mean_frames = round(sum(map(len, frames)) / len(frames))
    rows[f"prefix beam, one utterance of {mean_frames} frames"] = {
        "seconds": ours / len(frames), "alternative": "tuples and logaddexp, same pruning", "times_faster": theirs / ours,
    }  # fmt: skip
    ours, theirs = seconds(lambda: [greedy(one, alphabet) for one in frames], lambda: [beam(one, alphabet) for one in frames])
    rows["greedy, 2,620 utterances"] = {
        "seconds": ours / len(frames) * UTTERANCES,
        "alternative": "prefix beam",
        "times_faster": theirs / ours,
    }
    print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
