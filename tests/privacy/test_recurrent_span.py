"""The analytic attack on DeepSpeech 2: its parts against what torch computes, the whole against real features, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from auscult.errors import UserError
from auscult.metrics.reconstruction import feature_snr
from auscult.privacy import convolution_inputs, recurrent_inputs
from auscult.privacy.attack import Reconstruction, Watch
from auscult.privacy.attacks.recurrent_span import CERTAIN, SECOND, RecurrentSpan
from auscult.privacy.capture import LeakSettings, capture
from auscult.privacy.convolution_inputs import Convolution, PlaneEquations, Seen
from auscult.privacy.message import Knowledge, Leak, Truth
from auscult.privacy.spectrum import leading, rank
from auscult.privacy.victim import Victim
from auscult.streams import Streams
from auscult.testing.victims import random_batch, small_victim

LAYERS = ("rnn.0", "conv")


def wide_victim(**arguments: Any) -> Victim:
    return small_victim("deepspeech2", **{"channels": 32, "hidden": 64, "seed": 1, **arguments})


def taken(victim: Victim, utterances: int = 1, seconds: float = 0.25, **settings: Any) -> tuple[Leak, Knowledge, Truth]:
    chosen = LeakSettings(**{"layers": LAYERS, "batch": utterances, **settings})
    return capture(victim, [random_batch(victim, utterances, seconds=seconds, seed=1)], ["a"] * utterances, chosen, Streams(0))


def attack(victim: Victim, leak: Leak, knowledge: Knowledge) -> Reconstruction:
    return RecurrentSpan().run(victim, leak, knowledge, Watch(np.random.default_rng(0)))


def ratio(truth: Truth, found: Reconstruction) -> float:
    assert found.features is not None
    return feature_snr(truth.features[0].numpy(), found.features[0].numpy())


@pytest.mark.parametrize("settings", [{}, {"kind": "delta", "rate": 50.0}], ids=["gradient", "delta"])
def test_features_come_out_whatever_dropout_hides_above(settings: dict[str, Any]) -> None:
    victim = wide_victim(dropout=0.2)
    leak, knowledge, truth = taken(victim, **settings)
    found = attack(victim, leak, knowledge)
    assert ratio(truth, found) > 60
    assert found.notes == ()
    assert found.objective is not None
    assert found.objective < CERTAIN


def test_the_statistics_of_the_batch_hide_nothing() -> None:
    """In the mode in which clients train: slopes then depend on values that clipping hid, and constants leave no trace."""
    victim = wide_victim(mode="train", hidden=96, seed=2)
    leak, knowledge, truth = taken(victim)
    found = attack(victim, leak, knowledge)
    assert ratio(truth, found) > 60
    assert found.notes == ()


def test_a_length_that_is_not_known_is_found() -> None:
    victim = wide_victim(seed=2)
    leak, _, truth = taken(victim)
    found = attack(victim, leak, Knowledge())
    assert ratio(truth, found) > 60


def test_gradients_of_something_else_are_not_believed() -> None:
    """Planted: the second convolution's gradient is of another utterance."""
    victim = wide_victim()
    leak, knowledge, truth = taken(victim)
    other, _, _ = capture(victim, [random_batch(victim, 1, seconds=0.25, seed=9)], ["a"], LeakSettings(layers=LAYERS), Streams(0))
    found = attack(victim, replace(leak, tensors={**leak.tensors, SECOND: other.tensors[SECOND]}), knowledge)
    assert ratio(truth, found) < 10
    assert "probably wrong" in found.notes[0]


def test_noise_is_not_mistaken_for_states() -> None:
    victim = wide_victim()
    leak, knowledge, _ = taken(victim)
    noise = {name: value + 0.1 * value.std() * torch.randn(value.shape) for name, value in leak.tensors.items()}
    found = attack(victim, replace(leak, tensors=noise), knowledge)
    assert found.features is not None
    assert not found.features[0].any()
    assert "no frame fits" in found.notes[0]


@pytest.mark.parametrize(
    ("arguments", "seconds", "words"),
    [
        ({"channels": 4}, 0.35, "fewer than its"),
        ({"hidden": 24}, 0.35, "too many for states of 24 units"),
    ],
    ids=["few weights", "few units"],
)
def test_limits_give_zeros_and_a_reason(arguments: dict[str, Any], seconds: float, words: str) -> None:
    victim = wide_victim(**arguments)
    leak, knowledge, truth = taken(victim, seconds=seconds)
    found = attack(victim, leak, knowledge)
    assert ratio(truth, found) == pytest.approx(0)
    assert words in found.notes[0]


def test_an_empty_message_gives_zeros_and_a_reason() -> None:
    victim = wide_victim()
    leak, knowledge, _ = taken(victim)
    found = attack(victim, replace(leak, tensors={name: torch.zeros_like(value) for name, value in leak.tensors.items()}), knowledge)
    assert "zero everywhere" in str(found.gave_up)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"norm": "group"}, "has another"),
        ({"mode": "train", "convolution_padding": "seannaren"}, "convolution_padding: myrtle"),
        ({"mode": "train", "front_end": {"name": "log_spectrogram", "normalise": "bin"}}, "normalise: utterance"),
    ],
    ids=["group norm", "padding", "front-end"],
)
def test_normalisations_it_cannot_undo_are_refused(arguments: dict[str, Any], words: str) -> None:
    victim = wide_victim(**arguments)
    with pytest.raises(UserError, match=words):
        attack(victim, *taken(victim, seconds=0.5)[:2])


def test_what_it_cannot_attack_is_refused() -> None:
    first, softplus = small_victim("deepspeech1"), wide_victim(activation="softplus")
    lstm, biased = wide_victim(cell="lstm"), wide_victim(rnn_bias=True)
    for victim, words in ((softplus, "activation hardtanh"), (lstm, "knows cell gru"), (biased, "rnn_bias True")):
        with pytest.raises(UserError, match=words):
            attack(victim, *taken(victim)[:2])
    with pytest.raises(UserError, match="attacks deepspeech2"):
        attack(first, *taken(first, layers=("fc",))[:2])
    victim = wide_victim()
    with pytest.raises(UserError, match="holds 2"):
        attack(victim, *taken(victim, utterances=2)[:2])
    with pytest.raises(UserError, match="2 local steps"):
        attack(victim, *taken(victim, kind="delta", steps=2)[:2])
    for layers, missing in ((("conv",), "rnn.0.weight_ih_l0"), (("rnn.0",), SECOND)):
        with pytest.raises(UserError, match=f"needs the gradient of {missing}"):
            attack(victim, *taken(victim, layers=layers)[:2])


def test_inputs_of_a_recurrent_layer_are_solved_and_mixtures_are_not_solutions() -> None:
    torch.manual_seed(0)
    layer = torch.nn.GRU(40, 32, bias=False, bidirectional=True).double()
    inputs = (2 * torch.rand(9, 40, dtype=torch.float64)).requires_grad_()
    (layer(inputs)[0] * torch.randn(9, 64, dtype=torch.float64)).sum().backward()
    weights = {name: value.detach().numpy() for name, value in layer.named_parameters()}
    slopes = {name: value.grad.numpy() for name, value in layer.named_parameters() if value.grad is not None}
    own = np.concatenate([weights["weight_ih_l0"], weights["weight_ih_l0_reverse"]])
    states = np.concatenate([weights["weight_hh_l0"], weights["weight_hh_l0_reverse"]])
    ahead, behind = ((slopes[f"weight_ih_l0{one}"], slopes[f"weight_hh_l0{one}"]) for one in ("", "_reverse"))
    assert rank(leading(np.concatenate([ahead[0], behind[0]]), 20)[0]) == 9
    found = recurrent_inputs.recurrent_inputs((own, states), ahead, behind, 9)
    assert found.worst < 1e-8
    np.testing.assert_allclose(found.frames, inputs.detach().numpy(), atol=1e-6)
    assert inputs.grad is not None
    np.testing.assert_allclose(found.slopes, inputs.grad.numpy(), atol=1e-6)
    direction = recurrent_inputs.Direction(weights["weight_ih_l0"], weights["weight_hh_l0"], np.linalg.svd(ahead[1])[2][:8])
    mixture = (inputs[0] + inputs[1]).detach().numpy() / 2
    assert recurrent_inputs._share(direction, np.zeros(32), mixture) > 10 * recurrent_inputs.SOLVED


def test_a_unit_that_rounding_hid_is_found() -> None:
    """Planted: one unit of the second convolution was active, and its output was too small to see."""
    random = torch.Generator().manual_seed(0)

    def layer(planes: int, channels: int, taps: tuple[int, int], stride: tuple[int, int], pad: int) -> Convolution:
        weight = 0.3 * torch.randn(channels, planes, *taps, dtype=torch.float64, generator=random)
        return Convolution(weight, stride, (0, pad), torch.ones(channels, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64))

    first, second = layer(1, 24, (5, 3), (2, 2), 1), layer(24, 12, (5, 5), (2, 1), 0)
    features = torch.randn(1, 33, 20, dtype=torch.float64, generator=random)
    planes = F.hardtanh(first.before(features), 0.0, 20.0)
    outputs = F.hardtanh(second.before(planes), 0.0, 20.0)
    slopes = torch.randn(outputs.shape, dtype=torch.float64, generator=random)
    passed = torch.where((outputs > 0) & (outputs < 20), slopes, 0.0)
    gradient = torch.nn.grad.conv2d_weight(planes[None], second.weight.shape, passed[None], stride=(2, 1))
    outputs = outputs + 1e-9 * torch.randn(outputs.shape, dtype=torch.float64, generator=random)
    hidden = int(torch.where(outputs > 1e-6, outputs, 99.0).argmin())
    assert abs(float(slopes.flatten()[hidden])) > 0.1
    outputs.view(-1)[hidden] = 0.0
    found = convolution_inputs.convolution_inputs(first, second, Seen(outputs, slopes, gradient), 33, 20)
    assert feature_snr(features[0].T.numpy(), found.numpy()) > 60
    without = torch.where(outputs > 1e-6, passed, 0.0)
    wrong = PlaneEquations(without, second, (planes.shape[1], planes.shape[2])).solve(gradient)
    assert feature_snr(planes[0].numpy(), wrong[0].numpy()) < 40
