"""What a gradient of DeepSpeech 2 gives away of real LibriSpeech utterances, without their transcripts; published size, one utterance each.

    python benchmarks/recurrent_span.py                        # promise: SNR > 10 dB, median over utterances and seeds, at 1.0 and 1.5 s
    python benchmarks/recurrent_span.py --statistics stored    # batch normalisation by stored statistics alone: a fifth of the time
    python benchmarks/recurrent_span.py --map                  # where it fails: by duration, normalisation, training; no promise

Each utterance is attacked under fresh weights of each seed. The intervals resample utterances. Every attack is reported to standard error.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch

from auscult.metrics.reconstruction import feature_mae, feature_snr
from auscult.models.recognition import RecognitionModel
from auscult.privacy.attack import Watch
from auscult.privacy.attacks.recurrent_span import RecurrentSpan
from auscult.privacy.capture import LeakSettings, capture
from auscult.privacy.message import Mode
from auscult.privacy.victim import Victim
from auscult.registry import build
from auscult.specification import Specification
from auscult.streams import Streams
from reconstruction import ALPHABET, RATE, batch_of, interval, piece, utterances

SNR = 10.0


def victim(seed: int, mode: Mode) -> Victim:
    torch.manual_seed(seed)
    specification = Specification("recognition", RATE, labels=ALPHABET.labels, blank=ALPHABET.blank)
    made = cast(RecognitionModel, build("model", {"name": "deepspeech2"}, specification=specification, sample_rate=RATE))
    return Victim(made, specification, mode=mode)


def train(made: Victim, pool: Sequence[tuple[np.ndarray, str]], updates: int, seed: int) -> None:
    """Train with the statistics of batches, which move the stored ones, and freeze them again."""
    random, model = np.random.default_rng(seed), made.model
    optimizer = torch.optim.Adam(made.parameters.values(), lr=3e-4)
    model.train()
    for module in model.modules():
        if hasattr(module, "momentum"):
            module.momentum = 0.1
    for _ in range(updates):
        batch = batch_of([piece(*pool[int(index)], 1.5) for index in random.choice(len(pool), 4, replace=False)])
        features = model.front_end(batch.samples, batch.sample_lengths)
        loss = made.loss(made.features.single(features), features.lengths, batch.tokens, batch.token_lengths)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(made.parameters.values(), 1.0)
        optimizer.step()
    made.set_dropout(False)


def attacked(made: Victim, samples: tuple[np.ndarray, list[int]]) -> dict[str, Any]:
    leak, knowledge, truth = capture(made, [batch_of([samples])], ["?"], LeakSettings(layers=("rnn.0", "conv")), Streams(0))
    began = time.process_time()
    found = RecurrentSpan().run(made, leak, knowledge, Watch(np.random.default_rng(0)))
    assert found.features is not None
    true, guess = truth.features[0].numpy(), found.features[0].numpy()
    return {
        "snr": feature_snr(true, guess), "mae": feature_mae(true, guess), "seconds": time.process_time() - began, "frames": len(true),
        "mean": feature_snr(true, np.broadcast_to(true.mean(0), true.shape)), "gave_up": found.gave_up,
    }  # fmt: skip


def row(title: str, found: Sequence[dict[str, Any]], count: int) -> float:
    ratios = [one["snr"] for one in found]
    median = statistics.median(ratios)
    rest = {name: statistics.median(one[name] for one in found) for name in ("mae", "seconds", "mean")}
    given_up = [one["gave_up"] for one in found if one["gave_up"]]
    right = sum(ratio > SNR for ratio in ratios)
    print(
        f"| {title} | {len(found)} | {median:.1f} ({interval(ratios, count)}) | {rest['mae']:.1e} | {right} of {len(found)} | "
        f"{len(given_up)} | {rest['mean']:.1f} | {rest['seconds']:.0f} |",
        flush=True,
    )
    for reason in sorted(set(given_up))[:3]:
        print(f"|   gave up: {reason} |", flush=True)
    return median


def head() -> None:
    print("| victim, seconds | attacks | SNR dB (95 % of medians) | MAE | SNR > 10 dB | gave up | utterance's own mean, dB | CPU s |")
    print("|---|---|---|---|---|---|---|---|", flush=True)


def case(title: str, mode: Mode, seconds: float, arguments: argparse.Namespace, updates: int = 0, seeds: int | None = None) -> float:
    pool, found = utterances(), []
    chosen = [one for one in pool[::7] if len(one[0]) > (seconds + 0.3) * RATE][: arguments.utterances]
    others = [one for place, one in enumerate(pool) if place % 7 and len(one[0]) > 2 * RATE]
    for seed in range(arguments.seeds if seeds is None else seeds):
        made = victim(seed, mode)
        if updates:
            train(made, others, updates, seed)
        for one in chosen:
            found.append(attacked(made, piece(*one, seconds)))
            print(f"{title}, {seconds} s, seed {seed}: {found[-1]}", file=sys.stderr, flush=True)
    return row(f"{title}, {seconds} s", found, len(chosen))


def promise(arguments: argparse.Namespace) -> bool:
    head()
    modes: dict[str, Mode] = {"stored": "eval", "batch": "train"}
    medians = [
        case(f"random weights, {name} statistics", modes[name], seconds, arguments)
        for name in arguments.statistics
        for seconds in arguments.seconds
    ]
    return min(medians) > SNR


def failures(arguments: argparse.Namespace) -> bool:
    head()
    for seconds in (0.6, 2.0, 2.3, 2.6):
        case("random weights, stored statistics", "eval", seconds, arguments, seeds=1)
    case("random weights, batch statistics", "train", 2.0, arguments, seeds=1)
    case(f"{arguments.updates} updates, stored statistics", "eval", 1.0, arguments, arguments.updates, seeds=1)
    case(f"{arguments.updates} updates, batch statistics", "train", 1.0, arguments, arguments.updates, seeds=1)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--map", action="store_true", help="the map of failures instead of the promise")
    parser.add_argument("--statistics", choices=("stored", "batch"), nargs="+", default=["stored", "batch"], help="of normalisation")
    parser.add_argument("--seconds", type=float, nargs="+", default=[1.0, 1.5], help="of utterances")
    parser.add_argument("--utterances", type=int, default=10, help="attacked under each seed")
    parser.add_argument("--seeds", type=int, default=3, help="of weights")
    parser.add_argument("--updates", type=int, default=15, help="before the attack on a trained network")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    return 0 if (failures if arguments.map else promise)(arguments) else 1


if __name__ == "__main__":
    sys.exit(main())
