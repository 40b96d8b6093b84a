"""The conformance suite finds each fault it promises to find, and lists several at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from auscult.audio.front_end import Features
from auscult.models.small_tdnn import SmallTdnn
from auscult.models.speaker_encoder import EncodedFrames
from auscult.registry import build
from auscult.testing.speaker_encoders import check_speaker_encoder

SMALL = {"channels": 16, "blocks": 2, "wide": 24, "dimensions": 12}


def encoder(cls: type[SmallTdnn] = SmallTdnn) -> SmallTdnn:
    torch.manual_seed(0)
    return cls(build("front_end", {"name": "log_mel"}, sample_rate=16000), [], **SMALL)  # type: ignore[arg-type]


class LeavesPaddingIn(SmallTdnn):
    def encode(self, features: Features) -> EncodedFrames:
        encoded = super().encode(Features(features.values, torch.full_like(features.lengths, features.values.shape[1])))
        return EncodedFrames(encoded.values, (features.lengths - 1) // self.frame_stride + 1)


class IgnoresWeights(SmallTdnn):
    def pool(self, encoded: EncodedFrames, weights: Tensor | None = None) -> Tensor:
        return super().pool(encoded)


class CountsPadding(SmallTdnn):
    def pool(self, encoded: EncodedFrames, weights: Tensor | None = None) -> Tensor:
        if weights is not None:
            encoded = EncodedFrames(encoded.values, torch.full_like(encoded.lengths, encoded.values.shape[2]))
        return super().pool(encoded, weights)


class MultipliesFrames(SmallTdnn):
    def pool(self, encoded: EncodedFrames, weights: Tensor | None = None) -> Tensor:
        values = encoded.values if weights is None else encoded.values * weights[:, None]
        return super().pool(EncodedFrames(values, encoded.lengths))


class Normalises(SmallTdnn):
    def pool(self, encoded: EncodedFrames, weights: Tensor | None = None) -> Tensor:
        return nn.functional.normalize(super().pool(encoded, weights))


class StaysHalf(SmallTdnn):
    def pool(self, encoded: EncodedFrames, weights: Tensor | None = None) -> Tensor:
        return super().pool(encoded, weights).to(encoded.values.dtype)


class Wanders(SmallTdnn):
    def pool(self, encoded: EncodedFrames, weights: Tensor | None = None) -> Tensor:
        pooled = super().pool(encoded, weights)
        return pooled + torch.randn_like(pooled)


class PromisesTooLittle(SmallTdnn):
    @property
    def minimum_samples(self) -> int:
        return 2 * super().minimum_samples


class Detaches(SmallTdnn):
    def encode(self, features: Features) -> EncodedFrames:
        encoded = super().encode(features)
        return EncodedFrames(encoded.values.detach(), encoded.lengths)


class RootWithoutFloor(SmallTdnn):
    def pool(self, encoded: EncodedFrames, weights: Tensor | None = None) -> Tensor:
        return super().pool(encoded, weights) + (0.0 * encoded.values).square().mean(2).sqrt().sum(1, keepdim=True)


class MiscountsFrames(SmallTdnn):
    def encode(self, features: Features) -> EncodedFrames:
        encoded = super().encode(features)
        return EncodedFrames(encoded.values[:, :, ::2], (encoded.lengths - 1) // 2 + 1)


class Fails(SmallTdnn):
    def pool(self, encoded: EncodedFrames, weights: Tensor | None = None) -> Tensor:
        if weights is not None:
            raise ValueError("weights are not supported")
        return super().pool(encoded)


FAULTS: list[tuple[Any, str]] = [
    (LeavesPaddingIn, "values beyond the lengths are not zero"),
    (LeavesPaddingIn, "changes by .* with batch mates and padding"),
    (IgnoresWeights, "weights make no difference"),
    (IgnoresWeights, "give not what these frames alone give"),
    (CountsPadding, "weights of 1 give another embedding than no weights"),
    (MultipliesFrames, "give not what these frames alone give"),
    (Normalises, "embeddings have length 1"),
    (StaysHalf, "torch.bfloat16 under autocast"),
    (Wanders, "other embeddings the second time"),
    (PromisesTooLittle, "fewer than minimum_samples = 402 and are not refused"),
    (Detaches, "no gradient reaches stem"),
    (RootWithoutFloor, "the gradient of stem.weight is not finite"),
    (MiscountsFrames, "frame_stride 2 promises"),
    (Fails, "weight: failed with ValueError: weights are not supported"),
]


def test_a_sound_encoder_passes_and_is_left_alone() -> None:
    model = encoder().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    check_speaker_encoder(model, 16000)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize(("cls", "said"), FAULTS)
def test_planted_faults_are_found(cls: type[SmallTdnn], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_speaker_encoder(encoder(cls), 16000)


def test_all_faults_are_listed_at_once() -> None:
    class Several(Normalises):
        def encode(self, features: Features) -> EncodedFrames:
            encoded = super().encode(features)
            return EncodedFrames(encoded.values.detach(), encoded.lengths)

    with pytest.raises(AssertionError) as caught:
        check_speaker_encoder(encoder(Several), 8000)
    text = str(caught.value)
    assert text.startswith("Several:\n- front_end.sample_rate is 16000, expected 8000")
    assert "embeddings have length 1" in text
    assert "no gradient reaches stem.weight" in text
