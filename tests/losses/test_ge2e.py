"""GE2E against its definition: a centroid leaves out the utterance it is compared with."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from auscult.losses.ge2e import GeneralisedEndToEnd


def unit(vector: Tensor) -> Tensor:
    return vector / vector.norm()


def slow(embeddings: Tensor, leave_out: bool = True) -> tuple[float, list[bool]]:
    speakers, utterances, _ = embeddings.shape
    losses, correct = [], []
    for speaker in range(speakers):
        for utterance in range(utterances):
            logits = []
            for other in range(speakers):
                kept = [
                    unit(embeddings[other, one]) for one in range(utterances) if not (leave_out and other == speaker and one == utterance)
                ]
                logits.append(10.0 * float(unit(embeddings[speaker, utterance]) @ unit(torch.stack(kept).mean(0))) - 5.0)
            losses.append(math.log(sum(map(math.exp, logits))) - logits[speaker])
            correct.append(max(range(speakers), key=logits.__getitem__) == speaker)
    return sum(losses) / len(losses), correct


@pytest.mark.parametrize(("speakers", "utterances"), [(4, 2), (5, 3), (2, 6), (1, 2)])
def test_against_the_definition(speakers: int, utterances: int) -> None:
    embeddings = torch.randn(speakers, utterances, 6, generator=torch.Generator().manual_seed(0))
    output = GeneralisedEndToEnd(6, 99)(embeddings, torch.arange(speakers))
    value, correct = slow(embeddings)
    assert float(output.loss.detach()) == pytest.approx(value, rel=1e-5, abs=1e-6)
    assert output.correct.tolist() == correct
    assert (output.count, output.accuracy_name) == (speakers * utterances, "batch_accuracy")


def test_an_utterance_in_its_own_centroid_would_recognise_itself() -> None:
    embeddings = torch.randn(50, 2, 64, generator=torch.Generator().manual_seed(1))
    output = GeneralisedEndToEnd(64, 99)(embeddings, torch.arange(50))
    _, flattered = slow(embeddings, leave_out=False)
    assert sum(flattered) == 100
    assert int(output.correct.sum()) < 10


def test_wrong_speakers_on_the_other_side_still_differ() -> None:
    """A floor of 1e-6 under the cosines, as in voxceleb_trainer, would give the same loss however far the wrong speaker is."""
    base = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[-1.0, 1.0], [-1.0, 1.0]]])
    farther = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[-1.0, 0.0], [-1.0, 0.0]]])
    loss = GeneralisedEndToEnd(2, 9, scale=1.0)
    with torch.no_grad():
        assert float(loss(farther, torch.arange(2)).loss) < float(loss(base, torch.arange(2)).loss) - 0.01


def test_gradient_against_central_differences() -> None:
    embeddings = torch.randn(3, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    loss = GeneralisedEndToEnd(4, 9).double()
    assert torch.autograd.gradcheck(lambda values: loss.compute(values, torch.arange(3)).loss, (embeddings,))
