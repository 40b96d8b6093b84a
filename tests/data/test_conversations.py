"""Simulated conversations: like meetings in their habits, exact in their labels, and a function of their generator alone."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from lhotse import CutSet
from lhotse.cut import MonoCut

from auscult.corpora.folder import Folder
from auscult.data.conversations import conversation_statistics, simulate_conversations
from auscult.data.mixing import mix_conversation
from auscult.data.selection import manifest_hash
from auscult.data.store import AudioStore
from auscult.data.strings import speakers_of
from auscult.data.turns import frame_activity, turns_of
from auscult.errors import UserError
from auscult.metrics.rttm import read_rttm
from auscult.recipe.fields import Conversations

RATE = 8000


def settings(**changes: Any) -> Conversations:
    return Conversations(**{"counts": {"train": 1}, "seconds": 20.0, "speakers": (2, 3), **changes})


@pytest.fixture
def voices(record) -> list[MonoCut]:  # type: ignore[no-untyped-def]
    """Four speakers, two recordings each: tones of one pitch per speaker, with pauses."""
    cuts = []
    for number, name in enumerate(("ann", "bob", "cid", "dan")):
        for take in range(2):
            random = np.random.default_rng([number, take])
            time = np.arange(6 * RATE) / RATE
            tone = 0.2 * np.sin(2 * np.pi * (200 + 150 * number) * time) * (np.sin(2 * np.pi * (0.3 + 0.1 * take) * time) > -0.3)
            cuts.append(record(f"{name}{take}", tone + random.normal(0, 1e-4, len(time)), rate=RATE, speaker=name))
    return cuts


def simulate(cuts: list[MonoCut], count: int = 6, seed: int = 0, **changes: Any) -> CutSet:
    return simulate_conversations(cuts, count, settings(**changes), np.random.default_rng(seed))


def test_same_generator_same_conversations_whatever_the_order(voices: list[MonoCut]) -> None:
    first, again, other = simulate(voices), simulate(voices[::-1]), simulate(voices, seed=1)
    assert [cut.to_dict() for cut in first] == [cut.to_dict() for cut in again]
    assert manifest_hash(first) == manifest_hash(again)
    assert not {cut.id for cut in first} & {cut.id for cut in other}
    louder = simulate(voices, gain=(-1.0, 1.0))
    assert not {cut.id for cut in first} & {cut.id for cut in louder}, "an id covers the gains, so the hash of the data does"


def test_lengths_speakers_and_places(voices: list[MonoCut]) -> None:
    for cut in simulate(voices, 20):
        assert cut.num_samples == 20 * RATE
        turns = turns_of(cut)
        assert 1 <= len(speakers_of(cut)) <= 3
        assert all(0 <= turn.start < turn.end <= 20 for turn in turns)
        for name in speakers_of(cut):
            own = [turn for turn in turns if turn.speaker == name]
            assert all(later.start - turn.end >= 0.39 for turn, later in pairwise(own)), "nobody interrupts himself"


def test_labels_are_where_the_voices_are(voices: list[MonoCut]) -> None:
    """Each speaker has one pitch, so who is audible can be measured: labels of silence are silent, labels of speech are not."""
    store = AudioStore(RATE, 10)
    pitches = {name: 200 + 150 * number for number, name in enumerate(("ann", "bob", "cid", "dan"))}
    for cut in simulate(voices, 4, overlap=0.3):
        samples, turns = mix_conversation(cut, store)
        names = sorted({turn.speaker for turn in turns})
        edges = np.arange(0, 19.5, 0.05)
        active = frame_activity(turns, edges + 0.025, names)
        for column, name in enumerate(names):
            steady = [place for place in range(1, len(edges) - 1) if active[place - 1 : place + 2, column].std() == 0]
            levels = {0: [], 1: []}  # type: dict[int, list[float]]
            for place in steady:
                piece = samples[round(edges[place] * RATE) : round((edges[place] + 0.05) * RATE)]
                tone = np.exp(-2j * np.pi * pitches[name] * np.arange(len(piece)) / RATE)
                levels[int(active[place, column])].append(float(np.abs((piece * tone).mean())))
            assert np.median(levels[1]) > 0.005
            assert np.quantile(levels[0], 0.98) < 0.2 * np.median(levels[1])


def folder_of(path: Path, name: str, *sounds: np.ndarray) -> str:
    (path / name).mkdir()
    for number, sound in enumerate(sounds):
        soundfile.write(path / name / f"{number}.wav", sound, RATE)
    return str(path / name)


def test_a_window_is_a_slice_of_the_whole(voices: list[MonoCut], tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    decay = 0.5 * random.normal(0, 1, 3000) * np.exp(-np.arange(3000) / 500)
    rooms = folder_of(tmp_path, "rooms", np.clip(decay, -1, 1))
    noise = folder_of(tmp_path, "noise", random.normal(0, 0.05, 5 * RATE))
    store = AudioStore(RATE, 10)
    for cut in simulate(voices, 3, rooms=rooms, room_probability=1.0, noise=noise, noise_probability=1.0, snr=(10.0, 10.0)):
        whole, turns = mix_conversation(cut, store)
        assert len(whole) == 20 * RATE
        for start, count in ((0, 100), (12_345, 30_000), (20 * RATE - 5000, 5000)):
            part, inside = mix_conversation(cut, store, start, count)
            np.testing.assert_array_equal(part, whole[start : start + count])
            centres = np.arange(0, count / RATE, 0.01)
            names = sorted({turn.speaker for turn in turns})
            np.testing.assert_array_equal(frame_activity(inside, centres, names), frame_activity(turns, centres + start / RATE, names))


def test_noise_has_its_ratio_and_rooms_their_tails(voices: list[MonoCut], tmp_path: Path) -> None:
    noise = folder_of(tmp_path, "noise", np.random.default_rng(0).normal(0, 0.05, 5 * RATE))
    store = AudioStore(RATE, 10)
    dry = simulate(voices, 1, gain=(0.0, 0.0))[0]
    speech, _ = mix_conversation(dry, store)
    assert np.abs(20 * np.log10(np.sqrt(np.mean(speech[np.abs(speech) > 1e-3] ** 2))) + 26) < 3
    noisy = simulate(voices, 1, gain=(0.0, 0.0), noise=noise, noise_probability=1.0, snr=(12.0, 12.0))[0]
    samples, turns = mix_conversation(noisy, store)
    silent = frame_activity(turns, np.arange(len(samples)) / RATE, sorted({turn.speaker for turn in turns})).sum(axis=1) == 0
    assert abs(20 * np.log10(samples[silent].std()) - (-26 - 12)) < 1.0
    echo = np.zeros(2000)
    echo[[0, 1999]] = 0.5
    wet = simulate(voices, 1, rooms=folder_of(tmp_path, "rooms", echo), room_probability=1.0)[0]
    samples, turns = mix_conversation(wet, store)
    end = max((turn for turn in turns if turn.end < 19.5), key=lambda turn: turn.end).end
    after = samples[round(end * RATE) + 100 : round(end * RATE) + 1900]
    assert float(np.abs(after).max()) > 1e-3, "the room is heard after the turn has ended"


def test_settings_are_what_they_say(voices: list[MonoCut]) -> None:
    silent = simulate(voices, 10, overlap=0.0)
    assert conversation_statistics([turns_of(cut) for cut in silent], 200.0)["overlap"] < 0.01
    busy = conversation_statistics([turns_of(cut) for cut in simulate(voices, 10, overlap=0.4)], 200.0)
    assert busy["overlap"] > 0.2
    quiet = simulate(voices, 10, pause=200.0)
    assert all(turns_of(cut) for cut in quiet), "somebody speaks, however long the pauses"
    pair = simulate(voices, 5, speakers=(2, 2))
    assert all(len(speakers_of(cut)) <= 2 for cut in pair)
    everyone = {name for cut in simulate(voices, 8, speakers=(2, 2)) for name in speakers_of(cut)}
    assert everyone == {"ann", "bob", "cid", "dan"}, "everybody has a turn before anybody has another"


def test_bad_material_is_named(voices: list[MonoCut], record) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match="up to 5 are wanted and the selected recordings have 4"):
        simulate(voices, speakers=(2, 5))
    with pytest.raises(UserError, match="one named speaker each, here it is unknown"):
        simulate([*voices, record("nobody", speaker=None)])
    with pytest.raises(UserError, match="one sampling rate, found 8000 Hz"):
        simulate([*voices, record("ann2", rate=16000)])
    with pytest.raises(UserError, match="no speech is found in any of this speaker's 1 recordings"):
        simulate([record("mute", np.zeros(9000), speaker="mute"), *voices[:2]], 3, speakers=(2, 2))
    with pytest.raises(UserError, match=r"conversations.rooms: no such folder"):
        simulate(voices, rooms="/nowhere")
    with pytest.raises(UserError, match="does not lie within its 160000 samples"):
        mix_conversation(simulate(voices, 1)[0], AudioStore(RATE, 1), 100, 20 * RATE)


def test_conversations_survive_a_manifest_file(voices: list[MonoCut], tmp_path: Path) -> None:
    noise = folder_of(tmp_path, "noise", np.random.default_rng(0).normal(0, 0.05, RATE))
    made = simulate(voices, 2, noise=noise, noise_probability=1.0)
    made.to_file(tmp_path / "conversations.jsonl.gz")
    store = AudioStore(RATE, 10)
    for cut, again in zip(made, CutSet.from_file(tmp_path / "conversations.jsonl.gz"), strict=True):
        np.testing.assert_array_equal(mix_conversation(cut, store)[0], mix_conversation(again, store)[0])


def test_the_hash_does_not_depend_on_where_folders_lie(voices: list[MonoCut], tmp_path: Path) -> None:
    sound = np.random.default_rng(0).normal(0, 0.05, RATE)
    (tmp_path / "elsewhere").mkdir()
    here, there = folder_of(tmp_path, "noise", sound), folder_of(tmp_path / "elsewhere", "noise", sound)
    one, other = (simulate(voices, 3, noise=folder, noise_probability=1.0) for folder in (here, os.path.relpath(there)))
    assert [cut.id for cut in one] == [cut.id for cut in other]
    assert manifest_hash(one) == manifest_hash(other)


def test_habits_are_those_of_meetings(data_pack: Path) -> None:
    """Against the 18 development meetings of AMI: shares within a fifth, lengths within a quarter, turns per minute within a half."""
    reference = read_rttm(data_pack / "fixtures" / "der" / "ami_mixheadset_dev" / "ref.rttm")
    meetings = list(reference.turns.values())
    real = conversation_statistics(meetings, sum(max(turn.end for turn in turns) for turns in meetings))
    cuts = [cut for split in Folder(str(data_pack / "librispeech_1utt")).splits().values() for cut in split]
    made = simulate_conversations(cuts[:40], 150, settings(seconds=30.0, speakers=(2, 4)), np.random.default_rng(0))
    simulated = conversation_statistics([turns_of(cut) for cut in made], 150 * 30.0)
    assert 0.13 < real["overlap"] < 0.15, "the reference is AMI"
    for key, tolerance in (("speech", 0.2), ("overlap", 0.2), ("median_turn", 0.25), ("spread_turn", 0.25), ("turns_per_minute", 0.5)):
        assert abs(simulated[key] / real[key] - 1) < tolerance, f"{key}: {simulated[key]:.3f} against {real[key]:.3f}"
    assert abs(simulated["short_turns"] - real["short_turns"]) < 0.03
    assert 2.0 <= simulated["speakers"] <= 4.0
