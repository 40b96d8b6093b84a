"""Powerset classes, and a loss that no order of the speakers changes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from auscult.errors import UserError
from auscult.losses.powerset import Powerset, permutation_free_loss

THREE = Powerset(3, 2)


def scene(batch: int = 4, frames: int = 60, seed: int = 0, most: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities, lengths and activity with at most `most` speakers at once."""
    generator = torch.Generator().manual_seed(seed)
    activity = (torch.rand(batch, frames, 3, generator=generator) > 0.6).float()
    activity[activity.sum(dim=2) > most] = 0
    scores = torch.randn(batch, frames, 7, generator=generator).log_softmax(dim=-1)
    return scores, torch.tensor([frames, frames - 7, 5, frames][:batch]), activity


def slow_loss(scores: Tensor, length: int, activity: Tensor) -> Tensor:
    """The definition: every order of the speakers, every frame."""
    losses = []
    for order in THREE.permutations:
        classes = THREE.to_classes(activity[:length, order])
        losses.append(-scores[:length].gather(1, classes[:, None]).sum())
    return torch.stack(losses).min()


def test_mapping_of_three_speakers_two_at_once() -> None:
    assert THREE.sets == ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2))
    assert THREE.mapping.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]]
    assert THREE.labels == ("none", "1", "2", "3", "1+2", "1+3", "2+3")
    assert [Powerset(speakers, at_once).classes for speakers, at_once in ((2, 1), (2, 2), (4, 2), (4, 4))] == [3, 4, 11, 16]


def test_orders_move_classes_as_published() -> None:
    moved = {tuple(order.tolist()): tuple(row.tolist()) for order, row in zip(THREE.permutations, THREE.class_permutations, strict=True)}
    assert moved[1, 0, 2] == (0, 2, 1, 3, 4, 6, 5)
    assert moved[2, 1, 0] == (0, 3, 2, 1, 6, 5, 4)
    _, _, activity = scene()
    for order, row in zip(THREE.permutations, THREE.class_permutations, strict=True):
        assert torch.equal(THREE.to_classes(activity[:, :, order]), row[THREE.to_classes(activity)])


def test_there_and_back_and_ties_to_the_smallest_set() -> None:
    classes = torch.arange(7)
    assert torch.equal(THREE.to_classes(THREE.to_activity(classes)), classes)
    single = Powerset(3, 1)
    assert single.to_classes(torch.tensor([1.0, 1.0, 0.0])).tolist() == 1, "two speakers where one fits: the first"
    assert THREE.to_classes(torch.tensor([[1.0, 0, 0], [0, 0, 0], [1, 1, 1]])).tolist() == [1, 0, 4]
    assert torch.allclose(THREE.soft_activity(torch.eye(7).clamp_min(1e-9).log()), THREE.mapping, atol=1e-6)


def test_loss_is_that_of_the_definition() -> None:
    scores, lengths, activity = scene()
    losses, orders = permutation_free_loss(scores, lengths, activity, THREE)
    for row in range(len(lengths)):
        assert torch.allclose(losses[row], slow_loss(scores[row], int(lengths[row]), activity[row]), rtol=1e-5)
    best = THREE.class_permutations[orders]
    classes = THREE.to_classes(THREE.most_active(activity))
    chosen = best.gather(1, classes.flatten(1)).view_as(classes)
    row = 1
    direct = -scores[row, : lengths[row]].gather(1, chosen[row, : lengths[row], None]).sum()
    assert torch.allclose(losses[row], direct, rtol=1e-5), "the order returned is the one that was best"


def test_no_order_of_speakers_changes_the_loss_and_a_sensitive_one_is_caught() -> None:
    scores, lengths, activity = scene(most=3)
    activity[:, :, 1] *= (torch.arange(60) % 3 > 0).float()  # no two speakers equally active
    expected, _ = permutation_free_loss(scores, lengths, activity, THREE)
    plain = [-scores[0].gather(1, THREE.to_classes(activity[0][:, order])[:, None]).sum() for order in THREE.permutations]
    for order in THREE.permutations:
        assert torch.allclose(permutation_free_loss(scores, lengths, activity[:, :, order], THREE)[0], expected, rtol=1e-5)
    assert float(torch.stack(plain).std()) > 1.0, "a loss without orders would have been seen"


def test_padding_never_counts_not_even_as_not_a_number() -> None:
    scores, lengths, activity = scene()
    expected, _ = permutation_free_loss(scores, lengths, activity, THREE)
    true = torch.arange(60) < lengths[:, None]
    spoiled = torch.where(true[..., None], scores, float("nan"))
    found, _ = permutation_free_loss(spoiled, lengths, activity * true[..., None], THREE)
    kept, _ = permutation_free_loss(scores, lengths, activity * true[..., None], THREE)
    assert torch.equal(found, kept)
    assert torch.allclose(expected[[0, 3]], found[[0, 3]])


def test_the_most_active_speakers_are_kept() -> None:
    activity = torch.zeros(1, 10, 5)
    for column, frames in enumerate((1, 9, 0, 5, 3)):
        activity[0, :frames, column] = 1
    assert THREE.most_active(activity).sum(dim=1).tolist() == [[9, 5, 3]]
    assert THREE.most_active(activity[:, :, :2]).sum(dim=1).tolist() == [[9, 1, 0]]
    late = torch.zeros(1, 10, 4)
    late[0, 5:8, 0] = late[0, 1:4, 1] = 1
    assert THREE.most_active(late)[0, 1].tolist() == [1, 0, 0], "of two equally active ones the earlier comes first"


def test_uniform_outputs_cost_ln_classes_and_right_ones_nothing() -> None:
    _, lengths, activity = scene()
    uniform = torch.full((4, 60, 7), 1 / 7).log()
    losses, _ = permutation_free_loss(uniform, lengths, activity, THREE)
    assert torch.allclose(losses / lengths, torch.tensor(7.0).log().expand(4))
    moved = activity[:, :, [2, 0, 1]]
    right = torch.nn.functional.one_hot(THREE.to_classes(moved), 7).float().clamp_min(1e-12).log()
    assert float(permutation_free_loss(right, lengths, activity, THREE)[0].max()) < 1e-5


def test_gradient_reaches_true_frames_only() -> None:
    scores, lengths, activity = scene()
    scores.requires_grad_()
    permutation_free_loss(scores, lengths, activity, THREE)[0].sum().backward()
    gradient = scores.grad
    assert gradient is not None
    assert bool(gradient[2, :5].any())
    assert not bool(gradient[2, 5:].any())


def test_labels_name_the_powerset() -> None:
    for speakers, at_once in ((2, 1), (3, 2), (4, 3)):
        assert Powerset.from_labels(Powerset(speakers, at_once).labels).sets == Powerset(speakers, at_once).sets
    for wrong in (("a", "b"), ("1", "none", "2"), ()):
        with pytest.raises(UserError, match="not the classes of a powerset"):
            Powerset.from_labels(wrong)


def test_bad_input_is_named() -> None:
    scores, lengths, activity = scene()
    with pytest.raises(UserError, match="1 to 4 speakers"):
        Powerset(5, 2)
    with pytest.raises(UserError, match="choose or pad them with most_active"):
        THREE.to_classes(activity[:, :, :2])
    with pytest.raises(UserError, match="frame grid is not that of the labels"):
        permutation_free_loss(scores[:, :57], lengths, activity, THREE)
