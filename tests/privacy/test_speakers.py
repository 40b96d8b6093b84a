"""Enrolment without attacked speech, and ranks of voices: humming speakers, an encoder that measures pitch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from auscult.errors import UserError
from auscult.privacy import speakers
from auscult.privacy.opening import open_task
from auscult.privacy.speakers import Piece, SpeakerJudge, Stretch, enrolment, refuse_overlap, stretches
from auscult.privacy.utterances import choose
from auscult.recipe.attack import AttackRecipe
from auscult.serving.embedder import SpeakerEmbedder
from auscult.tasks.recognition import Recognition

RATE = 8000


class PitchEmbedder:
    """Embeds a sound as the energies of its octaves: enough to tell hums apart."""

    specification = SimpleNamespace(sample_rate=RATE)

    def embed_samples(self, sounds: list[NDArray[np.float32]], names: list[str]) -> NDArray[np.float32]:
        found = []
        for sound in sounds:
            spectrum = np.abs(np.fft.rfft(sound, 2 * RATE))
            found.append([float(spectrum[2 * pitch - 20 : 2 * pitch + 20].sum()) for pitch in (150, 250, 350, 450)])
        return np.array(found, dtype=np.float32)


def hum(pitch: float, seconds: float, random: np.random.Generator) -> NDArray[np.float32]:
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * pitch * time) + 0.01 * random.normal(size=len(time))).astype(np.float32)


@dataclass
class Case:
    task: Recognition
    recipe: AttackRecipe

    def pieces(self) -> tuple[list[Piece], list[str]]:
        chosen = choose(self.task, cast(Any, self.task.build_model()), self.recipe.case.utterances)
        return enrolment(self.task, chosen, self.recipe.case)


def case(folder: Path, recordings: int, *overrides: str, seconds: float = 4.0) -> Case:
    """Four humming speakers with so many recordings each, and two strangers in another split."""
    random, rows = np.random.default_rng(0), []
    for speaker in range(6):
        for number in range(recordings):
            name = f"s{speaker}_{number}.wav"
            soundfile.write(folder / name, hum(150 + 100 * (speaker % 4), seconds, random), RATE)
            split = "train" if speaker < 4 else "validation"
            rows.append(json.dumps({"audio": name, "speaker": f"s{speaker}", "text": "abc", "split": split}))
    (folder / "manifest.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    front_end = {"name": "mfcc_context", "context": 2, "coefficients": 6, "mel_bins": 16}
    values = {
        "task": {"name": "recognition"},
        "data": {
            "corpus": {"name": "folder", "source": str(folder / "manifest.jsonl")}, "sample_rate": RATE,
            "train": "train", "validation": "validation", "batch": {"items": 2},
        },
        "model": {"name": "deepspeech1", "hidden": 8, "front_end": front_end},
        "optimizer": {"name": "adam"}, "budget": {"updates": 1},
        "attack": {"name": "first_layer_span"}, "utterances": {"count": 4, "pool": 4}, "speakers": {"run": "nowhere"},
    }  # fmt: skip
    recipe = AttackRecipe.from_dict(values, overrides)
    return Case(open_task(recipe), recipe)


def test_other_utterances_enrol_and_the_attacked_ones_do_not(tmp_path: Path) -> None:
    made = case(tmp_path, 3, "utterances.count=2")
    pieces, notes = made.pieces()
    chosen = choose(made.task, cast(Any, made.task.build_model()), made.recipe.case.utterances)
    attacked = {batch.ids[0] for batch in chosen.pool[:2]}
    assert {piece.speaker for piece in pieces} == set(chosen.speakers)
    assert not attacked & {piece.name for piece in pieces}
    assert not notes


def test_a_single_recording_enrols_with_its_rest_and_says_so(tmp_path: Path) -> None:
    pieces, notes = case(tmp_path, 1, "utterances.seconds=1.5").pieces()
    assert [piece.speaker for piece in pieces] == ["s0", "s1", "s2", "s3"]
    assert all(piece.rest and piece.stretches[0].begin == 2.0 for piece in pieces)
    assert len(pieces[0].samples) == 2 * RATE
    assert "4 of 4 speakers have one recording only" in notes[0]
    (tmp_path / "whole").mkdir()
    with pytest.raises(UserError, match=r"has no speech but what is attacked; set utterances\.seconds"):
        case(tmp_path / "whole", 1).pieces()


def test_distractors_are_further_speakers(tmp_path: Path) -> None:
    pieces, _ = case(tmp_path, 2, "utterances.count=1", "utterances.pool=2", "speakers.distractors=validation").pieces()
    assert {"s4", "s5"} <= {piece.speaker for piece in pieces}


def test_an_enrolment_that_holds_attacked_speech_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the choice of enrolment forgets what is attacked."""
    made = case(tmp_path, 2)
    chosen = speakers._others
    monkeypatch.setattr(speakers, "_others", lambda task, cuts, taken: chosen(task, cuts, []))
    with pytest.raises(UserError, match="holds attacked speech"):
        made.pieces()


def test_an_attacked_recording_under_another_name_is_refused(tmp_path: Path) -> None:
    """Planted: a copy of an attacked file, enrolled as another utterance."""
    made = case(tmp_path, 1, "utterances.seconds=1.5", "speakers.distractors=validation")
    cut = next(iter(made.task.cuts("train")))
    samples, _ = soundfile.read(tmp_path / f"{cut.id}.wav", dtype="int16") if (tmp_path / f"{cut.id}.wav").exists() else (None, None)
    assert samples is not None
    soundfile.write(tmp_path / "s4_0.wav", samples, RATE)
    again = Case(open_task(made.recipe), made.recipe)
    with pytest.raises(UserError, match="under another name"):
        again.pieces()


def test_stretches_meet_only_where_they_overlap() -> None:
    piece = Piece("ann", "u1", (Stretch("r", 2.0, 4.0),), np.zeros(8, np.float32), "content")
    refuse_overlap([piece], [Stretch("r", 0.0, 2.0), Stretch("other", 2.0, 4.0)], {})
    with pytest.raises(UserError, match=r"u1 enrols ann and holds attacked speech \(r, 2.00 to 2.50 s\)"):
        refuse_overlap([piece], [Stretch("r", 0.0, 2.5)], {})


def test_the_beginning_of_an_utterance_is_what_is_attacked(tmp_path: Path) -> None:
    cut = next(iter(case(tmp_path, 1).task.cuts("train")))
    assert stretches(cut, 1.5)[0].end == 1.5
    assert stretches(cut, 99.0)[0].end == pytest.approx(4.0)


def test_voices_are_ranked_and_silence_comes_last(tmp_path: Path) -> None:
    pieces, _ = case(tmp_path, 1, "utterances.seconds=1.5").pieces()
    judge = SpeakerJudge(cast(SpeakerEmbedder, PitchEmbedder()), pieces, RATE)
    random = np.random.default_rng(1)
    found = [judge.place(hum(150 + 100 * number, 1.0, random), f"s{number}", "sound") for number in range(4)]
    assert [one.rank for one in found] == [1, 1, 1, 1]
    assert all(set(one.others) == set(judge.names) - {f"s{number}"} for number, one in enumerate(found))
    assert judge.place(hum(150, 1.0, random), "s3", "sound").rank > 1
    assert judge.place(None, "s0", "sound").rank == judge.place(np.zeros(RATE, np.float32), "s0", "sound").rank == 4
    low = SpeakerJudge(cast(SpeakerEmbedder, PitchEmbedder()), pieces, RATE, lambda samples, name: hum(150, 1.0, random) + samples[:RATE])
    assert not np.allclose(low.sounds, low.recordings)
    np.testing.assert_array_equal(low.recordings, judge.recordings)
    heard = hum(350, 1.0, random)
    assert low.place(heard, "s2", "sound", recording=True).cosine == judge.place(heard, "s2", "sound").cosine
    assert low.place(heard, "s2", "sound").cosine < judge.place(heard, "s2", "sound").cosine
    with pytest.raises(UserError, match="1 speaker to choose from"):
        SpeakerJudge(cast(SpeakerEmbedder, PitchEmbedder()), pieces[:1], RATE)
