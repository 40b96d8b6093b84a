"""The message of a client: what it holds, that it is the gradient of the victim's loss, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from auscult.data.recognition_batch import RecognitionBatch
from auscult.errors import UserError
from auscult.losses.ctc import ctc_loss
from auscult.privacy.capture import LeakSettings, capture, client_features
from auscult.privacy.message import Knowledge, Leak
from auscult.privacy.victim import Victim
from auscult.streams import Streams
from auscult.testing.victims import random_batch, small_victim


def taken(victim: Victim, settings: LeakSettings, utterances: int = 1) -> tuple[Leak, Knowledge, list[RecognitionBatch]]:
    batches = [random_batch(victim, utterances, seed=number) for number in range(settings.clients)]
    speakers = [f"speaker-{number}" for number in range(settings.clients * utterances)]
    leak, knowledge, _ = capture(victim, batches, speakers, settings, Streams(0))
    return leak, knowledge, batches


@pytest.mark.parametrize("name", ["deepspeech1", "deepspeech2"])
def test_gradient_is_that_of_the_model_on_samples(name: str) -> None:
    victim = small_victim(name)
    leak, _, (batch,) = taken(victim, LeakSettings())
    output = victim.model(batch.samples, batch.sample_lengths)
    loss = ctc_loss(output.logits, output.lengths, batch.tokens, batch.token_lengths, blank=victim.blank, reduction=victim.reduction)
    expected = torch.autograd.grad(loss, list(victim.parameters.values()))
    for (name_of, sent), wanted in zip(leak.tensors.items(), expected, strict=True):
        torch.testing.assert_close(sent, wanted, rtol=1e-4, atol=1e-6, msg=name_of)


def test_one_local_step_is_the_gradient_times_the_rate() -> None:
    victim = small_victim("deepspeech1")
    gradient, _, _ = taken(victim, LeakSettings())
    delta, _, _ = taken(victim, LeakSettings(kind="delta", steps=1, rate=0.5))
    for name, value in gradient.tensors.items():
        torch.testing.assert_close(delta.tensors[name], -0.5 * value, rtol=1e-3, atol=1e-6)


def test_a_second_local_step_starts_where_the_first_ended() -> None:
    victim = small_victim("deepspeech1")
    one, _, _ = taken(victim, LeakSettings(kind="delta", steps=1, rate=0.5))
    two, _, _ = taken(victim, LeakSettings(kind="delta", steps=2, rate=0.5))
    name = "fc.weight"
    assert not torch.allclose(two.tensors[name], 2 * one.tensors[name], rtol=1e-3)


def test_secure_sum_is_the_sum_of_the_clients() -> None:
    victim = small_victim("deepspeech1")
    both, knowledge, batches = taken(victim, LeakSettings(clients=2))
    parts = [capture(victim, [batch], ["a"], LeakSettings(), Streams(0))[0] for batch in batches]
    torch.testing.assert_close(both.tensors["fc.weight"], parts[0].tensors["fc.weight"] + parts[1].tensors["fc.weight"])
    assert both.clients == 2
    assert knowledge.frames is not None
    assert len(knowledge.frames) == 2


def test_capture_leaves_the_victim_as_it_was() -> None:
    victim = small_victim("deepspeech2", mode="train")
    before = victim.fingerprint
    taken(victim, LeakSettings(), utterances=1)
    assert victim.fingerprint == before
    assert not any(parameter.grad is not None for parameter in victim.parameters.values())


def test_dropout_masks_are_the_clients_own() -> None:
    victim = small_victim("deepspeech1", dropout=0.5)
    leak, _, (batch,) = taken(victim, LeakSettings())
    frames, lengths = client_features(victim, batch)
    plain = torch.autograd.grad(victim.loss(frames, lengths, batch.tokens, batch.token_lengths), [victim.parameters["fc.weight"]])[0]
    assert not torch.allclose(leak.tensors["fc.weight"], plain, rtol=1e-2)
    again, once_more = (victim.loss(frames, lengths, batch.tokens, batch.token_lengths).detach() for _ in range(2))
    assert torch.equal(again, once_more)  # the attacker's loss has no masks


def test_knowledge_is_what_the_settings_say() -> None:
    victim = small_victim("deepspeech1")
    assert taken(victim, LeakSettings(knowledge="nothing"))[1] == Knowledge()
    lengths = taken(victim, LeakSettings(knowledge="lengths"))[1]
    assert lengths.tokens is None
    assert lengths.frames is not None
    assert lengths.token_lengths is not None
    with pytest.raises(UserError, match="needs the transcripts"):
        lengths.needed_tokens("it")
    with pytest.raises(UserError, match="needs the feature frames"):
        Knowledge().needed_frames("it")
    known = taken(victim, LeakSettings(knowledge="transcripts"))[1]
    assert known.tokens is not None
    assert known.token_lengths == tuple(len(row) for row in known.tokens)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"reduction": "batch_mean"}, "its reduction is batch_mean"),
        ({"mode": "train"}, "its mode is train"),
        ({"victim": "00000000"}, "its victim is 00000000"),
        ({"tensors": {"fc.wieght": torch.zeros(1)}}, "did you mean"),
        ({"tensors": {"fc.weight": torch.zeros(1)}}, "has shape"),
    ],
)
def test_a_message_of_another_computation_is_refused(changes: dict[str, object], named: str) -> None:
    victim = small_victim("deepspeech1")
    leak, _, _ = taken(victim, LeakSettings())
    victim.accept(leak)
    with pytest.raises(UserError, match=named):
        victim.accept(replace(leak, **changes))


def test_bad_messages_say_what_is_wrong() -> None:
    good = {"kind": "gradient", "tensors": {"a": torch.ones(2)}, "batch": 1, "reduction": "target_mean", "mode": "eval", "victim": "x"}
    Leak(**good)  # type: ignore[arg-type]
    for changes, named in (
        ({"tensors": {"a": torch.tensor([1.0, float("nan")])}}, "a holds values that are not finite"),
        ({"tensors": {}}, "no parameter"),
        ({"kind": "delta"}, "without the rate"),
        ({"steps": 2}, "a gradient has one step"),
        ({"reduction": "median"}, "Leak.reduction"),
        ({"batch": 0}, "Leak.batch"),
    ):
        with pytest.raises(UserError, match=named):
            Leak(**{**good, **changes})  # type: ignore[arg-type]


def test_layers_that_do_not_exist_are_named() -> None:
    with pytest.raises(UserError, match='no layer "fx"'):
        taken(small_victim("deepspeech1"), LeakSettings(layers=("fx",)))


def test_batches_that_do_not_fit_are_refused() -> None:
    victim = small_victim("deepspeech1")
    with pytest.raises(UserError, match="expected 1 clients with 2 utterances"):
        capture(victim, [random_batch(victim, 1)], ["a"], LeakSettings(batch=2), Streams(0))
