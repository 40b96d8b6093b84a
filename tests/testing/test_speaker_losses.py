"""The conformance suite finds each fault it promises to find, and lists several at once."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from auscult.losses.additive_angular_margin import AdditiveAngularMargin
from auscult.losses.additive_margin import AdditiveMargin
from auscult.losses.angular_prototypical import AngularPrototypical
from auscult.losses.softmax_angular_prototypical import SoftmaxAngularPrototypical
from auscult.losses.speaker_loss import InitialLoss, SpeakerLoss, SpeakerLossOutput, flatten
from auscult.registry import build, registered
from auscult.testing.speaker_losses import check_speaker_loss

NAMES = [name for name, cls in registered("loss").items() if issubclass(cls, SpeakerLoss)]


def built(cls: type[SpeakerLoss] = AdditiveMargin, classes: int = 12) -> SpeakerLoss:
    torch.manual_seed(0)
    return cls(16, classes)


class AccuracyOfMarginLogits(AdditiveMargin):
    """R3: what is reported as accuracy carries the margin."""

    def compute(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        output = super().compute(embeddings, labels)
        targets = labels.repeat_interleave(embeddings.shape[1])
        shifted = output.cosines - self.margin * F.one_hot(targets, self.classes)
        return replace(output, cosines=shifted, correct=shifted.argmax(1) == targets)


class OnlyCorrectOfMarginLogits(AdditiveMargin):
    def compute(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        output = super().compute(embeddings, labels)
        targets = labels.repeat_interleave(embeddings.shape[1])
        shifted = output.cosines - 0.9 * F.one_hot(targets, self.classes)
        return replace(output, correct=shifted.argmax(1) == targets)


class AlwaysCorrect(AdditiveMargin):
    def compute(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        output = super().compute(embeddings, labels)
        return replace(output, correct=torch.ones_like(output.correct))


class Averages(AdditiveMargin):
    """R3: one mean embedding per speaker."""

    def compute(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        return super().compute(embeddings.mean(1, keepdim=True), labels)


class AveragesAndRepeats(AdditiveMargin):
    """The same with the shapes of the contract."""

    def compute(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        return super().compute(embeddings.mean(1, keepdim=True).expand_as(embeddings), labels)


class RepeatsLabels(AdditiveMargin):
    """repeat where repeat_interleave belongs: right for one utterance per speaker."""

    def compute(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        return super().compute(embeddings.flatten(0, 1)[:, None], labels.repeat(embeddings.shape[1]))


class TakesTheFirst(AdditiveMargin):
    def compute(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        return super().compute(embeddings[:, :1], labels)


class Sums(AdditiveMargin):
    def compute(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        output = super().compute(embeddings, labels)
        return replace(output, loss=output.loss * output.count)


class SumsOverQueries(AngularPrototypical):
    def compute(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        output = super().compute(embeddings, labels)
        return replace(output, loss=output.loss * output.count)


class SumsOfThePair(SoftmaxAngularPrototypical):
    def compute(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        output = super().compute(embeddings, labels)
        return replace(output, loss=output.loss * output.count)


class CosinesOfTheMargin(AdditiveMargin):
    """Free of the labels, and yet not of the margin."""

    def compute(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        output = super().compute(embeddings, labels)
        return replace(output, cosines=output.cosines - self.margin_in_effect)


class NoFloorUnderTheCentroid(AngularPrototypical):
    """The length of one zero vector is a root at zero."""

    def compute(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        output = super().compute(embeddings, labels)
        return replace(output, loss=output.loss + 0.01 * embeddings.square().sum(2).sqrt().mean())


class UtteranceMajor(AdditiveMargin):
    def compute(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        output = super().compute(embeddings, labels)
        order = torch.arange(output.count).view(embeddings.shape[:2]).T.flatten()
        return replace(output, cosines=output.cosines[order])


class Scaled(AdditiveMargin):
    def compute(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        output = super().compute(embeddings, labels)
        return replace(output, cosines=self.scale * output.cosines)


class KeepsTheGraph(AdditiveMargin):
    def compute(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        output = super().compute(embeddings, labels)
        return replace(output, cosines=output.cosines + 0 * output.loss)


class StaysHalf(AdditiveMargin):
    """Without the base's protection the products are computed in half precision."""

    def forward(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        wide = embeddings[:, None] if embeddings.dim() == 2 else embeddings
        return self.compute(wide, labels)


class NotChecked(AdditiveMargin):
    def forward(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        wide = embeddings[:, None] if embeddings.dim() == 2 else embeddings
        return self.compute(wide.float(), labels.long() % self.classes)


class RootWithoutFloor(AdditiveMargin):
    """sqrt(1 - c^2) of a clamped cosine: zero is reached, and its gradient is infinite."""

    def compute(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        rows, targets = flatten(embeddings, labels)
        free = (F.normalize(rows, dim=1) @ F.normalize(self.weight, dim=1).T).clamp(-1, 1)
        sine = (1 - free.square()).clamp(0, 1).sqrt()
        moved = free * math.cos(self.margin) - sine * math.sin(self.margin)
        logits = torch.where(F.one_hot(targets, self.classes).bool(), moved, free)
        cosines = free.detach()
        loss = F.cross_entropy(self.scale * logits, targets)
        return SpeakerLossOutput(loss, cosines, cosines.argmax(1) == targets, len(targets), "accuracy", {})

    def initial(self, speakers: int, utterances: int) -> InitialLoss:
        value = math.log(self.classes) + self.scale * math.sin(self.margin) + self.scale**2 / (2 * self.dimensions)
        return InitialLoss(value, "closed form")


class DividesByTheLength(AdditiveMargin):
    def compute(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        return super().compute(embeddings / embeddings.norm(dim=2, keepdim=True), labels)


class WritesInPlace(AngularPrototypical):
    """A floor that autograd sees: the backward pass of the first of two calls is forbidden."""

    def compute(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        with torch.no_grad():
            self.affine.scale.clamp_(min=1e-6)
        return super().compute(embeddings, labels)


class MindsTheOrder(AngularPrototypical):
    def compute(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        output = super().compute(embeddings, labels)
        return replace(output, loss=output.loss + embeddings[0].square().sum())


class MindsTheLabels(AngularPrototypical):
    def compute(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        output = super().compute(embeddings, labels)
        return replace(output, loss=output.loss + (labels * embeddings[:, 0, 0]).sum())


class IgnoresTheThird(AngularPrototypical):
    def compute(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        return super().compute(embeddings[:, :2], labels)


class PromisesWrongly(AdditiveAngularMargin):
    def initial(self, speakers: int, utterances: int) -> InitialLoss:
        return InitialLoss(math.log(self.classes), f"ln C for C={self.classes}")


class CallsItByAnotherName(AngularPrototypical):
    def compute(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
        return replace(super().compute(embeddings, labels), accuracy_name="accuracy")


FAULTS: list[tuple[type[SpeakerLoss], str]] = [
    (AccuracyOfMarginLogits, "cosines depend on the labels, so they carry the margin"),
    (AccuracyOfMarginLogits, "cosines are not the cosines of embeddings to class weights"),
    (OnlyCorrectOfMarginLogits, "utterances whose label has the largest cosine are not correct"),
    (AlwaysCorrect, "correct is not where the largest entry of cosines is the label"),
    (Averages, r"averaged before they are classified: all of them receive the same gradient \(R3\)"),
    (Averages, r"cosines are \(4, 12\) torch.float32, expected \(12, 12\)"),
    (AveragesAndRepeats, "averaged before they are classified"),
    (AveragesAndRepeats, "give another loss than the batch they were"),
    (RepeatsLabels, "give another loss than the batch they were"),
    (TakesTheFirst, "no gradient reaches utterance 1 of speaker 0, 8 utterances in all"),
    (TakesTheFirst, "another order of a speaker's utterances gives another loss"),
    (Sums, "the mean of the losses of its items"),
    (SumsOverQueries, "a batch twice over has loss .* expected the mean over items"),
    (SumsOfThePair, "a batch twice over has loss .* expected the mean over items"),
    (CosinesOfTheMargin, "cosines or correct change with the margin that set_margin sets"),
    (NoFloorUnderTheCentroid, "the gradient of the embeddings is not finite for one embedding of zeros per speaker"),
    (UtteranceMajor, "items are speaker-major"),
    (Scaled, "cosines are not the cosines of embeddings to class weights"),
    (KeepsTheGraph, "torch.float32 with a gradient, expected"),
    (StaysHalf, "under bfloat16 autocast the loss is"),
    (StaysHalf, "torch.bfloat16 embeddings are not computed in float32|precision: failed with RuntimeError"),
    (NotChecked, "label 12 of 12 classes: accepted, expected a UserError"),
    (NotChecked, "label -1: accepted"),
    (NotChecked, "labels that are floats: accepted"),
    (RootWithoutFloor, "the gradient of .*weight is not finite for cosines of 1"),
    (DividesByTheLength, "the loss is nan for embeddings of zeros"),
    (WritesInPlace, "repetition: failed with RuntimeError: one of the variables needed for gradient"),
    (MindsTheOrder, "another order of the speakers, with their labels, gives another loss"),
    (MindsTheLabels, "other labels give another loss, although the match is within the batch"),
    (IgnoresTheThird, "no gradient reaches utterance 2 of speaker 0, 4 utterances in all"),
    (CallsItByAnotherName, r"cosines are \(4, 4\) torch.float32, expected \(12, 12\)"),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("classes", [12, 140])
def test_our_losses_conform(name: str, classes: int) -> None:
    torch.manual_seed(1)
    check_speaker_loss(build("loss", {"name": name}, dimensions=48, classes=classes))


def test_every_loss_of_speakers_was_tried() -> None:
    assert len(NAMES) >= 7


@pytest.mark.parametrize(
    "keys", [{"sub_centres": 3}, {"inter_top_k": 5}, {"margin": 0.0}, {"margin": 1.5, "top_k_margin": 0.5, "inter_top_k": 2}]
)
def test_every_form_of_the_angular_margin_conforms(keys: dict[str, float]) -> None:
    check_speaker_loss(build("loss", {"name": "additive_angular_margin", **keys}, dimensions=48, classes=140))


@pytest.mark.parametrize(("cls", "said"), FAULTS, ids=lambda value: getattr(value, "__name__", None))
def test_planted_faults_are_found(cls: type[SpeakerLoss], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_speaker_loss(built(cls))


def test_a_wrong_promise_of_the_first_loss_is_found_where_theory_holds() -> None:
    check_speaker_loss(built(PromisesWrongly, classes=12))  # too few classes for a closed form
    with pytest.raises(AssertionError, match=r"random directions give .*, initial says 4.942 \(ln C for C=140\)"):
        check_speaker_loss(built(PromisesWrongly, classes=140))


def test_the_loss_and_the_stream_of_chance_are_left_alone() -> None:
    loss = built(AngularPrototypical)
    before = {key: value.clone() for key, value in loss.state_dict().items()}
    state = torch.get_rng_state()
    check_speaker_loss(loss)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[key], value) for key, value in loss.state_dict().items())
    assert all(parameter.grad is None for parameter in loss.parameters())


def test_all_faults_are_listed_at_once() -> None:
    class Several(AccuracyOfMarginLogits):
        def compute(self, embeddings: Tensor, labels: Tensor) -> SpeakerLossOutput:
            return super().compute(embeddings.mean(1, keepdim=True).expand_as(embeddings), labels)

    with pytest.raises(AssertionError) as caught:
        check_speaker_loss(built(Several))
    text = str(caught.value)
    assert text.startswith("Several:\n- ")
    assert "averaged before they are classified" in text
    assert "cosines depend on the labels" in text
