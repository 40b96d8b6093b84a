"""The suite finds each fault it promises to find, lists several at once, and sees a dead option."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from auscult.errors import UserError
from auscult.models.separator import Separator
from auscult.registry import INJECTED, register, scope
from auscult.specification import Specification
from auscult.testing.separator_training import broken_tones
from auscult.testing.separators import check_options, check_separator

SPECIFICATION = Specification("separation", 8000, sources=2)


class Sound(Separator):
    """The smallest separator that keeps the contract: short filters with a rectified part."""

    shortest = 3

    def __init__(self, specification: Annotated[Specification, INJECTED], taps: int = 5, width: int = 4) -> None:
        super().__init__(specification)
        self.first = nn.Conv1d(1, width, taps, padding=taps // 2)
        self.second = nn.Conv1d(width, self.sources, 1)

    def forward(self, mixture: Tensor) -> Tensor:
        self.check_samples(mixture)
        return self.second(torch.tanh(self.first(mixture.unsqueeze(1)))).float()


class Shortens(Sound):
    def forward(self, mixture: Tensor) -> Tensor:
        return super().forward(mixture)[:, :, : mixture.shape[1] // 2 * 2]


class TakesAnything(Sound):
    def check_samples(self, mixture: Tensor) -> None:
        pass


class SaysNothing(Sound):
    def check_samples(self, mixture: Tensor) -> None:
        if mixture.dim() != 2 or mixture.shape[1] < self.shortest:
            raise UserError("too short")


class EditsMixture(Sound):
    def forward(self, mixture: Tensor) -> Tensor:
        mixture *= 0.5
        return super().forward(mixture)


class KeepsFrames(Sound):
    frames = 0

    def forward(self, mixture: Tensor) -> Tensor:
        self.frames = mixture.shape[1]
        return super().forward(mixture)


class KeepsState(Sound):
    def forward(self, mixture: Tensor) -> Tensor:
        last = getattr(self, "_last", 0.0)
        self._last = float(mixture.mean())
        return super().forward(mixture) + last


class MixesItems(Sound):
    def forward(self, mixture: Tensor) -> Tensor:
        return super().forward(mixture - mixture.mean(0, keepdim=True))


class StartsClosed(Sound):
    def forward(self, mixture: Tensor) -> Tensor:
        return super().forward(mixture) * 1e-9


class Detaches(Sound):
    def forward(self, mixture: Tensor) -> Tensor:
        self.check_samples(mixture)
        return self.second(self.first(mixture.unsqueeze(1)).detach())


class RootOfPower(Sound):
    def forward(self, mixture: Tensor) -> Tensor:
        level = (self.first(mixture.unsqueeze(1)) - self.first.bias[:, None]).square().mean((1, 2)).sqrt()
        return super().forward(mixture) + level[:, None, None]


class StaysHalf(Sound):
    def forward(self, mixture: Tensor) -> Tensor:
        self.check_samples(mixture)
        return self.second(torch.tanh(self.first(mixture.unsqueeze(1))))


class Overflows(Sound):
    def forward(self, mixture: Tensor) -> Tensor:
        self.check_samples(mixture)
        wide = self.first(mixture.unsqueeze(1)) * 60000.0
        return self.second(wide * 60000.0 / 3.6e9).float()


class KnowsWhatItTakes(Overflows):
    number_formats: ClassVar[tuple[str, ...]] = ("float32", "bfloat16")


class UnknownFormat(Sound):
    number_formats: ClassVar[tuple[str, ...]] = ("float32", "half")


class LosesWeights(Sound):
    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        return super().load_state_dict({key: value for key, value in state_dict.items() if key != "second.bias"}, strict=False)


class AsksForItsName(Sound):
    def forward(self, mixture: Tensor) -> Tensor:
        return super().forward(mixture) * (2.0 if torch.compiler.is_compiling() else 1.0)


FAULTS: list[tuple[type[Sound], str]] = [
    (Shortens, r"1 mixtures of 3 samples give \(1, 2, 2\) torch.float32, expected \(1, 2, 3\)"),
    (TakesAnything, r"samples \(2, 2\) are not refused with a UserError"),
    (SaysNothing, "does not name the 3 samples"),
    (EditsMixture, "the mixture is changed in place"),
    (KeepsFrames, "a call leaves something behind in frames"),
    (KeepsState, "other signals after another call"),
    (MixesItems, "change by .* with its batch mates"),
    (StartsClosed, "silent or constant"),
    (Detaches, "no gradient reaches first.weight"),
    (RootOfPower, "the gradient of first.weight is not finite where a mixture is digital silence"),
    (StaysHalf, "torch.bfloat16 under bfloat16 autocast"),
    (Overflows, "not finite under float16 autocast"),
    (UnknownFormat, r"number_formats names \['half'\]"),
    (LosesWeights, "signals change when the state dict is saved and loaded"),
    (AsksForItsName, "signals change by .* under torch.compile"),
]


def built(cls: type[Sound]) -> Sound:
    torch.manual_seed(0)
    return cls(SPECIFICATION)


@pytest.mark.parametrize("cls", [Sound, KnowsWhatItTakes])
def test_a_sound_separator_passes_and_is_left_alone(cls: type[Sound]) -> None:
    model = built(cls).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    check_separator(model)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(("cls", "said"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_planted_faults_are_found(cls: type[Sound], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_separator(built(cls))


def test_all_faults_are_listed_at_once() -> None:
    class Several(EditsMixture):
        def check_samples(self, mixture: Tensor) -> None:
            pass

    with pytest.raises(AssertionError) as caught:
        check_separator(built(Several))
    text = str(caught.value)
    assert text.startswith("Several:\n- ")
    assert "changed in place" in text
    assert "not refused" in text


class IgnoresWidth(Sound):
    def __init__(self, specification: Annotated[Specification, INJECTED], taps: int = 5, width: int = 4) -> None:
        super().__init__(specification, taps)


def test_a_dead_option_is_seen_and_every_option_must_be_tried() -> None:
    with scope():
        register("model", "sound")(Sound)
        register("model", "ignores_width")(IgnoresWidth)
        check_options("sound", {}, {"taps": 7, "width": 6})
        with pytest.raises(AssertionError, match="width = 6 changes neither parameters nor signals; the option is dead"):
            check_options("ignores_width", {}, {"taps": 7, "width": 6})
        with pytest.raises(AssertionError, match=r"must name every option of sound, and no other: \['width'\]"):
            check_options("sound", {}, {"taps": 7})


def test_tones_are_two_different_sources_with_pauses() -> None:
    sources = broken_tones()
    assert sources.shape == (4, 2, 2000)
    assert float((sources[:, 0] * sources[:, 1]).sum(1).abs().max()) < 0.3 * float(sources.square().sum(2).min())
    assert (sources == 0).float().mean() > 0.1
