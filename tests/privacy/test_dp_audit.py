"""The private mean and what it may claim; a correct mechanism passes its audit as often as stated, and planted faults are caught."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from auscult.errors import UserError
from auscult.privacy.capture import LeakSettings, capture
from auscult.privacy.dp_audit import EVERYWHERE, Mechanism, audit_mechanism, canary_directions
from auscult.privacy.dp_mechanism import gaussian_claim, per_sample_norms, private_mean, renyi_epsilon
from auscult.privacy.message_vector import total_norm
from auscult.streams import Streams
from auscult.testing.victims import random_batch, small_victim

CLIP = 0.5
Gradients = dict[str, Tensor]


def noisy(total: Gradients, deviation: float, random: np.random.Generator) -> Gradients:
    return {name: value + torch.from_numpy(deviation * random.normal(size=tuple(value.shape))) for name, value in total.items()}


def shortened(total: Gradients, norm: float) -> Gradients:
    return {name: value * min(1.0, norm / total_norm(total)) for name, value in total.items()}


def honest(multiplier: float = 1.0) -> Mechanism:
    return lambda gradients, random: private_mean(gradients, CLIP, multiplier, random)


def clipped_sum(gradients: Gradients) -> Gradients:
    """The sum that an honest mechanism adds noise to."""
    factors = (CLIP / per_sample_norms(gradients)).clamp_max(1.0)
    return {name: torch.tensordot(factors, value.double(), 1) for name, value in gradients.items()}


def divided(total: Gradients, samples: int) -> Gradients:
    return {name: value / samples for name, value in total.items()}


def clips_the_mean(gradients: Gradients, random: np.random.Generator) -> Gradients:
    return noisy(shortened({name: value.double().mean(0) for name, value in gradients.items()}, CLIP), CLIP / 16, random)


def clips_the_sum(gradients: Gradients, random: np.random.Generator) -> Gradients:
    return divided(noisy(shortened({name: value.double().sum(0) for name, value in gradients.items()}, CLIP), CLIP, random), 16)


def clips_nothing(gradients: Gradients, random: np.random.Generator) -> Gradients:
    return divided(noisy({name: value.double().sum(0) for name, value in gradients.items()}, CLIP, random), 16)


def forgets_noise(gradients: Gradients, random: np.random.Generator) -> Gradients:
    return divided(clipped_sum(gradients), 16)


def divides_noise_twice(gradients: Gradients, random: np.random.Generator) -> Gradients:
    return divided(noisy(clipped_sum(gradients), CLIP / 16, random), 16)


def adds_half_the_noise(gradients: Gradients, random: np.random.Generator) -> Gradients:
    return divided(noisy(clipped_sum(gradients), CLIP / 2, random), 16)


def clips_each_tensor(gradients: Gradients, random: np.random.Generator) -> Gradients:
    sums = [clipped_sum({name: value}) for name, value in gradients.items()]
    return divided(noisy({name: value for one in sums for name, value in one.items()}, CLIP, random), 16)


def forgets_noise_of_one_tensor(gradients: Gradients, random: np.random.Generator) -> Gradients:
    total = clipped_sum(gradients)
    return divided({**noisy(total, CLIP, random), "bias": total["bias"]}, 16)


def draws_one_number_for_a_tensor(gradients: Gradients, random: np.random.Generator) -> Gradients:
    return divided({name: value + CLIP * random.normal() for name, value in clipped_sum(gradients).items()}, 16)


def seeds_its_noise(gradients: Gradients, random: np.random.Generator) -> Gradients:
    return private_mean(gradients, CLIP, 1.0, np.random.default_rng(0))


FAULTS: dict[Mechanism, tuple[int, str | None]] = {
    clips_the_mean: (60, None),
    clips_the_sum: (250, None),
    clips_nothing: (60, None),
    forgets_noise: (60, None),
    divides_noise_twice: (60, None),
    adds_half_the_noise: (250, None),
    seeds_its_noise: (60, None),
    clips_each_tensor: (400, EVERYWHERE),
    draws_one_number_for_a_tensor: (60, EVERYWHERE),
    forgets_noise_of_one_tensor: (60, "bias"),
}
"""Planted faults, canaries that find them, and the only place where each shows; None is every place. A sum clipped to the norm, or half the
noise, doubles mu; clipping each of three tensors by itself multiplies it by 1.7; the others are worth 16 times and more."""
SHAPES = {"weight": (5, 3), "recurrent": (3, 3), "bias": (3,)}


@pytest.mark.parametrize(("fault", "canaries", "place"), [(fault, *found) for fault, found in FAULTS.items()])
def test_planted_faults_are_violations(fault: Mechanism, canaries: int, place: str | None) -> None:
    found = audit_mechanism(fault, gaussian_claim(1.0), clip=CLIP, random=np.random.default_rng(1), shapes=SHAPES, canaries=canaries)
    assert found.verdict == "violated", found.text()
    assert found.shown > 1
    assert found.text().startswith("violated: epsilon >= ")
    assert found.summary()["verdict"] == "violated"
    caught = {one.place for one in found.places if one.mu.value > 1}
    assert caught == ({EVERYWHERE, *SHAPES} if place is None else {place})  # canaries of one kind alone would pass the latter


def test_a_correct_mechanism_is_called_violated_no_more_often_than_stated() -> None:
    """5 % of 20 audits is one; more than three have a chance of 1.6 %."""
    verdicts = [
        audit_mechanism(honest(), gaussian_claim(1.0), clip=CLIP, random=np.random.default_rng(seed), canaries=60).verdict
        for seed in range(20)
    ]
    assert verdicts.count("violated") <= 3


def test_canaries_show_half_to_all_of_an_honest_claim() -> None:
    found = audit_mechanism(honest(), gaussian_claim(1.0), clip=CLIP, random=np.random.default_rng(0), canaries=600)
    assert found.verdict == "consistent"
    assert 0.5 <= found.shown <= 1
    assert 0 < found.epsilon_of_any_noise < found.epsilon <= found.claim.epsilon
    assert "little is shown" not in found.text()
    assert len(found.places) == 3


def test_rounds_add_up_and_are_claimed() -> None:
    """Noise of 1 over four rounds is as private as noise of 0.5 in one; a claim that forgets the rounds is refuted."""
    settings = {"clip": CLIP, "shapes": {"weight": (3, 2)}}
    found = audit_mechanism(honest(1.0), gaussian_claim(1.0, rounds=4), random=np.random.default_rng(0), canaries=120, **settings)
    assert 0.4 <= found.shown <= 1
    forgotten = audit_mechanism(honest(1.0), gaussian_claim(2.0, rounds=4), random=np.random.default_rng(0), canaries=120, **settings)
    assert forgotten.verdict == "violated"


def test_an_audit_that_shows_little_says_so() -> None:
    found = audit_mechanism(honest(20.0), gaussian_claim(1.0), clip=CLIP, random=np.random.default_rng(0), canaries=100)
    assert found.verdict == "consistent"
    assert found.text().endswith("little is shown: more noise than claimed, canaries that get lost, or too few of them")


def test_directions_are_of_length_one_and_their_pairs_cancel() -> None:
    directions = canary_directions({**SHAPES, "scale": (1,)}, np.random.default_rng(0))
    assert list(directions) == [EVERYWHERE, "weight", "recurrent", "bias", "scale"]
    assert all(total_norm(direction) == pytest.approx(1) for direction in directions.values())
    assert all(float(value.sum()) == 0 for name, value in directions[EVERYWHERE].items() if name != "scale")
    assert [int(torch.count_nonzero(value)) for value in directions["recurrent"].values()] == [0, 1, 0, 0]


def test_audits_that_cannot_answer_are_refused() -> None:
    random = np.random.default_rng(0)
    with pytest.raises(UserError, match="no fault could be found; use more canaries"):
        audit_mechanism(honest(0.1), gaussian_claim(0.1), clip=CLIP, random=random, canaries=100)
    with pytest.raises(UserError, match="expected 4 or more"):
        audit_mechanism(honest(), gaussian_claim(1.0), clip=CLIP, random=random, canaries=3)
    with pytest.raises(UserError, match="1 samples"):
        audit_mechanism(honest(), gaussian_claim(1.0), clip=CLIP, random=random, samples=1)
    with pytest.raises(UserError, match="returned nothing for weight"):
        audit_mechanism(lambda gradients, random: {}, gaussian_claim(1.0), clip=CLIP, random=random, canaries=50)
    with pytest.raises(UserError, match=r"returned \(16, 8, 4\) for weight"):
        audit_mechanism(lambda gradients, random: gradients, gaussian_claim(1.0), clip=CLIP, random=random, canaries=50)

    def overflowing(gradients: Gradients, random: np.random.Generator) -> Gradients:
        return {name: value.sum(0) / 0 for name, value in gradients.items()}

    with pytest.raises(UserError, match="values that are not finite"):
        audit_mechanism(overflowing, gaussian_claim(1.0), clip=CLIP, random=random, canaries=50)


def test_samples_are_clipped_over_all_parameters_together() -> None:
    random = np.random.default_rng(0)
    sizes = torch.logspace(-3, 3, 7, dtype=torch.float64)
    weight = torch.from_numpy(random.normal(size=(7, 4, 3))) * sizes[:, None, None]
    bias = torch.from_numpy(random.normal(size=(7, 4))) * sizes[:, None]
    parts = []
    for sample in range(7):
        norm = math.sqrt(float(weight[sample].square().sum() + bias[sample].square().sum()))
        alone = private_mean({"weight": weight[[sample]], "bias": bias[[sample]]}, CLIP, 1e-12, random)
        assert total_norm(alone) == pytest.approx(min(norm, CLIP))
        torch.testing.assert_close(alone["bias"], bias[sample] * min(1.0, CLIP / norm))
        parts.append(alone["weight"])
    together = private_mean({"weight": weight, "bias": bias}, CLIP, 1e-12, random)
    torch.testing.assert_close(together["weight"], torch.stack(parts).mean(0))


def test_noise_is_that_of_the_sum_over_the_samples() -> None:
    gradients = {"weight": torch.zeros(8, 100, 100), "bias": torch.zeros(8, 5000)}
    mean = private_mean(gradients, 2.0, 3.0, np.random.default_rng(0))
    for value in mean.values():
        assert value.dtype == torch.float32
        assert float(value.std()) == pytest.approx(2.0 * 3.0 / 8, rel=0.05)
        assert abs(float(value.mean())) < 0.05
    again = private_mean(gradients, 2.0, 3.0, np.random.default_rng(0))
    assert all(torch.equal(again[name], value) for name, value in mean.items())


def test_real_gradients_pass_through() -> None:
    """Per-sample gradients of a recogniser are the messages of clients with one utterance each."""
    victim = small_victim("deepspeech1")
    settings = LeakSettings(layers=("fc",))
    leaks = [capture(victim, [random_batch(victim, 1, seed=seed)], ["a"], settings, Streams(0))[0] for seed in range(2)]
    gradients = {name: torch.stack([leak.tensors[name] for leak in leaks]) for name in leaks[0].tensors}
    norms = per_sample_norms(gradients)
    assert norms.tolist() == pytest.approx([total_norm(leak.tensors) for leak in leaks])
    mean = private_mean(gradients, float(norms.max()), 1e-12, np.random.default_rng(0))
    for name, value in gradients.items():
        torch.testing.assert_close(mean[name], value.mean(0))


@pytest.mark.parametrize(("noise", "rounds"), [(1.0, 1), (1.0, 10), (0.5, 1), (4.0, 100)])
def test_the_renyi_bound_is_the_best_order_of_a_grid_and_never_below_the_exact_epsilon(noise: float, rounds: int) -> None:
    claim = gaussian_claim(noise, rounds)
    orders = 1 + np.logspace(-3, 4, 200_001)
    grid = rounds * orders / (2 * noise**2) + np.log1p(-1 / orders) - (math.log(1e-5) + np.log(orders)) / (orders - 1)
    assert claim.renyi_epsilon == pytest.approx(grid.min(), rel=1e-6)
    assert claim.epsilon < claim.renyi_epsilon < 1.3 * claim.epsilon


def test_a_renyi_bound_is_not_negative() -> None:
    assert renyi_epsilon(0.5, 0.01) == 0.0


def test_bad_gradients_and_strengths_are_said() -> None:
    good, random = {"weight": torch.ones(2, 3), "bias": torch.ones(2)}, np.random.default_rng(0)
    for changes, named in (
        ({"bias": torch.ones(3)}, r"got \[2, 3\]"),
        ({"bias": torch.tensor(1.0)}, r"got \[0, 2\]"),
        ({"bias": torch.tensor([1.0, math.inf])}, "bias holds values that are not finite"),
    ):
        with pytest.raises(UserError, match=named):
            private_mean({**good, **changes}, 1.0, 1.0, random)
    with pytest.raises(UserError, match="private_mean: clip"):
        private_mean(good, 0.0, 1.0, random)
    with pytest.raises(UserError, match="noise_multiplier"):
        private_mean(good, 1.0, 0.0, random)
    with pytest.raises(UserError, match="no noise is no privacy"):
        gaussian_claim(0.0)
