"""The fit of windows and deltas: its two halves are least squares, and it finds what noise and pruning have hidden."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from auscult.privacy import refinement
from auscult.privacy.refinement import Anderson, Observed, _Problem, left_by, refine

UNITS, WIDTH, CONTEXT = 120, 5, 4
WINDOW = (2 * CONTEXT + 1) * WIDTH
LENGTHS = [16]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def layer() -> tuple[Tensor, Tensor]:
    return drawn(UNITS, WINDOW, seed=1) / WINDOW**0.5, 0.1 * drawn(UNITS, seed=2)


def windows(sequences: list[Tensor]) -> Tensor:
    """Stack windows the slow and obvious way."""
    rows = []
    for sequence in sequences:
        for frame in range(len(sequence)):
            places = range(frame - CONTEXT, frame + CONTEXT + 1)
            rows.append(torch.cat([sequence[place] if 0 <= place < len(sequence) else torch.zeros(WIDTH).double() for place in places]))
    return torch.stack(rows)


def normalised(sequences: list[Tensor]) -> list[Tensor]:
    """Give every bin mean 0 and deviation 1, as a front-end does."""
    return [(one - one.mean(0)) / one.std(0) for one in sequences]


def truth(lengths: list[int] = LENGTHS) -> list[Tensor]:
    return normalised([drawn(length, WIDTH, seed=10 + number) for number, length in enumerate(lengths)])


def gradient(sequences: list[Tensor]) -> Tensor:
    """Return (units, columns) with the bias last: deltas are zero where units are off."""
    stacked = windows(sequences)
    weight, bias = layer()
    on = (stacked @ weight.T + bias) > 0  # (frames, units)
    deltas = drawn(*on.shape, seed=3) * on
    return deltas.T @ torch.cat([stacked, torch.ones(len(stacked), 1).double()], dim=1)


def decibels(true: Tensor, found: Tensor) -> float:
    return float(10 * torch.log10(true.square().sum() / (true - found).square().sum()))


def rough(sequences: list[Tensor], size: float = 0.6) -> list[Tensor]:
    return [one + size * drawn(*one.shape, seed=20) for one in sequences]


def noisy(share: float) -> Observed:
    clean = gradient(truth())
    deviation = share * float(clean.std())
    return Observed(clean + deviation * drawn(*clean.shape, seed=4), deviation=deviation)


def pruned(kept: float) -> Observed:
    clean = gradient(truth())
    told = (torch.rand(clean.shape, generator=torch.Generator().manual_seed(5)) < kept).double()
    return Observed(clean * told, told)


def test_noise_is_averaged_away() -> None:
    found = refine(noisy(0.3), layer(), rough(truth()), CONTEXT, normalised)
    assert decibels(truth()[0], rough(truth())[0]) < 5
    assert decibels(truth()[0], found.sequences[0]) > 20


def test_values_that_were_not_sent_are_not_zeros() -> None:
    sent = pruned(0.5)
    found = refine(sent, layer(), rough(truth()), CONTEXT, normalised)
    assert decibels(truth()[0], found.sequences[0]) > 30
    assert found.unexplained < 0.01
    believed = refine(sent._replace(told=None), layer(), rough(truth()), CONTEXT, normalised)
    assert decibels(truth()[0], believed.sequences[0]) < decibels(truth()[0], found.sequences[0]) - 20


def test_which_units_are_off_tells_the_sign() -> None:
    sent = noisy(0.3)
    right, wrong = (refine(sent, layer(), [sign * one for one in rough(truth())], CONTEXT, normalised) for sign in (1, -1))
    assert right.unexplained < 0.9 * wrong.unexplained
    other = (-layer()[0], -layer()[1])  # a network whose units are on where the client's were off
    assert left_by(sent, other, truth(), CONTEXT) > 1.5 * left_by(sent, layer(), truth(), CONTEXT)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_what_is_left_at_the_truth_is_the_noise(share: float) -> None:
    sent = noisy(share)
    unknown = sent._replace(deviation=0.0)  # estimated, not read off
    assert left_by(unknown, layer(), truth(), CONTEXT) == pytest.approx(
        sent.deviation / float(sent.values.square().mean().sqrt()), rel=0.15
    )
    assert left_by(unknown, layer(), rough(truth()), CONTEXT) > 1.3 * left_by(unknown, layer(), truth(), CONTEXT)


def test_several_utterances_are_fitted_together() -> None:
    sequences = truth([9, 14])
    clean = gradient(sequences)
    deviation = 0.1 * float(clean.std())
    sent = Observed(clean + deviation * drawn(*clean.shape, seed=4), deviation=deviation)
    found = refine(sent, layer(), rough(sequences, 0.4), CONTEXT, normalised)
    assert [one.shape for one in found.sequences] == [(9, WIDTH), (14, WIDTH)]
    assert min(decibels(true, one) for true, one in zip(sequences, found.sequences, strict=True)) > 20


def test_without_the_bias_the_fit_is_of_the_weights_alone() -> None:
    sent = noisy(0.1)
    found = refine(sent._replace(values=sent.values[:, :-1]), layer(), rough(truth()), CONTEXT, normalised)
    assert decibels(truth()[0], found.sequences[0]) > 15


@pytest.mark.parametrize("sent", [noisy(0.2), pruned(0.4)], ids=["noise", "pruned"])
def test_both_halves_are_ridge_regressions(sent: Observed) -> None:
    problem, sequences = _Problem(sent, layer(), [7, 9], WIDTH, CONTEXT), truth([7, 9])
    stacked = problem.windows(torch.cat(sequences))
    torch.testing.assert_close(stacked[:, :-1], windows(sequences))
    values, told = problem.values.double(), torch.ones_like(sent.values) if sent.told is None else sent.told
    active = problem.active(stacked, 0.3)
    deltas = problem.deltas(stacked, active, 0.04)
    unit = 3
    ridge = 0.04 / (0.5 * max(1 - problem.floor, 0.05) / active.sum(1).mean() * (active[unit] + 1e-3))
    seen = told[unit].bool()
    expected = torch.linalg.solve(stacked[:, seen] @ stacked[:, seen].T + ridge.diag(), stacked[:, seen] @ values[unit, seen])
    torch.testing.assert_close(deltas[:, unit], expected, rtol=1e-3, atol=1e-4)
    # the other half, densely: what each frame's value in one bin adds to each value that was sent
    basis = torch.eye(16 * WIDTH).double().view(-1, 16, WIDTH)
    design = torch.stack([(deltas.T @ windows(list(torch.split(one, [7, 9]))))[told[:, :-1].bool()] for one in basis])
    wanted = values[:, :-1][told[:, :-1].bool()]
    dense = torch.linalg.solve(design @ design.T + 0.04 * torch.eye(len(design)).double(), design @ wanted)
    torch.testing.assert_close(problem.frames(deltas, 0.04)[0].reshape(-1), dense, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("sent", [noisy(0.2), pruned(0.4)], ids=["noise", "pruned"])
def test_pieces_of_the_work_change_nothing(sent: Observed, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = refine(sent, layer(), rough(truth()), CONTEXT, normalised, 3)
    monkeypatch.setattr(refinement, "CHUNK", 7 * 16**2)
    pieces = refine(sent, layer(), rough(truth()), CONTEXT, normalised, 3)
    torch.testing.assert_close(pieces.sequences[0], whole.sequences[0], rtol=1e-3, atol=1e-3)


def test_units_that_sent_nothing_are_left_out() -> None:
    sent = pruned(0.5)
    sent.values[:40] = 0
    assert _Problem(sent, layer(), LENGTHS, WIDTH, CONTEXT).values.shape[0] == UNITS - 40


def test_extrapolation_needs_fewer_rounds_than_repetition() -> None:
    turn = torch.linalg.qr(drawn(12, 12))[0] @ torch.linspace(0.1, 0.98, 12).double().diag()
    ahead, point, plain = Anderson(), drawn(12, seed=1), drawn(12, seed=1)
    for _ in range(25):
        point, plain = ahead(point, turn @ point), turn @ plain
    assert float(point.norm()) < 1e-3 * float(plain.norm())
