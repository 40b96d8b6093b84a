"""Who hears what: every method through one door, the recording beside them, and a run with listeners from recipe to page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from auscult.errors import UserError
from auscult.metrics.reconstruction_controls import controls
from auscult.privacy import listeners
from auscult.privacy.capture import client_features
from auscult.privacy.listeners import Heard, Listeners
from auscult.privacy.revocode import Revocoder
from auscult.privacy.run import attack
from auscult.privacy.speakers import Placed, SpeakerJudge
from auscult.recipe import Recipe
from auscult.recipe.attack import AttackRecipe
from auscult.report.html import write_report
from auscult.serving.recognizer import Recognizer
from auscult.streams import Streams
from auscult.testing.recipes import toy_recipe
from auscult.testing.victims import random_batch, small_victim
from auscult.training.train import train

VOICES = ("ann", "bob", "ann")


class Judge:
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.heard: list[NDArray[np.float32] | None] = []

    def place(self, sound: NDArray[np.float32] | None, speaker: str, name: str, recording: bool) -> Placed:
        assert recording == (name == "u0" and len(self.heard) == 5)  # the sixth is the recording
        self.heard.append(sound)
        return Placed(1, 2, 0.5, {"other": 0.1})


class Loud:
    """Recognises "abc" in whatever is loud."""

    specification = SimpleNamespace(sample_rate=8000)

    def text(self, samples: NDArray[np.float32], name: str = "") -> str:
        return "abc" if np.abs(samples).max() > 1e-6 else ""


def heard(front_end: dict[str, Any] | None = None) -> tuple[list[dict[str, Any]], Judge, NDArray[np.float32]]:
    victim = small_victim("deepspeech1", **({} if front_end is None else {"front_end": front_end}))
    batches = [random_batch(victim, 1, seconds=0.8, seed=seed) for seed in range(3)]
    pool = []
    for batch in batches:
        frames, lengths = client_features(victim, batch)
        pool.append(frames[0, : int(lengths[0])].double().numpy())
    revocoder, judge = Revocoder(victim.model.front_end, batches), Judge()
    ears = Listeners(revocoder, Streams(0), 16000, VOICES, cast(SpeakerJudge, judge), cast(Recognizer, Loud()))
    samples = batches[0].samples[0].numpy()
    methods = {"attack": np.full_like(pool[0], np.nan), **controls(pool, 0, np.random.default_rng(0))}
    return ears.hear(Heard("u0", "ann", "abd", samples), methods, [0]), judge, samples


def test_every_method_and_the_recording_are_heard_by_everybody() -> None:
    rows, judge, samples = heard()
    assert [row["method"] for row in rows] == ["attack", "zero", "corpus_mean", "random_other", "true_input", "recording"]
    assert len({row["id"] for row in rows}) == len(rows)
    assert judge.heard[-1] is samples
    by_method = {row["method"]: row for row in rows}
    assert by_method["recording"]["characters"] == [1, 3]
    assert "stoi" not in by_method["recording"]
    truth, nothing = by_method["true_input"], by_method["attack"]
    assert nothing["characters"] == [3, 3]  # what is not finite makes no sound, and nothing is heard in it
    assert judge.heard[0] is None
    assert truth["text"] == "abc"
    pytest.importorskip("pystoi")
    assert truth["stoi"] > by_method["corpus_mean"]["stoi"]


def test_methods_start_from_the_same_phases() -> None:
    first, second = heard()[1], heard()[1]
    for one, other in zip(first.heard, second.heard, strict=True):
        assert (one is None and other is None) or np.array_equal(cast(Any, one), cast(Any, other))


def test_the_scale_of_sound_is_not_of_the_same_voice() -> None:
    """Planted: with the mean of the speaker's own other utterances, zeros were ranked among the first five every time."""
    victim = small_victim("deepspeech1")
    revocoder = Revocoder(victim.model.front_end, [random_batch(victim, 1, seed=seed) for seed in range(3)])
    ears = Listeners(revocoder, Streams(0), 16000, VOICES, None, None)
    assert ears._silent("ann", [0]) == [0, 2]
    assert ears._silent("bob", [1]) == [1]
    assert Listeners(revocoder, Streams(0), 16000, ("ann",) * 3, None, None)._silent("ann", [0]) == [0]  # nobody else is there


def test_features_that_make_no_sound_are_refused() -> None:
    with pytest.raises(UserError, match="cannot be turned back to sound"):
        heard({"name": "mfcc_context", "context": 3, "kaldi": True})


class Tones:
    """Embeds a sound as a coarse spectrum."""

    specification = SimpleNamespace(sample_rate=8000)
    encoder: Any = None

    def embed_samples(self, sounds: Sequence[NDArray[np.float32]], names: Sequence[str]) -> NDArray[np.float32]:
        return np.array([np.abs(np.fft.rfft(one, 4000))[:2000].reshape(20, 100).sum(1) for one in sounds], dtype=np.float32)


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A recipe that attacks fresh weights, and a recogniser that was hardly trained."""
    folder = tmp_path_factory.mktemp("listeners")
    plain = toy_recipe(folder / "corpus", speakers=4)
    other = train(Recipe.from_dict(plain), root=folder / "runs")
    front_end = {"name": "mfcc_context", "context": 2, "coefficients": 6, "mel_bins": 16}
    made = plain | {"model": {"name": "deepspeech1", "hidden": 16, "dropout": 0.0, "front_end": front_end}}
    made |= {"attack": {"name": "first_layer_span"}, "leak": {"layers": ["input.0"]}, "recogniser": {"run": str(other.run)}}
    return made | {"utterances": {"count": 2, "pool": 4}, "speakers": {"run": "voices", "vocoded": True}}


def test_a_run_reports_voices_and_refuses_words_of_a_recogniser_that_knows_none(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "load_embedder", lambda run, device: Tones())
    result = attack(AttackRecipe.from_dict(values), root=tmp_path)
    table = result.summary["heard"]
    assert list(table) == ["attack", "zero", "corpus_mean", "random_other", "true_input", "recording", "chance"]
    assert {"speaker_top1", "speaker_top5", "speaker_eer"} <= set(table["attack"])
    assert "recogniser_wer" not in table["attack"]
    assert any("no word error rate is reported: the recogniser" in note for note in result.summary["notes"])
    page = write_report(result.run).read_text()
    for said in ("speaker first", "by chance", "the recording itself", "no word error rate is reported"):
        assert said in page, said
    assert attack(AttackRecipe.from_dict(values), root=tmp_path).reused


def test_the_victim_is_no_independent_recogniser(values: dict[str, Any], tmp_path: Path) -> None:
    run = values["recogniser"]["run"]
    same = {key: value for key, value in values.items() if key != "speakers"} | {"victim": {"run": run}}
    same |= {"model": {"name": "conv_ctc", "channels": 16, "blocks": 1, "kernel": 5}, "attack": {"name": "character_set"}}
    same["leak"] = {"layers": ["fc"]}
    with pytest.raises(UserError, match="is the attacked run itself"):
        attack(AttackRecipe.from_dict(same), root=tmp_path)


def test_a_run_of_another_task_is_refused_before_anything_is_attacked(values: dict[str, Any], tmp_path: Path) -> None:
    wrong = {**values, "speakers": {"run": values["recogniser"]["run"]}}
    with pytest.raises(UserError, match="embedding needs a verification run"):
        attack(AttackRecipe.from_dict(wrong), root=tmp_path)
    assert not list(tmp_path.rglob("message-0.pt"))
