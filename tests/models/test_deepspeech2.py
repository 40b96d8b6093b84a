from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auscult.audio.front_end import Features
from auscult.errors import UserError
from auscult.models.deepspeech2 import DeepSpeech2
from auscult.models.masking import MaskedBatchNorm
from auscult.testing.models import FramedSamples, check_model, english_specification

SEANNAREN = {"convolution_padding": "seannaren", "rnn_bias": True}
SMALL = {"channels": 8, "hidden": 64, "layers": 2}


def build(bins: int = 129, **arguments: object) -> DeepSpeech2:
    return DeepSpeech2(english_specification(), FramedSamples(bins), [], **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bins", "arguments", "parameters"),
    [
        (257, {}, 41_754_368),
        (161, {}, 38_067_968),
        (129, {}, 36_839_168),
        (257, SMALL, 232_520),
        (129, SMALL, 134_216),
        (161, {**SEANNAREN, "cell": "lstm", "hidden": 1024}, 86_618_400),
        (161, SEANNAREN, 41_187_968),
    ],
)
def test_parameter_counts_are_those_published(bins: int, arguments: dict, parameters: int) -> None:
    with torch.device("meta"):
        model = build(bins, **arguments)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_parts_have_stable_names_and_sizes() -> None:
    with torch.device("meta"):
        groups = build(257).parameter_groups()
    sizes = {name: sum(parameter.numel() for parameter in part) for name, part in groups.items()}
    assert list(sizes) == ["conv", "rnn.0", "rnn.1", "rnn.2", "rnn.3", "rnn.4", "bn", "fc"]
    assert sum(size for name, size in sizes.items() if name.startswith("rnn")) == 41_472_000
    assert sizes["conv"] == 14_464 + 236_576
    assert sizes["fc"] == 23_200


@pytest.mark.parametrize(("frames", "output_frames"), [(112, 51), (123, 57), (107, 49), (11, 1), (12, 1)])
def test_output_lengths_of_the_reference_runs(frames: int, output_frames: int) -> None:
    model = build(**SMALL).eval()
    logits, lengths = model.encode(Features(torch.randn(1, frames, 129), torch.tensor([frames])))
    assert lengths.tolist() == [output_frames]
    assert logits.shape == (1, output_frames, 29)


@pytest.mark.parametrize("form", ["myrtle", "seannaren"])
def test_length_formula_equals_the_tensor(form: str) -> None:
    model = build(81, channels=1, hidden=2, layers=1, convolution_padding=form).eval()
    with torch.no_grad():
        for frames in range(11, 401, 3):
            lengths = torch.tensor([frames])
            assert model.encode(Features(torch.zeros(1, frames, 81), lengths)).logits.shape[1] == int(model.output_frames(lengths))


def test_convolution_shapes() -> None:
    for bins, rows in [(257, (109, 45)), (161, (61, 21)), (81, (21, 1))]:
        model = build(bins, channels=2, hidden=2, layers=1)
        planes = torch.zeros(1, 1, bins, 20)
        for convolution, expected in zip(model.conv, rows, strict=True):
            planes = convolution(planes)
            assert planes.shape[2] == expected


def test_ten_frames_are_refused_with_the_minimum() -> None:
    model = build(**SMALL)
    with pytest.raises(UserError, match=r"utterance 1 .* 10 feature frames; DeepSpeech2 needs at least 11"):
        model.encode(Features(torch.zeros(2, 30, 129), torch.tensor([30, 10])))
    with pytest.raises(UserError, match=f"needs at least {11 * 129}"):
        model(torch.zeros(1, 11 * 129 - 1), torch.tensor([11 * 129 - 1]))


def test_eighty_bins_are_refused_with_the_minimum() -> None:
    with pytest.raises(UserError, match=r"at least 81 .* gives 80"):
        build(80)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"cell": "lstm", "merge": "concat", "head_bias": True, "activation": "softplus"},
        {**SEANNAREN, "cell": "rnn", "dropout": 0.3},
        SEANNAREN,
    ],
)
def test_conformance(arguments: dict) -> None:
    torch.manual_seed(0)
    check_model(build(channels=4, hidden=16, layers=2, **arguments))


def _leak(padding: str) -> tuple[float, float]:
    torch.manual_seed(1)
    model = build(257, **SMALL, padding=padding).eval()
    values = torch.randn(1, 160, 257)
    values[:, 112:] = 0
    with torch.no_grad():
        alone = model.encode(Features(values[:, :112], torch.tensor([112]))).logits
        padded = model.encode(Features(values.expand(2, -1, -1), torch.tensor([112, 160]))).logits[:1, :51]
    return float((padded - alone).abs().max()), float(alone.std())


def test_r0_padding_leak_is_caught() -> None:
    leak, scale = _leak("legacy")
    assert leak > 0.05 * scale
    leak, scale = _leak("masked")
    assert leak <= 1e-5 * scale


def test_masked_equals_legacy_without_padding_bit_for_bit() -> None:
    torch.manual_seed(2)
    masked, legacy = build(**SMALL), build(**SMALL, padding="legacy")
    legacy.load_state_dict(masked.state_dict())
    features = Features(torch.randn(1, 60, 129), torch.tensor([60]))
    assert torch.equal(masked.encode(features).logits, legacy.encode(features).logits)


def test_training_statistics_ignore_padding() -> None:
    torch.manual_seed(3)
    values, lengths = torch.randn(2, 50, 129), torch.tensor([50, 33])
    values[1, 33:] = 0
    padded = torch.cat([values, torch.zeros(2, 14, 129)], 1)
    models = [build(**SMALL).train() for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    logits = [model.encode(Features(features, lengths)).logits for model, features in zip(models, (values, padded), strict=True)]
    assert torch.allclose(logits[0], logits[1][:, : logits[0].shape[1]], atol=2e-5)
    for (name, one), other in zip(models[0].named_buffers(), dict(models[1].named_buffers()).values(), strict=True):
        assert torch.allclose(one, other, atol=1e-5), name


def test_permuting_the_batch_permutes_the_logits() -> None:
    torch.manual_seed(4)
    model = build(**SMALL).double().eval()
    values, lengths, order = torch.randn(3, 40, 129, dtype=torch.float64), torch.tensor([40, 21, 33]), torch.tensor([2, 0, 1])
    straight = model.encode(Features(values, lengths)).logits
    permuted = model.encode(Features(values[order], lengths[order])).logits
    assert torch.allclose(straight[order], permuted, atol=1e-12, rtol=0)


def test_a_non_finite_padding_does_not_reach_the_logits() -> None:
    model = build(**SMALL).train()
    values = torch.randn(2, 40, 129)
    values[1, 20:] = float("nan")
    assert model.encode(Features(values, torch.tensor([40, 20]))).logits.isfinite().all()
    assert all(buffer.isfinite().all() for buffer in model.buffers())


class Reference(nn.Module):
    """The unmasked reference form, written straight from its description, reading the weights of a `DeepSpeech2`."""

    def __init__(self, model: DeepSpeech2) -> None:
        super().__init__()
        self.model = model

    def norm(self, values: Tensor, norm: MaskedBatchNorm) -> Tensor:
        return F.batch_norm(values, None, None, norm.weight, norm.bias, True, 0.0, 1e-5)

    def forward(self, values: Tensor) -> Tensor:
        bn = self.model.bn
        planes = values.transpose(1, 2).unsqueeze(1)
        first, second = self.model.conv
        planes = F.hardtanh(self.norm(F.conv2d(planes, first.weight, first.bias, (2, 2), (0, 10)), bn["conv_0"]), 0, 20)
        planes = F.hardtanh(self.norm(F.conv2d(planes, second.weight, second.bias, (2, 1)), bn["conv_1"]), 0, 20)
        hidden = planes.reshape(planes.shape[0], -1, planes.shape[-1]).permute(2, 0, 1)
        for i, layer in enumerate(self.model.rnn):
            if i > 0:
                hidden = self.norm(hidden.flatten(0, 1), bn[f"rnn_{i}"]).view_as(hidden)
            forward, backward = layer(hidden)[0].chunk(2, -1)
            hidden = forward + backward
        return (self.norm(hidden.flatten(0, 1), bn["fc"]).view_as(hidden) @ self.model.fc.weight.T).transpose(0, 1)


def test_legacy_training_pass_equals_the_reference_form() -> None:
    torch.manual_seed(5)
    model = build(**SMALL, padding="legacy").train()
    values = torch.randn(3, 40, 129)
    logits = model.encode(Features(values, torch.tensor([40, 30, 20]))).logits
    assert torch.allclose(logits, Reference(model)(values), atol=1e-5)


def test_overfits_one_utterance() -> None:
    torch.manual_seed(6)
    model = build(257, **SMALL).train()
    features = Features(torch.randn(1, 112, 257), torch.tensor([112]))
    target = torch.randint(0, 28, (1, 28))
    while (target[:, 1:] == target[:, :-1]).any():
        target = torch.randint(0, 28, (1, 28))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses: list[float] = []
    for _ in range(80):
        logits, lengths = model.encode(features)
        loss = F.ctc_loss(logits.log_softmax(-1).transpose(0, 1), target, lengths, torch.tensor([28]), blank=28)
        losses.append(loss.item())
        if losses[-1] < 0.001:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert 4.4 < losses[0] < 5.0
    assert losses[-1] < 0.001


def test_kernels_agree_on_a_padded_training_batch_and_share_a_state_dict() -> None:
    torch.manual_seed(7)
    fast, slow = build(**SMALL, kernel="auto").double().train(), build(**SMALL, kernel="torch").double().train()
    slow.load_state_dict(fast.state_dict())
    features = Features(torch.randn(3, 60, 129, dtype=torch.float64), torch.tensor([31, 60, 44]))
    results = [model.encode(features).logits for model in (fast, slow)]
    assert torch.allclose(*results, atol=1e-12)
    for logits in results:
        logits.square().sum().backward()
    for (name, one), other in zip(fast.named_parameters(), slow.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-9), name  # type: ignore[arg-type]


def test_kernels_agree_on_a_gradient_of_a_distance_between_gradients() -> None:
    torch.manual_seed(8)
    values = torch.randn(2, 40, 129, dtype=torch.float64, requires_grad=True)
    state = build(**SMALL, activation="softplus").state_dict()
    results = []
    for kernel in ("auto", "torch"):
        model = build(**SMALL, activation="softplus", kernel=kernel)
        model.load_state_dict(state)
        loss = model.double().train().encode(Features(values, torch.tensor([31, 40]))).logits.square().sum()
        gradients = torch.autograd.grad(loss, list(model.rnn.parameters()), create_graph=True)
        distance = torch.stack([one.square().sum() for one in gradients]).sum().log()
        results.append(torch.autograd.grad(distance, values)[0])
    assert (results[0] - results[1]).norm() < 1e-10 * results[1].norm()
