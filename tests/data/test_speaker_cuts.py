"""Pieces, speeds as new speakers, and files named by a trial list."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from auscult.data.speaker_cuts import count_by_length, cut_pieces, cuts_of_files, speed_of, with_speeds
from auscult.data.store import AudioStore
from auscult.data.strings import speaker_of
from auscult.errors import UserError


def test_pieces_are_whole_consecutive_and_of_the_same_speaker(record) -> None:  # type: ignore[no-untyped-def]
    cuts = [record("long", 8000 * 7 + 100), record("short", 8000)]
    pieces = cut_pieces(cuts, 3.0)
    assert [piece.id for piece in pieces] == ["long#0", "long#1", "short"]
    assert {speaker_of(piece) for piece in pieces} == {"ann"}
    store = AudioStore(8000, 0)
    whole = store.samples(cuts[0])
    np.testing.assert_array_equal(store.samples(pieces[1]), whole[24000:48000])


def test_long_recordings_count_for_more_and_stay_whole(record) -> None:  # type: ignore[no-untyped-def]
    counted = count_by_length([record("long", 8000 * 7), record("short", 8000)], 2.0)
    assert [cut.id for cut in counted] == ["long", "long#1", "long#2", "short"]
    assert [cut.duration for cut in counted] == [7.0, 7.0, 7.0, 1.0]


def test_every_speed_makes_new_speakers(record) -> None:  # type: ignore[no-untyped-def]
    made = with_speeds([record("a"), record("b", speaker="bob")], [0.9, 1.1])
    assert [cut.id for cut in made] == ["a", "b", "sp0.9-a", "sp0.9-b", "sp1.1-a", "sp1.1-b"]
    assert sorted({speaker_of(cut) for cut in made}) == ["ann", "bob", "sp0.9-ann", "sp0.9-bob", "sp1.1-ann", "sp1.1-bob"]
    assert [speed_of(cut) for cut in made] == [1, 1, 0.9, 0.9, 1.1, 1.1]
    with pytest.raises(UserError, match="speeds: 1 makes no new speaker"):
        with_speeds(made, [1.0])
    with pytest.raises(UserError, match="is no recording of one known speaker"):
        with_speeds([record("c", speaker=None)], [0.9])


def test_files_of_a_list_are_found_below_a_folder(tmp_path: Path) -> None:
    for name in ("id1/v/1.wav", "ünï/x.flac"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.zeros((800, 2)), 8000)
    cuts = list(cuts_of_files(["id1/v/1", "ünï/x.flac"], tmp_path))
    assert [(cut.id, speaker_of(cut), cut.recording.num_channels) for cut in cuts] == [("id1/v/1", "id1", 2), ("ünï/x.flac", "ünï", 2)]
    with pytest.raises(UserError, match="1 of 2 files of the trial list are missing, first 'id9/v/1'"):
        cuts_of_files(["id1/v/1", "id9/v/1"], tmp_path)
