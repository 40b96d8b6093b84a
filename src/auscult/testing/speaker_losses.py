"""Conformance suite for speaker losses, ours and third parties'.

What silently breaks a speaker loss: an accuracy taken from logits with the margin, utterances averaged before they are classified, labels
repeated in the wrong order, half-precision margins, infinite gradients where a cosine reaches 1. None of it stops a training run.
The checks use no knowledge of the formula: scores without a margin cannot depend on the labels, a loss that is a mean over items is the
mean of the items' losses, and a loss that takes every utterance by itself gives the same for a batch that was flattened beforehand.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from auscult.errors import UserError
from auscult.losses.speaker_loss import SpeakerLoss, SpeakerLossOutput, flatten

TOLERANCE = 1e-4
"""Largest relative difference of losses that should be equal."""

INITIAL_TOLERANCE = 0.02
"""Largest relative difference between the loss of random directions and what `initial` says."""

_FEWEST = 100  # classes (or speakers of a batch) from which on closed forms hold


def check_speaker_loss(loss: SpeakerLoss, seed: int = 0, tolerance: float = TOLERANCE) -> None:
    """Check that a speaker loss keeps its contract.

    Checked: shapes, dtypes and counts of the output; no order of the speakers matters; for a classification loss (`accuracy_name` is
    "accuracy") no order of a speaker's utterances matters, flattened batches give the same, the loss is the mean over utterances, and
    utterances are not averaged; a mean over the items; scores do not depend on labels or margin and, where there is a parameter `weight`
    of classes times sub-centres rows, are cosines to it; the same value in float32 under autocast; finite gradients for cosines of +-1,
    equal embeddings and zeros; two calls before one backward pass; refusal of labels and shapes that do not fit; the first loss is what
    `initial` says.

    Args:
        loss: built loss with at least 4 classes; a copy is checked, the loss itself is not changed.
        seed: of the random embeddings.
        tolerance: largest relative difference of losses that should be equal.

    Raises:
        AssertionError: with one line per fault.
    """
    reasons: list[str] = []
    if loss.classes < 4:
        raise UserError(f"check_speaker_loss needs a loss of at least 4 classes, this one has {loss.classes}")
    for check in (
        _output_reasons,
        _order_reasons,
        _utterance_reasons,
        _item_reasons,
        _mean_reasons,
        _margin_reasons,
        _precision_reasons,
        _gradient_reasons,
        _repetition_reasons,
        _refusal_reasons,
        _initial_reasons,
    ):
        reasons += _found(check, loss, seed, tolerance)
    if reasons:
        raise AssertionError(f"{type(loss).__name__}:\n" + "\n".join(f"- {reason}" for reason in reasons))


def _found(check: Callable[[SpeakerLoss, float], Iterable[str]], loss: SpeakerLoss, seed: int, tolerance: float) -> list[str]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        reasons: list[str] = []
        try:
            reasons.extend(check(copy.deepcopy(loss), tolerance))
        except (RuntimeError, UserError, ValueError, IndexError, TypeError) as error:
            reasons.append(f"{check.__name__[1:].split('_')[0]}: failed with {type(error).__name__}: {error}")
    return reasons


def _batch(loss: SpeakerLoss, speakers: int = 4, utterances: int = 3) -> tuple[Tensor, Tensor]:
    """Embeddings (speakers, utterances, dimensions) of a voice and a difference each, and labels (speakers,) in no order."""
    voices = torch.randn(speakers, 1, loss.dimensions)
    labels = torch.randperm(loss.classes)[:speakers]
    embeddings = voices + torch.randn(speakers, max(utterances, loss.minimum_utterances), loss.dimensions)
    return embeddings / math.sqrt(loss.dimensions), labels  # of length about 1.4, so that squared distances do not saturate


def _classifies(output: SpeakerLossOutput) -> bool:
    return output.accuracy_name == "accuracy"


def _takes_items(loss: SpeakerLoss, output: SpeakerLossOutput) -> bool:
    """Whether every utterance counts by itself; not so for a sum with a metric loss, which needs several of a speaker."""
    return _classifies(output) and loss.minimum_utterances == 1


def _apart(one: Tensor, other: Tensor, tolerance: float) -> bool:
    """Whether two results differ by more than the tolerance, relative to the larger one (absolute below 1)."""
    if one.shape != other.shape:
        return True
    one, other = one.detach(), other.detach()
    return not float((one - other).abs().max()) <= tolerance * max(1.0, float(other.abs().max()))


def _output_reasons(loss: SpeakerLoss, tolerance: float) -> Iterable[str]:
    embeddings, labels = _batch(loss)
    speakers, utterances, _ = embeddings.shape
    output = loss(embeddings.requires_grad_(), labels)
    if output.loss.dim() or output.loss.dtype != torch.float32 or not output.loss.requires_grad:
        yield f"the loss is {tuple(output.loss.shape)} {output.loss.dtype}, expected a torch.float32 scalar that has a gradient"
    if output.accuracy_name not in ("accuracy", "batch_accuracy"):
        yield f'accuracy_name is "{output.accuracy_name}", expected "accuracy" (over all classes) or "batch_accuracy" (within the batch)'
    columns = loss.classes if _classifies(output) else speakers
    rows = speakers * utterances if _classifies(output) else output.count
    if tuple(output.cosines.shape) != (rows, columns) or output.cosines.dtype != torch.float32 or output.cosines.requires_grad:
        state = f"{output.cosines.dtype}{' with a gradient' if output.cosines.requires_grad else ''}"
        yield f"cosines are {tuple(output.cosines.shape)} {state}, expected {(rows, columns)} torch.float32, detached"
    if tuple(output.correct.shape) != (rows,) or output.correct.dtype != torch.bool or output.count != rows:
        yield f"correct is {tuple(output.correct.shape)} {output.correct.dtype}, count {output.count}; expected bool for each of {rows}"
    elif _classifies(output) and not torch.equal(output.correct, output.cosines.argmax(1) == labels.repeat_interleave(utterances)):
        yield "correct is not where the largest entry of cosines is the label, so the accuracy is taken from something else (R3)"


@torch.no_grad()
def _order_reasons(loss: SpeakerLoss, tolerance: float) -> Iterable[str]:
    embeddings, labels = _batch(loss)
    output = loss(embeddings, labels)
    speakers = torch.tensor([2, 0, 3, 1])
    if _apart(loss(embeddings[speakers], labels[speakers]).loss, output.loss, tolerance):
        yield "another order of the speakers, with their labels, gives another loss"
    if not _classifies(output) and _apart(loss(embeddings, labels.roll(1)).loss, output.loss, tolerance):
        yield "other labels give another loss, although the match is within the batch"
    if not _takes_items(loss, output):
        return
    mixed = torch.stack([rows[torch.randperm(len(rows))] for rows in embeddings])
    if _apart(loss(mixed, labels).loss, output.loss, tolerance):
        yield "another order of a speaker's utterances gives another loss"


def _utterance_reasons(loss: SpeakerLoss, tolerance: float) -> Iterable[str]:
    """Whether every utterance is heard, and not only the mean over a speaker's."""
    embeddings, labels = _batch(loss)
    speakers, utterances, _ = embeddings.shape
    output = loss(embeddings.requires_grad_(), labels)
    (gradient,) = torch.autograd.grad(output.loss, embeddings)
    unheard = [tuple(place) for place in (gradient.abs().amax(2) == 0).nonzero().tolist()]
    if unheard:
        yield f"no gradient reaches utterance {unheard[0][1]} of speaker {unheard[0][0]}, {len(unheard)} utterances in all"
    if not _classifies(output):
        return
    same = [torch.allclose(gradient[:, 0], gradient[:, 1], rtol=0, atol=tolerance * float(gradient.abs().max()))]
    if len(output.cosines) == speakers * utterances:
        scores = output.cosines.unflatten(0, (speakers, utterances))
        same.append(not _apart(scores[:, 0], scores[:, 1], tolerance))
    if any(same):
        what = "receive the same gradient" if same[0] else "have the same cosines"
        yield f"utterances of a speaker are averaged before they are classified: all of them {what} (R3)"


@torch.no_grad()
def _item_reasons(loss: SpeakerLoss, tolerance: float) -> Iterable[str]:
    """Whether every utterance is an item of its own: flattened, one per speaker, and alone."""
    embeddings, labels = _batch(loss)
    output = loss(embeddings, labels)
    if not _takes_items(loss, output):
        return
    rows, targets = flatten(embeddings, labels)
    flat = loss(rows, targets)
    if _apart(flat.loss, output.loss, tolerance):
        yield "embeddings.flatten(0, 1) with labels.repeat_interleave(utterances) give another loss than the batch they were"
    elif _apart(flat.cosines, output.cosines, tolerance):
        yield "flattened embeddings give cosines in another order; items are speaker-major"
    if _apart(loss(rows[:, None], targets).loss, flat.loss, tolerance):
        yield "one utterance per speaker (items, 1, dimensions) gives another loss than (items, dimensions)"
    alone = torch.stack([loss(rows[item : item + 1], targets[item : item + 1]).loss for item in range(len(rows))])
    if _apart(alone.mean(), flat.loss, tolerance):
        yield f"the loss is {float(flat.loss):.4f}, the mean of the losses of its items {float(alone.mean()):.4f}; expected that mean"


@torch.no_grad()
def _mean_reasons(loss: SpeakerLoss, tolerance: float) -> Iterable[str]:
    """A batch twice over keeps a mean; a metric loss has twice the speakers to tell apart, which costs ln 2 where all coincide."""
    embeddings, labels = _batch(loss)
    alike = embeddings[:1, :1].expand_as(embeddings)
    once, twice = (float(loss(alike.repeat(times, 1, 1), labels.repeat(times)).loss) for times in (1, 2))
    allowed = [0.0] if loss.minimum_utterances == 1 else [0.0, math.log(2)]
    if not any(abs(twice - once - more) <= 10 * tolerance * max(1.0, abs(once)) for more in allowed):
        yield f"a batch twice over has loss {twice:.4f}, once it has {once:.4f}; expected the mean over items"


@torch.no_grad()
def _margin_reasons(loss: SpeakerLoss, tolerance: float) -> Iterable[str]:
    embeddings, labels = _batch(loss)
    output = loss(embeddings, labels)
    if not _classifies(output):
        return
    others = (labels + 1) % loss.classes
    if _apart(loss(embeddings, others).cosines, output.cosines, tolerance):
        yield "cosines depend on the labels, so they carry the margin and the accuracy of a fresh network is 0.00 % (R3)"
    alike = embeddings[:, :1].expand_as(embeddings)
    chosen = loss(alike, labels).cosines[:: embeddings.shape[1]].argmax(1)
    if not loss(alike, chosen).correct.all():
        yield "utterances whose label has the largest cosine are not correct, so the accuracy carries the margin (R3)"
    set_margin = getattr(loss, "set_margin", None)
    if set_margin is not None:
        set_margin(0.0)
        without = loss(embeddings, labels)
        if _apart(without.cosines, output.cosines, tolerance) or not torch.equal(without.correct, output.correct):
            yield "cosines or correct change with the margin that set_margin sets"
    weight = _class_weights(loss)
    if weight is not None:
        rows = F.normalize(embeddings.flatten(0, 1), dim=1)
        expected = (rows @ F.normalize(weight, dim=1).T).view(len(rows), loss.classes, -1).amax(2)
        if _apart(output.cosines, expected, tolerance):
            yield "cosines are not the cosines of embeddings to class weights (of several sub-centres the nearest)"


@torch.no_grad()
def _precision_reasons(loss: SpeakerLoss, tolerance: float) -> Iterable[str]:
    embeddings, labels = _batch(loss)
    expected = loss(embeddings, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = loss(embeddings, labels)
    if cast.loss.dtype != torch.float32 or cast.cosines.dtype != torch.float32:
        yield f"under bfloat16 autocast the loss is {cast.loss.dtype} and the cosines are {cast.cosines.dtype}, expected torch.float32"
    elif _apart(cast.loss, expected.loss, 1e-6):
        yield f"under bfloat16 autocast the loss is {float(cast.loss):.6f} instead of {float(expected.loss):.6f}"
    for dtype in (torch.bfloat16, torch.float16):
        half = embeddings.to(dtype)
        value = loss(half, labels).loss
        if value.dtype != torch.float32 or _apart(value, loss(half.float(), labels).loss, 1e-6):
            yield f"{dtype} embeddings are not computed in float32"


def _class_weights(loss: SpeakerLoss) -> Tensor | None:
    """Return the parameter `weight` (classes * sub-centres, dimensions) of a loss that has one."""
    weight = getattr(loss, "weight", None)
    fits = isinstance(weight, Tensor) and weight.dim() == 2 and weight.shape[1] == loss.dimensions and len(weight) % loss.classes == 0
    return weight if fits else None


def _gradient_reasons(loss: SpeakerLoss, tolerance: float) -> Iterable[str]:
    embeddings, labels = _batch(loss)
    axes = torch.eye(loss.dimensions)
    own = axes[labels % loss.dimensions][:, None].expand_as(embeddings)
    weight = _class_weights(loss)
    if weight is not None:  # along the axes, where a cosine is 1 to the last bit
        per_class = len(weight) // loss.classes
        weight.data.copy_(axes[torch.arange(len(weight)) // per_class % loss.dimensions])
    flipped = own.clone()
    flipped[:, 1::2] *= -1
    for name, values in (
        ("cosines of 1", own),
        ("cosines of -1", -own),
        ("utterances that point to opposite sides", flipped),
        ("embeddings that are all equal", embeddings[:1, :1].expand_as(embeddings)),
        ("embeddings of zeros", torch.zeros_like(embeddings)),
        ("one embedding of zeros per speaker", embeddings * (torch.arange(embeddings.shape[1]) > 0)[None, :, None]),
        ("embeddings of length 1e4", 1e4 * F.normalize(embeddings, dim=2)),
    ):
        loss.zero_grad()
        leaf = values.clone().requires_grad_()
        value = loss(leaf, labels).loss
        value.backward()
        parts = [("the embeddings", leaf), *loss.named_parameters()]
        bad = [key for key, part in parts if part.grad is not None and not part.grad.isfinite().all()]
        if not value.isfinite():
            yield f"the loss is {float(value.detach())} for {name}"
        elif bad:
            yield f"the gradient of {', '.join(bad)} is not finite for {name}"


def _repetition_reasons(loss: SpeakerLoss, tolerance: float) -> Iterable[str]:
    """Two calls before one backward pass, as when a loss is added up over several views of a batch."""
    embeddings, labels = _batch(loss)
    embeddings.requires_grad_()
    (once,) = torch.autograd.grad(loss(embeddings, labels).loss, embeddings)
    (twice,) = torch.autograd.grad(loss(embeddings, labels).loss + loss(embeddings, labels).loss, embeddings)
    if _apart(twice, 2 * once, tolerance):
        yield "the same batch gives another gradient the second time"


def _refusal_reasons(loss: SpeakerLoss, tolerance: float) -> Iterable[str]:
    embeddings, labels = _batch(loss)
    speakers, utterances, _ = embeddings.shape
    too_large, too_small = labels.clone(), labels.clone()
    too_large[1], too_small[1] = loss.classes, -1
    trials: list[tuple[str, Tensor, Tensor, str]] = [
        (f"label {loss.classes} of {loss.classes} classes", embeddings, too_large, str(loss.classes)),
        ("label -1", embeddings, too_small, "-1"),
        (f"{utterances} labels per speaker", embeddings, labels.repeat_interleave(utterances), "repeat_interleave"),
        (f"{speakers} labels for {speakers * utterances} flat embeddings", embeddings.flatten(0, 1), labels, "repeat_interleave"),
        ("labels that are floats", embeddings, labels.float(), "float"),
        ("embeddings of another size", embeddings[..., 1:], labels, str(loss.dimensions)),
    ]
    if loss.minimum_utterances > 1:
        least = str(loss.minimum_utterances)
        trials.append((f"fewer than {least} utterances per speaker", embeddings[:, : loss.minimum_utterances - 1], labels, least))
    for name, values, targets, said in trials:
        try:
            loss(values, targets)
        except UserError as error:
            if said not in str(error):
                yield f'the error for {name} does not say "{said}": {error}'
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            yield f"{name}: expected a UserError, got {type(error).__name__}: {error}"
        else:
            yield f"{name}: accepted, expected a UserError"


@torch.no_grad()
def _initial_reasons(loss: SpeakerLoss, tolerance: float) -> Iterable[str]:
    classifies = _classifies(loss(*_batch(loss)))
    speakers, utterances = min(128, loss.classes), max(2, loss.minimum_utterances)
    expected = loss.initial(speakers, utterances)
    if expected is None or (loss.classes if classifies else speakers) < _FEWEST:
        return
    values = []
    for _ in range(8):  # unit variance: a plain linear layer minds the length
        labels = torch.randperm(loss.classes)[:speakers]
        values.append(loss(torch.randn(speakers, utterances, loss.dimensions), labels).loss)
    found = float(torch.stack(values).mean())
    if not abs(found - expected.value) <= INITIAL_TOLERANCE * abs(expected.value):
        yield f"random directions give {found:.3f}, initial says {expected.value:.3f} ({expected.formula})"
