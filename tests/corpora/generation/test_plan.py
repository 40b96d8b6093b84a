"""Who meets whom and what happens where: pairs, divisions, events and rooms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from auscult.corpora.generation.built_in import EVENTS, SCENES, event, scene
from auscult.corpora.generation.mixing import draw_mixture
from auscult.corpora.generation.plan import SpeechPool, make_plan
from auscult.corpora.generation.scene_classes import BUILT_IN_MATCHES, OUTDOOR, ROOMS, EventMatches
from auscult.corpora.generation.settings import GeneratorSettings
from auscult.corpora.generation.sources import Recording
from auscult.errors import UserError

Make = Callable[..., GeneratorSettings]
COUNTS = {"big": 60, "middle": 30, "small": 10}


def recordings() -> list[Recording]:
    return [Recording(f"{who}/{number}", who, "x.wav", 8000, 8000) for who, count in COUNTS.items() for number in range(count)]


def pairs(by_speaker: bool, same_speaker: bool, draws: int = 4000) -> list[tuple[Recording, Recording]]:
    pool, random = SpeechPool(recordings(), by_speaker, same_speaker, "train"), np.random.default_rng(0)
    return [pool.pair(random) for _ in range(draws)]


def test_original_draw_mixes_a_speaker_with_himself_as_often_as_published() -> None:
    found = pairs(by_speaker=False, same_speaker=True)
    rate = sum(one.group == other.group for one, other in found) / len(found)
    shares = np.array(list(COUNTS.values())) / sum(COUNTS.values())
    expected = float(np.sum(shares**2))
    assert abs(rate - expected) < 3 * np.sqrt(expected * (1 - expected) / len(found)) + 1 / sum(COUNTS.values())
    assert SpeechPool(recordings(), False, True, "train").expected_same_speaker_rate() == pytest.approx(expected, abs=0.01)
    assert all(one != other for one, other in found)


@pytest.mark.parametrize("by_speaker", [True, False])
def test_no_speaker_meets_himself_by_default(by_speaker: bool) -> None:
    assert not any(one.group == other.group for one, other in pairs(by_speaker, same_speaker=False))


def test_speakers_are_drawn_with_the_square_root_of_their_files() -> None:
    first = [one.group for one, _ in pairs(by_speaker=True, same_speaker=True, draws=8000)]
    roots = np.sqrt(list(COUNTS.values()))
    for who, share in zip(COUNTS, roots / roots.sum(), strict=True):
        assert first.count(who) / len(first) == pytest.approx(share, abs=3 * np.sqrt(share * (1 - share) / 8000))


def test_one_speaker_is_not_enough() -> None:
    alone = [one for one in recordings() if one.group == "big"]
    with pytest.raises(UserError, match="one speaker only"):
        SpeechPool(alone, True, False, "val")
    assert SpeechPool(alone, True, True, "val").pair(np.random.default_rng(0))


def test_speakers_and_scenes_are_divided_and_nothing_is_shared(make: Make) -> None:
    plan = make_plan(make())
    speakers = {split: set(one.speech.names) for split, one in plan.splits.items()}
    scenes = {split: {scene.label for kind in one.scenes.values() for scene in kind} for split, one in plan.splits.items()}
    events = {split: {event.label for kind in one.events.values() for event in kind} for split, one in plan.splits.items()}
    for groups in (speakers, scenes, events):
        assert all(groups.values())
        assert sum(map(len, groups.values())) == len(set.union(*groups.values()))
    assert {split: len(one) for split, one in speakers.items()} == {"train": 8, "val": 2, "test": 2}


def test_sharing_is_possible_if_asked_for(make: Make, tmp_path: Path, write_voice: Callable[..., None]) -> None:
    for number in range(2):
        write_voice(tmp_path / "scenes" / "park" / f"{number}.wav")
    folder = [{"folder": str(tmp_path / "scenes")}]
    with pytest.raises(UserError, match=r"scenes: no recordings for test; .*scene_disjoint: false"):
        make_plan(make(scenes=folder, counts={"train": 1, "val": 1, "test": 1}))
    plan = make_plan(make(scenes=folder, scene_disjoint=False, speaker_disjoint=False))
    assert {len(one.scenes[False]) for one in plan.splits.values()} == {2}
    speakers = [set(one.speech.names) for one in plan.splits.values()]
    assert len(speakers[0] & (speakers[1] | speakers[2])) > 0


def test_splits_of_the_corpus_count_and_overlap_is_refused(make: Make, tmp_path: Path, voices: Path) -> None:
    lines = [f'{{"audio": "{path}", "speaker": "{path.parent.name}", "split": "{split}"}}' for split, path in _dealt(voices)]
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("\n".join(lines), encoding="utf-8")
    speech: dict[str, Any] = {"name": "folder", "source": str(manifest)}
    plan = make_plan(make(speech=speech))
    assert {split: len(one.speech.names) for split, one in plan.splits.items()} == {"train": 8, "val": 2, "test": 2}
    swapped = {"train": ["test", "dev"], "val": ["train"], "test": ["train"]}
    with pytest.raises(UserError, match=r'speaker "s00" is in val and in test.*speaker_disjoint: false'):
        make_plan(make(speech=speech, speech_splits=swapped))
    assert len(make_plan(make(speech=speech, speech_splits=swapped, speaker_disjoint=False)).splits["val"].speech.names) == 8
    with pytest.raises(UserError, match=r"speech_splits: test: nothing is chosen; the corpus has the splits dev, test, train"):
        make_plan(make(speech=speech, speech_splits={**swapped, "test": ["tset"]}))


def _dealt(voices: Path) -> list[tuple[str, Path]]:
    names = ["train"] * 8 + ["dev"] * 2 + ["test"] * 2
    return [(split, path) for split, folder in zip(names, sorted(voices.iterdir()), strict=True) for path in sorted(folder.iterdir())]


def test_events_happen_only_where_they_may(make: Make) -> None:
    matches = EventMatches(BUILT_IN_MATCHES)
    plan = make_plan(make(counts={"train": 40}))
    seen = set()
    for index in range(40):
        crops = draw_mixture(plan, "train", index).crops
        place, what = crops["scene"].group, crops["event"].group
        assert matches.allow(what, place, place in ROOMS)
        seen.add(what)
    assert len(seen) > 5
    only = make_plan(make(counts={"train": 40}, matches={**{name: [] for name in EVENTS}, "siren": ["*"]}))
    assert {draw_mixture(only, "train", index).crops["event"].group for index in range(10)} == {"siren"}


def test_scene_without_a_possible_event_is_refused(make: Make) -> None:
    with pytest.raises(UserError, match=r'may happen in the scene "beach"'):
        make_plan(make(scenes=[{"built_in": 2, "only": ["beach"]}], events=[{"built_in": 2, "only": ["keyboard"]}]))


def test_table_of_events_as_csv_and_as_yaml(make: Make, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("event,beach,office\nkeyboard,1,0\nsiren,0,1\n", encoding="utf-8")
    (tmp_path / "events.yaml").write_text("keyboard: [beach]\nsiren: [indoor]\n", encoding="utf-8")
    events = [{"built_in": 2, "only": ["keyboard", "siren"]}]
    for name in ("events.csv", "events.yaml"):
        plan = make_plan(make(scenes=[{"built_in": 2, "only": ["beach", "office"]}], events=events, matches=str(tmp_path / name)))
        fitting = plan.splits["train"].events
        assert {place: {one.group for one in found} for place, found in fitting.items()} == {"beach": {"keyboard"}, "office": {"siren"}}
    (tmp_path / "events.csv").write_text("event,beach\nkeyboard,yes\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"events.csv, line 2: expected an event class and 1 times 0 or 1"):
        make_plan(make(events=events, matches=str(tmp_path / "events.csv")))


def test_classes_from_folders_patterns_and_names(make: Make, tmp_path: Path, write_voice: Callable[..., None]) -> None:
    for name in ("Cafe-Restaurant/a.wav", "beach/b.wav", "beach/short.wav"):
        write_voice(tmp_path / "scenes" / name, seconds=0.1 if "short" in name else 1.0)
    for name in ("train-siren-1.wav", "test-siren-2.wav", "other.wav"):
        write_voice(tmp_path / "events" / name)
    plan = make_plan(
        make(
            counts={"train": 2},
            scenes=[{"folder": str(tmp_path / "scenes")}],
            events=[{"folder": str(tmp_path / "events"), "pattern": "(?P<split>train|test)-(?P<class>[a-z]+)"}],
            matches={"siren": ["*"]},
        )
    )
    found = plan.splits["train"]
    assert [one.group for one in found.scenes[True]] == ["cafe_restaurant"]
    assert [one.label for one in found.scenes[False]] == ["scenes/beach/b.wav"]
    assert [one.label for one in found.events["beach"]] == ["events/train-siren-1.wav"]
    assert plan.short == {"speech": 0, "scenes": 1, "events": 0}
    named = [{"folder": str(tmp_path / "scenes"), "classes": {"beach/b*": "park"}}]
    assert [one.group for one in make_plan(make(counts={"train": 2}, scenes=named)).splits["train"].scenes[False]] == ["park"]


def test_unknown_classes_are_explained(make: Make, tmp_path: Path, write_voice: Callable[..., None]) -> None:
    write_voice(tmp_path / "own" / "ofice" / "a.wav")
    with pytest.raises(UserError, match=r'"ofice" is not known \(did you mean "office"\?\); add it to `rooms`'):
        make_plan(make(scenes=[{"folder": str(tmp_path / "own")}], counts={"train": 1}))
    with pytest.raises(UserError, match=r'in which scenes the event "ofice" may happen; name them in `matches`'):
        make_plan(make(events=[{"folder": str(tmp_path / "own")}], counts={"train": 1}))
    own = make(scenes=[{"folder": str(tmp_path / "own")}], rooms={"ofice": None}, counts={"train": 1}, matches={"siren": ["ofice"]})
    assert draw_mixture(make_plan(own), "train", 0).room is None


def test_share_of_indoor_scenes_is_exact_and_evenly_spread(make: Make) -> None:
    plan = make_plan(make(indoor_share=0.7))
    wanted = [bool(plan.wants_indoor(index)) for index in range(100)]
    assert sum(wanted) == 70
    assert all(abs(sum(wanted[:length]) - 0.7 * length) < 1 for length in range(1, 101))
    with pytest.raises(UserError, match="has no indoor scene and indoor_share is"):
        make_plan(make(indoor_share=0.5, scenes=[{"built_in": 2, "only": ["beach"]}], matches={"siren": ["beach"]}))


@pytest.mark.parametrize("name", ROOMS)
def test_rooms_lie_in_their_ranges(name: str) -> None:
    room, random = ROOMS[name], np.random.default_rng(3)
    low, high = room.pre_delay
    for _ in range(200):
        drawn = room.draw(random)
        first, second, event_delay = drawn.pre_delays
        assert low <= first <= high
        assert low <= event_delay <= high
        assert first - 0.3 * (first - low) - 1e-12 <= second <= first
        for value, bounds in zip(vars(drawn.plate).values(), (room.high_cut, room.diffusion, room.decay, room.damping), strict=True):
            assert bounds[0] <= value <= bounds[1]


def test_twenty_four_classes_of_which_sixteen_are_indoors() -> None:
    assert len(ROOMS) == 16
    assert len(OUTDOOR) == 8
    assert set(SCENES) == set(ROOMS) | set(OUTDOOR)
    assert set(EVENTS) == set(BUILT_IN_MATCHES)


@pytest.mark.parametrize("name", SCENES)
def test_computed_scenes_are_repeatable_and_differ(name: str) -> None:
    found = scene(name, "train", 0, 1.0, 8000)
    np.testing.assert_array_equal(found, scene(name, "train", 0, 1.0, 8000))
    assert found.shape == (8000,)
    assert 0.01 < np.abs(found).max() < 1
    for other in (scene(name, "train", 1, 1.0, 8000), scene(name, "val", 0, 1.0, 8000)):
        assert np.abs(found - other).max() > 0.01


@pytest.mark.parametrize("name", EVENTS)
def test_computed_events_hold_silence_and_sound(name: str) -> None:
    found = event(name, "train", 0, 8.0, 8000)
    np.testing.assert_array_equal(found, event(name, "train", 0, 8.0, 8000))
    assert 0.04 < np.abs(found).max() <= 0.4
    assert 0.01 < np.mean(found == 0) < 0.999


def test_recordings_without_a_speaker_are_refused(make: Make, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(8000, 0.1), 8000)
    (tmp_path / "one.jsonl").write_text('{"audio": "a.wav"}\n', encoding="utf-8")
    with pytest.raises(UserError, match="speech: folder: a has 0 speakers; mixtures are made of files of one speaker each"):
        make_plan(make(speech={"name": "folder", "source": str(tmp_path / "one.jsonl")}))
