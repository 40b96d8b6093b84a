"""Conformance suite for speaker encoders, ours and third parties'.

What silently breaks a speaker encoder: embeddings that change with the batch mates, weights per frame that are ignored or applied to
the wrong frames, half-precision or normalised results, a minimum length that is not the true one, gradients that are infinite for
silence. One call checks all of it and lists every fault.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from auscult.errors import UserError
from auscult.models.speaker_encoder import EncodedFrames, SpeakerEncoder

TOLERANCE = 1e-5
"""Largest difference that padding may make, relative to the largest entry of the embeddings."""

_FACTORS = (1.0, 0.61, 0.35)
"""Lengths of the tried utterances, in seconds."""


def check_speaker_encoder(model: SpeakerEncoder, sample_rate: int, seed: int = 0, tolerance: float = TOLERANCE) -> None:
    """Check that a speaker encoder keeps its contract.

    Checked: shape, dtype and determinism of embeddings, also under autocast; independence of batch mates and padding; weights of one
    equal none, weights select frames, weights in the padding do not count; `minimum_samples` is the true limit and the error says it;
    finite gradients of every parameter for noise and for digital silence; encoded frames are zero in the padding and as many as
    `frame_stride` promises.

    Args:
        model: built encoder; a copy is checked, the model itself is not changed.
        sample_rate: of its front-end, in hertz.
        seed: of the random utterances.
        tolerance: largest relative difference of embeddings that should be equal.

    Raises:
        AssertionError: with one line per fault.
    """
    reasons: list[str] = []
    if model.front_end.sample_rate != sample_rate:
        reasons.append(f"front_end.sample_rate is {model.front_end.sample_rate}, expected {sample_rate}")
    checks: tuple[Callable[[SpeakerEncoder, float], Iterable[str]], ...] = (
        _embedding_reasons,
        _padding_reasons,
        _frame_reasons,
        _weight_reasons,
        _minimum_reasons,
        _gradient_reasons,
    )
    for check in checks:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                reasons += check(copy.deepcopy(model).eval(), tolerance)
            except (RuntimeError, UserError, ValueError, IndexError, TypeError) as error:
                reasons.append(f"{check.__name__[1:].split('_')[0]}: failed with {type(error).__name__}: {error}")
    assert not reasons, f"{type(model).__name__}:\n" + "\n".join(f"- {reason}" for reason in reasons)


def _batch(model: SpeakerEncoder, factors: tuple[float, ...] = _FACTORS, fill: float = 0.0) -> tuple[Tensor, Tensor]:
    """Noise of several lengths with a falling spectrum, padded a little beyond the longest."""
    rate, least = model.front_end.sample_rate, model.minimum_samples
    lengths = torch.tensor([max(least, int(rate * factor)) for factor in factors])
    samples = torch.randn(len(lengths), int(lengths.max()) + rate // 10).cumsum(1)
    samples = 0.1 * samples / samples.abs().amax(1, keepdim=True) + 0.02 * torch.randn_like(samples)
    samples[torch.arange(samples.shape[1]) >= lengths[:, None]] = fill
    return samples, lengths


def _difference(one: Tensor, other: Tensor) -> float:
    """Largest difference relative to the largest entry."""
    return float((one - other).abs().max() / other.abs().max().clamp_min(1e-12))


@torch.no_grad()
def _embedding_reasons(model: SpeakerEncoder, tolerance: float) -> Iterable[str]:
    samples, lengths = _batch(model)
    embeddings = model(samples, lengths)
    expected = (len(samples), model.dimensions)
    if tuple(embeddings.shape) != expected or embeddings.dtype != torch.float32:
        yield f"embeddings are {tuple(embeddings.shape)} {embeddings.dtype}, expected {expected} torch.float32"
        return
    if not embeddings.isfinite().all():
        yield "embeddings are not finite"
    if not torch.equal(model(samples, lengths), embeddings):
        yield "the same samples give other embeddings the second time in evaluation mode"
    if bool(((embeddings.norm(dim=1) - 1).abs() < 1e-4).all()):
        yield "embeddings have length 1; normalising is the business of losses and scores, which need the length"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        halved = model(samples, lengths)
    if halved.dtype != torch.float32:
        yield f"embeddings are {halved.dtype} under autocast, expected torch.float32"
    elif float(nn.functional.cosine_similarity(halved, embeddings).min()) < 0.95:
        yield "embeddings under bfloat16 autocast point elsewhere (cosine below 0.95)"


@torch.no_grad()
def _padding_reasons(model: SpeakerEncoder, tolerance: float) -> Iterable[str]:
    samples, lengths = _batch(model, fill=float("nan"))
    together = model(samples, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = model(samples[row : row + 1, :length], lengths[row : row + 1])[0]
        leak = _difference(together[row], alone)
        if not leak <= tolerance:
            yield f"the embedding of {length} samples changes by {leak:.1e} with batch mates and padding, allowed {tolerance:.0e}"


@torch.no_grad()
def _frame_reasons(model: SpeakerEncoder, tolerance: float) -> Iterable[str]:
    features = model.features(*_batch(model))
    encoded = model.encode(features)
    frames = encoded.values.shape[2]
    promised = (features.lengths - 1).div(model.frame_stride, rounding_mode="floor") + 1
    if encoded.lengths.dtype != torch.int64 or int(encoded.lengths.max()) > frames:
        yield f"encode: lengths {encoded.lengths.tolist()} {encoded.lengths.dtype} for {frames} frames"
    elif int((encoded.lengths - promised).abs().max()) > 1:
        yield f"encode: {encoded.lengths.tolist()} frames, frame_stride {model.frame_stride} promises {promised.tolist()}"
    beyond = torch.arange(frames) >= encoded.lengths[:, None]
    if encoded.values.transpose(1, 2)[beyond].any():
        yield "encode: values beyond the lengths are not zero"


@torch.no_grad()
def _weight_reasons(model: SpeakerEncoder, tolerance: float) -> Iterable[str]:
    encoded = model.encode(model.features(*_batch(model)))
    plain = model.pool(encoded)
    frames = encoded.values.shape[2]
    ones = torch.ones(len(plain), frames)
    if not _difference(model.pool(encoded, ones), plain) <= tolerance:
        yield "pool: weights of 1 give another embedding than no weights; what lies beyond the lengths must not count either way"
    kept = torch.arange(frames) < encoded.lengths[:, None] // 2
    chosen = model.pool(encoded, kept.float())
    for row in range(len(plain)):
        half = max(1, int(encoded.lengths[row]) // 2)
        first = EncodedFrames(encoded.values[row : row + 1, :, :half], torch.tensor([half]))
        if int(encoded.lengths[row]) > 1 and not _difference(chosen[row], model.pool(first)[0]) <= tolerance:
            yield f"pool: weights of 1 on the first {half} frames and 0 on the rest give not what these frames alone give"
    if _difference(chosen[0], plain[0]) <= tolerance:
        yield "pool: weights make no difference"
    if not model.pool(encoded, torch.zeros_like(ones)).isfinite().all():
        yield "pool: weights that are all zero give an embedding that is not finite"
    if not model.pool(encoded, 0.5 * ones).isfinite().all():
        yield "pool: weights of one half give an embedding that is not finite"


@torch.no_grad()
def _minimum_reasons(model: SpeakerEncoder, tolerance: float) -> Iterable[str]:
    least = model.minimum_samples
    if not model(0.1 * torch.randn(1, least), torch.tensor([least])).isfinite().all():
        yield f"minimum_samples = {least} gives an embedding that is not finite"
    for length in sorted({0, 1, least - 1} - set(range(least, least + 2))):
        try:
            model(torch.zeros(1, least), torch.tensor([length]))
        except UserError as error:
            if str(length) not in str(error) or str(least) not in str(error):
                yield f"the error for {length} samples names neither that number nor the {least} needed: {error}"
        else:
            yield f"{length} samples are fewer than minimum_samples = {least} and are not refused"


def _gradient_reasons(model: SpeakerEncoder, tolerance: float) -> Iterable[str]:
    model.train()
    noise, lengths = _batch(model)
    for name, samples in (("noise", noise), ("digital silence", torch.zeros_like(noise))):
        model.zero_grad()
        embeddings = model(samples, lengths)
        (embeddings * torch.randn(embeddings.shape)).sum().backward()
        alive: dict[str, bool] = {}
        for key, parameter in model.named_parameters():
            part = key.split(".")[0]
            if parameter.grad is None:
                yield f"no gradient reaches {key}"
            elif not parameter.grad.isfinite().all():
                yield f"the gradient of {key} is not finite for {name}"
            alive[part] = alive.get(part, False) or (parameter.grad is not None and bool(parameter.grad.any()))
        dead = [part for part, any_gradient in alive.items() if not any_gradient]
        if dead and name == "noise":  # of a whole part: single narrow layers may be dead by chance
            yield f"the gradient is zero for all of {', '.join(dead)}"
