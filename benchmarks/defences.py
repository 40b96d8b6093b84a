"""Defences of a message, each against the plain attack and against the one that adapts to it; and what descent on gradients reaches.

    python benchmarks/defences.py span        # DeepSpeech 1's first layer: SNR of features by defence and strength
    python benchmarks/defences.py descent     # matching gradients by descent, with and without dropout

Beginnings of real LibriSpeech utterances (train-mini) and networks with random weights of each seed: 512 units and 0.8 s, for descent 256
units and 0.6 s. Medians over utterances and seeds; intervals resample utterances with all seeds of each, because seeds are no new speech.
Zeros score 0 dB by definition. Prints tables in Markdown and the CPU time they took; promises nothing.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from auscult.metrics.reconstruction import feature_snr
from auscult.metrics.reconstruction_controls import controls
from auscult.privacy.adapted_span import adapted, spoilt
from auscult.privacy.attack import Attack, Reconstruction, Watch
from auscult.privacy.attacks.dropout_inversion import DropoutInversion
from auscult.privacy.attacks.first_layer_span import FirstLayerSpan
from auscult.privacy.attacks.gradient_matching import GradientMatching
from auscult.privacy.attacks.zeroth_order import HessianFree
from auscult.privacy.capture import LeakSettings, capture
from auscult.privacy.defence import Defence
from auscult.privacy.defences.clipping import Clipping
from auscult.privacy.defences.gaussian_noise import GaussianNoise
from auscult.privacy.defences.int8 import Int8
from auscult.privacy.defences.random_pruning import RandomPruning
from auscult.privacy.defences.sign import Sign
from auscult.privacy.defences.top_k import TopK
from auscult.privacy.message import Knowledge, Leak, Truth
from auscult.privacy.victim import Victim
from auscult.streams import Streams
from reconstruction import RATE, batch_of, interval, piece, utterances, victim

UNITS, SECONDS = 512, 0.8
FEW_UNITS, SHORT = 256, 0.6
FIRST = "input.0.weight"


@dataclass(frozen=True)
class Case:
    """One row: what clients do, given the deviation of the message."""

    name: str
    defence: Callable[[float], Defence] | None = None
    settings: Mapping[str, Any] | None = None
    dropout: float = 0.0
    together: int = 1


def cases() -> list[Case]:
    """Strengths of noise are shares of the message's deviation; a norm of 5 deviations is a hundredth of the message's."""
    found = [Case("none"), Case("clipping to a hundredth", lambda size: Clipping(5 * size))]
    found += [Case(f"noise {share:g}", lambda size, share=share: GaussianNoise(share * size)) for share in (1e-4, 1e-3, 1e-2, 1e-1, 1)]
    found += [Case("int8", lambda size: Int8()), Case("sign", lambda size: Sign()), Case("dropout 0.2", dropout=0.2)]
    found += [Case(f"{steps} local steps", settings={"kind": "delta", "steps": steps, "rate": 0.05}) for steps in (4, 16)]
    found += [Case("batch of 4", settings={"batch": 4}, together=4), Case("secure sum of 8", settings={"clients": 8}, together=8)]
    found += [Case(f"top-k {share:.0%}", lambda size, share=share: TopK(share)) for share in (0.5, 0.1, 0.01)]
    return found + [Case(f"random pruning {share:.0%}", lambda size, share=share: RandomPruning(share)) for share in (0.5, 0.2, 0.01)]


def message(made: Victim, case: Case, pieces: Sequence[Any], seed: int) -> tuple[Leak, Knowledge, Truth]:
    """Return what the attacker of one row has, lengths known, and the truth."""
    settings = LeakSettings(**{"layers": ("input.0",), **(case.settings or {})})
    batches = [batch_of(pieces[first : first + settings.batch]) for first in range(0, len(pieces), settings.batch)]
    speakers = ["?"] * len(pieces)
    made.dropout = case.dropout
    leak, knowledge, truth = capture(made, batches, speakers, settings, Streams(seed))
    if case.defence is None:
        return leak, knowledge, truth
    return capture(made, batches, speakers, settings, Streams(seed), [case.defence(float(leak.tensors[FIRST].std()))])


def score(truth: Truth, found: Reconstruction) -> float:
    """Return the mean SNR over the utterances of a message."""
    assert found.features is not None
    return statistics.mean(feature_snr(true.numpy(), one.numpy()) for true, one in zip(truth.features, found.features, strict=True))


def span(arguments: argparse.Namespace) -> None:
    pool = [one for one in utterances() if len(one[0]) > 2 * RATE]
    networks = [victim(UNITS, seed) for seed in range(arguments.seeds)]
    print("| defence | plain attack, dB | adaptive attack, dB | its least | gave up |\n|---|---|---|---|---|")
    for case in (one for one in cases() if wanted(arguments, one.name)):
        plain, clever, gave_up = list[float](), list[float](), 0
        for seed, made in enumerate(networks):
            for number in range(arguments.utterances):
                chosen = [pool[(number * case.together + place) % len(pool)] for place in range(case.together)]
                pieces = [piece(*one, SECONDS + 0.04 * place) for place, one in enumerate(chosen)]
                leak, knowledge, truth = message(made, case, pieces, seed)
                first = FirstLayerSpan(adapt=False).run(made, leak, knowledge, Watch(np.random.default_rng(seed)))
                second = adapted(made, leak, first) if spoilt(leak) else first
                plain.append(score(truth, first))
                clever.append(score(truth, second))
                gave_up += second.gave_up is not None
        same = "the same" if clever == plain else told(clever, arguments.utterances)
        print(
            f"| {case.name} | {told(plain, arguments.utterances)} | {same} | {min(clever):.1f} | {gave_up} of {len(clever)} |", flush=True
        )
    controls_of(networks[0], pool[: arguments.utterances], SECONDS)


def descent(arguments: argparse.Namespace) -> None:
    pool = [one for one in utterances() if len(one[0]) > 2 * RATE][: arguments.utterances]
    networks = [victim(FEW_UNITS, seed) for seed in range(arguments.seeds)]
    print("| attack | layers | steps | objective before and after | SNR, dB | most |\n|---|---|---|---|---|---|")
    for name, attack, dropout, steps in (one for one in descents() if wanted(arguments, one[0])):
        ratios, before, after = list[float](), list[float](), list[float]()
        for seed, made in enumerate(networks):
            made.dropout = dropout
            for number, one in enumerate(pool):
                settings = LeakSettings(layers=("rnn", "fc"), knowledge="transcripts")
                leak, knowledge, truth = capture(made, [batch_of([piece(*one, SHORT)])], ["?"], settings, Streams(seed))
                seen: list[float] = []
                watch = Watch(np.random.default_rng([seed, number]), lambda at, total, values, seen=seen: seen.append(values["objective"]))
                found = attack.run(made, leak, knowledge, watch)
                ratios.append(score(truth, found))
                before.append(seen[0])
                after.append(float(found.objective or 0.0))
        layers = " and ".join(attack.layers)  # type: ignore[attr-defined]
        fell = f"{statistics.median(before):.1e}, {statistics.median(after):.1e}"
        print(f"| {name} | {layers} | {steps} | {fell} | {told(ratios, len(pool))} | {max(ratios):.1f} |", flush=True)
    controls_of(networks[0], pool, SHORT)


def descents() -> list[tuple[str, Attack, float, int]]:
    """Return name, attack, dropout of the clients, and steps."""
    long, short = {"restarts": 1, "iterations": 80}, {"restarts": 1, "iterations": 25}
    return [
        ("cosine", GradientMatching(**long), 0.0, 80),
        ("cosine from zeros", GradientMatching(start="zero", **long), 0.0, 80),
        ("L2", GradientMatching(objective="l2", **long), 0.0, 80),
        ("cosine, Pearlmutter", GradientMatching(method="pearlmutter", **short), 0.0, 25),
        ("cosine", GradientMatching(layers=("rnn", "fc"), **short), 0.0, 25),
        ("cosine, Hessian-free from zeros", HessianFree(iterations=8), 0.0, 8),
        ("cosine against dropout 0.2", GradientMatching(**long), 0.2, 80),
        ("cosine and masks against dropout 0.2", DropoutInversion(iterations=80), 0.2, 80),
    ]


def controls_of(made: Victim, pool: Sequence[Any], seconds: float) -> None:
    """Print what costs no attack: zeros, and the mean frame of other utterances."""
    made.dropout = 0.0
    features = [message(made, Case("none"), [piece(*one, seconds)], 0)[2].features[0].numpy() for one in pool]
    found = [controls(features, index, np.random.default_rng(0)) for index in range(len(pool))]
    for name, words in (("corpus_mean", "mean of other utterances"), ("random_other", "another utterance")):
        print(f"\n{words}: {told([feature_snr(true, one[name]) for true, one in zip(features, found, strict=True)], len(pool))} dB", end="")
    print("; zeros: 0 dB")


def wanted(arguments: argparse.Namespace, name: str) -> bool:
    return any(part in name for part in arguments.only)


def told(values: Sequence[float], count: int) -> str:
    return f"{round(statistics.median(values), 1) + 0.0:.1f} ({interval(values, count)})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=["span", "descent"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[""], help="rows whose name holds one of these")
    parser.add_argument("--utterances", type=int, default=10, help="2 or more, so that there is a mean of others")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    began = time.process_time()
    {"span": span, "descent": descent}[arguments.which](arguments)
    print(f"{arguments.utterances} utterances, {arguments.seeds} seeds, {time.process_time() - began:.0f} s of CPU time")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
