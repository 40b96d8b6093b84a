"""From a message to a transcript: proved where it is right, and never proved where the message cannot tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from auscult.data.recognition_batch import RecognitionBatch
from auscult.errors import UserError
from auscult.privacy import occupancy
from auscult.privacy.alignments import Tokens
from auscult.privacy.attack import Reconstruction, Watch
from auscult.privacy.attacks import transcript_search
from auscult.privacy.attacks.first_layer_span import FirstLayerSpan
from auscult.privacy.attacks.transcript_search import TranscriptSearch
from auscult.privacy.capture import LeakSettings, capture
from auscult.privacy.defences.gaussian_noise import GaussianNoise
from auscult.privacy.message import Knowledge, Leak, Truth
from auscult.privacy.transcript_evidence import observe
from auscult.privacy.transcript_search import Evidence, Read
from auscult.privacy.victim import Victim
from auscult.streams import Streams
from auscult.testing.victims import random_batch, small_victim

LAYERS = ("input.0", "fc")
TEXTS = ("see all", "to tell")


@pytest.fixture(scope="module")
def victim() -> Victim:
    return small_victim("deepspeech1", hidden=96, front_end={"name": "mfcc_context", "context": 6})


def taken(victim: Victim, *texts: str, seconds: tuple[float, ...] = (0.5, 0.6), **settings: object) -> tuple[Leak, Knowledge, Truth]:
    labels = victim.specification.labels
    parts = [random_batch(victim, 1, seconds=one, seed=number) for number, one in enumerate(seconds[: len(texts)])]
    batch = RecognitionBatch.pad(
        [part.samples[0].numpy() for part in parts],
        [[labels.index(one) for one in text] for text in texts],
        [f"u{n}" for n in range(len(texts))],
    )
    chosen = LeakSettings(**{"layers": LAYERS, "batch": len(texts), **settings})  # type: ignore[arg-type]
    return capture(victim, [batch], ["a"] * len(texts), chosen, Streams(0))


def attack(victim: Victim, leak: Leak, knowledge: Knowledge) -> Reconstruction:
    return TranscriptSearch().run(victim, leak, knowledge, Watch(np.random.default_rng(0)))


def test_the_transcript_comes_out_of_a_message_and_is_proved(victim: Victim) -> None:
    leak, _, truth = taken(victim, TEXTS[0])
    found = attack(victim, leak, Knowledge())
    assert found.transcripts == truth.texts
    assert found.proved == (True,)
    assert found.objective is not None
    assert found.objective < 1e-6
    assert (found.characters, found.symbols) == (frozenset(TEXTS[0]), (len(TEXTS[0]),))


def test_proved_transcripts_give_the_characters_that_occupancies_were_too_uncertain_for(
    victim: Victim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(occupancy, "SOUND", 1.0)
    leak, _, _ = taken(victim, TEXTS[0])
    assert FirstLayerSpan().run(victim, leak, Knowledge(), Watch(np.random.default_rng(0))).characters is None
    found = attack(victim, leak, Knowledge())
    assert found.proved == (True,)
    assert found.by_utterance == (frozenset(TEXTS[0]),)
    assert not found.notes


@pytest.mark.parametrize("kind", [{"kind": "gradient"}, {"kind": "delta", "rate": 0.5}])
def test_both_transcripts_of_a_batch_come_out(victim: Victim, kind: dict[str, object]) -> None:
    leak, knowledge, truth = taken(victim, *TEXTS, **kind)
    found = attack(victim, leak, knowledge)
    assert found.transcripts == truth.texts
    assert found.proved == (True, True) or kind["kind"] == "delta"  # a difference of weights has fewer digits


def test_other_losses_count_no_symbols_and_use_what_is_told(victim: Victim) -> None:
    other = Victim(victim.model, victim.specification, "batch_mean")
    leak, knowledge, truth = taken(other, *TEXTS)
    assert attack(other, leak, knowledge).transcripts == truth.texts
    found = attack(other, leak, replace(knowledge, token_lengths=None))
    assert found.transcripts == (None, None)
    assert any("length of a transcript is unknown" in note for note in found.notes)


def test_a_search_that_ends_wrong_proves_nothing(victim: Victim, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the search returns its start, two letters exchanged."""

    def stuck(evidence: Evidence, agrees: object, told: object) -> Read:
        labels = victim.specification.labels
        return Read(np.array([labels.index(one) for one in "see lal"]), 0.0, 1)

    monkeypatch.setattr(transcript_search, "read_transcript", stuck)
    leak, _, _ = taken(victim, TEXTS[0])
    found = attack(victim, leak, Knowledge())
    assert found.transcripts == ("see lal",)
    assert found.proved == (False,)
    assert any("is a guess" in note for note in found.notes)


def test_a_message_that_tells_nothing_of_an_utterance_proves_nothing(victim: Victim) -> None:
    """Planted: frames that others of the batch span, so that every transcript of this one makes the same gradient."""
    leak, _, truth = taken(victim, TEXTS[0])
    [one] = observe(victim, leak, truth.features, None)
    labels = victim.specification.labels
    right: Tokens = np.array([labels.index(letter) for letter in TEXTS[0]])
    assert transcript_search._unproved(one, right) is None
    blind = replace(one, units=np.zeros_like(one.units), gradient=np.zeros_like(one.gradient))
    assert blind.residual(right) == blind.residual(right[::-1].copy()) == 0.0
    assert one.agrees(right)
    assert not blind.agrees(right)  # a search must not stop at its first guess
    assert "another one too" in str(transcript_search._unproved(blind, right))


def test_changed_messages_and_dropout_make_guesses(victim: Victim) -> None:
    leak, _, truth = taken(victim, TEXTS[0])
    silent = replace(leak, dropout=0.1)
    assert attack(victim, silent, Knowledge(frames=(len(truth.features[0]),))).proved == (False,)
    spread = 1e-5 * float(leak.tensors["fc.weight"].std())
    noisy = replace(leak, tensors=dict(GaussianNoise(spread).transform(dict(leak.tensors), np.random.default_rng(0))), defences=("noise",))
    found = attack(victim, noisy, Knowledge(frames=(len(truth.features[0]),)))
    assert found.proved == (False,)
    assert any("message was changed (noise)" in note for note in found.notes)


def test_without_features_or_the_output_layer_nothing_is_claimed(victim: Victim) -> None:
    leak, knowledge, _ = taken(victim, TEXTS[0])
    wrong = attack(victim, leak, Knowledge(frames=(len(knowledge.frames or ()) + 12,)))
    assert wrong.transcripts is None
    assert any("no transcript is looked for" in note for note in wrong.notes)
    narrow = replace(leak, tensors={name: value for name, value in leak.tensors.items() if not name.startswith("fc")})
    with pytest.raises(UserError, match=r"needs the gradient of fc\.weight"):
        attack(victim, narrow, knowledge)


def test_the_network_is_left_as_it_was(victim: Victim) -> None:
    leak, knowledge, _ = taken(victim, TEXTS[0])
    before = {name: value.clone() for name, value in victim.model.state_dict().items()}
    attack(victim, leak, knowledge)
    assert all(torch.equal(value, before[name]) for name, value in victim.model.state_dict().items())
