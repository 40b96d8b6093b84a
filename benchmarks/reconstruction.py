"""What a gradient of DeepSpeech 1 gives away of real LibriSpeech utterances, without their transcripts.

    python benchmarks/reconstruction.py features      # first layer: median MAE <= 0.5 and SNR > 10 dB on normalised features
    python benchmarks/reconstruction.py characters    # both layers: exact sets at batches of 1 and 2, recall and precision >= 0.97 at 8
    python benchmarks/reconstruction.py transcripts   # both layers: every transcript exact and proved at batches of 1 and 2, no proof wrong
    python benchmarks/reconstruction.py noise         # first layer under noise on the message, as a share of its deviation; no promise
    python benchmarks/reconstruction.py limit         # first layer near the 468 frames that a span can hold; no promise

Utterances of LibriSpeech/train-mini are cut to a few seconds; the transcript of a piece is the same share of the characters, which is near
enough for a loss. Networks are of published width (`--hidden 2048`), with random weights of each seed and, for characters, also after some
updates on other utterances. Intervals resample utterances, with all seeds of each: seeds are no new speech. Exits 1 when a promise is
missed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import soundfile
import torch

from auscult.data.alphabet import Alphabet
from auscult.data.recognition_batch import RecognitionBatch
from auscult.metrics.disclosure import Found, character_set_scores
from auscult.metrics.reconstruction import feature_mae, feature_snr
from auscult.metrics.reconstruction_controls import controls
from auscult.models.recognition import RecognitionModel
from auscult.privacy.attack import Watch
from auscult.privacy.attacks.character_set import CharacterSet
from auscult.privacy.attacks.first_layer_span import FirstLayerSpan
from auscult.privacy.attacks.transcript_search import TranscriptSearch
from auscult.privacy.capture import LeakSettings, capture
from auscult.privacy.defences.gaussian_noise import GaussianNoise
from auscult.privacy.message import Knowledge
from auscult.privacy.victim import Victim
from auscult.registry import build
from auscult.specification import Specification
from auscult.streams import Streams
from shared_parts.verbs import ROOT

ALPHABET = Alphabet.named("english")
RATE = 16000
MAE, SNR, RECALL = 0.5, 10.0, 0.97


def utterances() -> list[tuple[np.ndarray, str]]:
    folder = Path(os.environ.get("AUSCULT_DATA", str(ROOT.parent / "shared" / "data"))) / "LibriSpeech" / "train-mini"
    found = []
    for table in sorted(folder.rglob("*.trans.txt")):
        for line in table.read_text().splitlines():
            name, text = line.split(" ", 1)
            found.append((soundfile.read(table.parent / f"{name}.flac", dtype="float32")[0], text.lower()))
    if not found:
        sys.exit(f"{folder} holds no LibriSpeech utterances; set AUSCULT_DATA")
    return found


def piece(samples: np.ndarray, text: str, seconds: float, start: float = 0.3) -> tuple[np.ndarray, list[int]]:
    share = len(text) / len(samples)
    first, count = round(start * RATE), round(seconds * RATE)
    words = text[round(first * share) : round((first + count) * share)].strip() or text[:1]
    return samples[first : first + count], ALPHABET.encode(words, unknown="drop")


def batch_of(pieces: Sequence[tuple[np.ndarray, list[int]]]) -> RecognitionBatch:
    return RecognitionBatch.pad([one[0] for one in pieces], [one[1] for one in pieces], [str(number) for number in range(len(pieces))])


def victim(hidden: int, seed: int) -> Victim:
    torch.manual_seed(seed)
    specification = Specification("recognition", RATE, labels=ALPHABET.labels, blank=ALPHABET.blank)
    section = {"name": "deepspeech1", "hidden": hidden, "dropout": 0.0}
    return Victim(cast(RecognitionModel, build("model", section, specification=specification, sample_rate=RATE)), specification)


def trained(hidden: int, seed: int, pool: Sequence[tuple[np.ndarray, str]], updates: int) -> Victim:
    made = victim(hidden, seed)
    optimizer = torch.optim.Adam(made.parameters.values(), lr=3e-4)
    random = np.random.default_rng(seed)
    for _ in range(updates):
        batch = batch_of([piece(*pool[int(index)], 1.5) for index in random.choice(len(pool), 4, replace=False)])
        features = made.model.front_end(batch.samples, batch.sample_lengths)
        loss = made.loss(made.features.single(features), features.lengths, batch.tokens, batch.token_lengths)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(made.parameters.values(), 1.0)
        optimizer.step()
    return made


def interval(values: Sequence[float], utterances: int, seed: int = 0) -> str:
    """Of the median; values of all utterances under the first seed come first, then those under the next."""
    table = np.asarray(values).reshape(-1, utterances)  # (seeds, utterances)
    drawn = np.random.default_rng(seed).integers(utterances, size=(10_000, utterances))
    medians = np.median(table[:, drawn], axis=(0, 2))
    return f"{np.quantile(medians, 0.025):.3g} to {np.quantile(medians, 0.975):.3g}"


def reconstruct(made: Victim, batch: RecognitionBatch, defences: Sequence[Any] = ()) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Return the features of the one utterance of a batch, what was found, the gap, and the seconds that the attack took."""
    leak, _, truth = capture(made, [batch], ["?"], LeakSettings(layers=("input.0",)), Streams(0), defences)
    began = time.perf_counter()
    found = FirstLayerSpan().run(made, leak, Knowledge(frames=(len(truth.features[0]),)), Watch(np.random.default_rng(0)))
    took = time.perf_counter() - began
    assert found.features is not None
    assert found.objective is not None
    return truth.features[0].numpy(), found.features[0].numpy(), found.objective, took


def features(arguments: argparse.Namespace) -> bool:
    pool, held = utterances(), True
    for seconds in (0.8, 1.6, 3.0):
        errors, ratios, nothing, means, took = [], [], [], [], []
        chosen = [one for one in pool if len(one[0]) > (seconds + 0.3) * RATE][: arguments.utterances]
        for seed in range(arguments.seeds):
            made = victim(arguments.hidden, seed)
            truths = []
            for samples, text in chosen:
                truth, found, _, needed = reconstruct(made, batch_of([piece(samples, text, seconds)]))
                took.append(needed)
                truths.append(truth)
                errors.append(feature_mae(truth, found))
                ratios.append(feature_snr(truth, found))
            for index in range(len(truths)):
                other = controls(truths, index, np.random.default_rng(seed))
                nothing.append(feature_snr(truths[index], other["zero"]))
                means.append(feature_snr(truths[index], other["corpus_mean"]))
        print(
            f"{seconds} s, {len(chosen)} utterances, {arguments.seeds} seeds: "
            f"MAE {statistics.median(errors):.2g} ({interval(errors, len(chosen))}), "
            f"SNR {statistics.median(ratios):.1f} dB ({interval(ratios, len(chosen))}), least {min(ratios):.1f}; "
            f"zeros {statistics.median(nothing):.1f}, others {statistics.median(means):.1f} dB; attack {statistics.median(took):.2f} s"
        )
        held &= statistics.median(errors) <= MAE and statistics.median(ratios) > SNR
    return held


def noise(arguments: argparse.Namespace) -> None:
    made, pool = victim(arguments.hidden, 0), utterances()[: arguments.utterances]
    for share in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1):
        ratios, gaps = [], []
        for samples, text in pool:
            batch = batch_of([piece(samples, text, 0.8)])
            leak, _, _ = capture(made, [batch], ["?"], LeakSettings(layers=("input.0.weight",)), Streams(0))
            sigma = share * float(leak.tensors["input.0.weight"].std())
            truth, found, gap, _ = reconstruct(made, batch, [GaussianNoise(sigma)])
            ratios.append(feature_snr(truth, found))
            gaps.append(gap)
        print(
            f"noise of {share:g} of the message's deviation: SNR {statistics.median(ratios):.1f} dB "
            f"({interval(ratios, len(pool))}), gap {statistics.median(gaps):.1g}"
        )


def limit(arguments: argparse.Namespace) -> None:
    made = victim(arguments.hidden, 0)
    pool = [one for one in utterances() if len(one[0]) > 10 * RATE][: arguments.utterances]
    for frames in (300, 400, 450, 460, 466, 467, 468, 469):
        pieces = [batch_of([piece(samples, text, (frames - 1) * 0.02)]) for samples, text in pool]
        found = [reconstruct(made, batch) for batch in pieces]
        assert all(len(truth) == frames for truth, _, _, _ in found)
        ratios = [feature_snr(truth, guess) for truth, guess, _, _ in found]
        print(
            f"{frames} frames, {len(pool)} utterances: SNR {statistics.median(ratios):.1f} dB, least {min(ratios):.1f}; "
            f"gap {statistics.median(one[2] for one in found):.1g}; {statistics.median(one[3] for one in found):.2f} s"
        )


def characters(arguments: argparse.Namespace) -> bool:
    pool, held = utterances(), True
    for state in ("random", "trained"):
        found: dict[tuple[str, int], list[Found]] = {}
        counted: dict[int, list[bool]] = {}
        for seed in range(arguments.seeds):
            made = victim(arguments.hidden, seed) if state == "random" else trained(arguments.hidden, seed, pool[60:], arguments.updates)
            random = np.random.default_rng(seed)
            for size in (1, 2, 8):
                for _ in range(arguments.utterances):
                    chosen = random.choice(60, size, replace=False)
                    batch = batch_of([piece(*pool[int(index)], 0.6 + 0.05 * place) for place, index in enumerate(chosen)])
                    signs, exact, right = revealed(made, batch)
                    found.setdefault(("signs", size), []).append(signs)
                    found.setdefault(("occupancy", size), []).append(exact)
                    counted.setdefault(size, []).append(right)
        for (rule, size), scores in found.items():
            precision, recall, exact_share = (
                statistics.mean(getattr(one, name) for one in scores) for name in ("precision", "recall", "exact")
            )
            lengths = f", transcript lengths right {statistics.mean(counted[size]):.2f}" if rule == "occupancy" else ""
            print(
                f"{state} weights, batch {size}, {len(scores)} batches, by {rule}: precision {precision:.3f}, recall {recall:.3f}, "
                f"exact {exact_share:.2f}{lengths}"
            )
            if rule == "occupancy":
                held &= exact_share == 1.0 if size <= 2 else min(recall, precision) >= RECALL
    return held


def revealed(made: Victim, batch: RecognitionBatch) -> tuple[Found, Found, bool]:
    """Score the signs of the output layer alone, and occupancies after the features; whether all transcript lengths were right."""
    size = len(batch.ids)
    leak, _, truth = capture(made, [batch], ["?"] * size, LeakSettings(layers=("input.0", "fc"), batch=size), Streams(0))
    spoken, watch = set("".join(truth.texts)), Watch(np.random.default_rng(0))
    signs = CharacterSet().run(made, leak, Knowledge(), watch).characters or frozenset()
    span = FirstLayerSpan().run(made, leak, Knowledge(frames=tuple(len(one) for one in truth.features)), watch)
    right = span.symbols == tuple(len(text) for text in truth.texts)
    return character_set_scores(spoken, set(signs)), character_set_scores(spoken, set(span.characters or ())), right


def transcripts(arguments: argparse.Namespace) -> bool:
    """Nothing is told about single utterances; of a batch of two their frames, which a span needs, and lengths of transcripts are not."""
    pool, held = [one for one in utterances() if len(one[0]) > (arguments.seconds + 0.5) * RATE], True
    attacked = np.random.default_rng(0).permutation(len(pool))[: 2 * arguments.utterances]
    others = [one for index, one in enumerate(pool) if index not in set(attacked.tolist())]
    for state in ("random", "trained"):
        scores: dict[int, list[tuple[float, float, float, float]]] = {1: [], 2: []}
        for seed in range(arguments.seeds):
            made = victim(arguments.hidden, seed) if state == "random" else trained(arguments.hidden, seed, others, arguments.updates)
            for size, found in scores.items():
                for first in range(0, size * arguments.utterances, size):
                    chosen = [pool[int(index)] for index in attacked[first : first + size]]
                    pieces = [piece(*one, arguments.seconds + 0.1 * place) for place, one in enumerate(chosen)]
                    found += read(made, batch_of(pieces))
        for size, found in scores.items():
            exact, proved, wrong, took = (np.array([one[place] for one in found]) for place in range(4))
            print(
                f"{state} weights, {arguments.hidden} units, batch {size}, {len(found) // arguments.seeds} pieces of "
                f"{arguments.seconds} s, {arguments.seeds} seeds: exact {exact.mean():.3f} ({shares(exact, arguments.seeds)}), "
                f"proved {proved.mean():.3f} ({shares(proved, arguments.seeds)}), proved and wrong {wrong.sum():.0f}; "
                f"{np.median(took):.2f} s a message",
                flush=True,
            )
            held &= bool(exact.all() and proved.all() and not wrong.any())
    return held


def read(made: Victim, batch: RecognitionBatch) -> list[tuple[float, float, float, float]]:
    """Return of each utterance whether its transcript is exact, proved, proved and wrong; and the seconds of the message's attack."""
    size = len(batch.ids)
    leak, _, truth = capture(made, [batch], ["?"] * size, LeakSettings(layers=("input.0", "fc"), batch=size), Streams(0))
    told = Knowledge() if size == 1 else Knowledge(frames=tuple(len(one) for one in truth.features))
    began = time.perf_counter()
    found = TranscriptSearch().run(made, leak, told, Watch(np.random.default_rng(0)))
    took = time.perf_counter() - began
    said, proved = found.transcripts or (None,) * size, found.proved or (False,) * size
    return [
        (float(one == true), float(sure), float(sure and one != true), took)
        for one, sure, true in zip(said, proved, truth.texts, strict=True)
    ]


def shares(values: np.ndarray, seeds: int) -> str:
    """95 % interval of a share over pieces; where all or none are counted, what so many pieces allow (Clopper and Pearson)."""
    pieces = values.reshape(seeds, -1).mean(0)
    if pieces.min() == pieces.max() and pieces.min() in (0.0, 1.0):
        bound = 0.025 ** (1 / len(pieces))
        return f"{bound:.2f} to 1" if pieces.min() == 1.0 else f"0 to {1 - bound:.2f}"
    drawn = np.random.default_rng(0).integers(len(pieces), size=(10_000, len(pieces)))
    low, high = np.quantile(pieces[drawn].mean(1), [0.025, 0.975])
    return f"{low:.2f} to {high:.2f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="*", choices=["features", "characters", "transcripts", "noise", "limit"], default=[])
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--utterances", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=1.5, help="of the pieces whose transcripts are read")
    parser.add_argument("--updates", type=int, default=40, help="of the trained networks")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    held = True
    chosen = arguments.which or ["features", "characters", "transcripts", "noise", "limit"]
    for which, promise in (("features", features), ("characters", characters), ("transcripts", transcripts)):
        if which in chosen:
            kept = promise(arguments)
            print(f"{which}: {'held' if kept else 'MISSED'}")
            held &= kept
    for which, measure in (("noise", noise), ("limit", limit)):
        if which in chosen:
            measure(arguments)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
