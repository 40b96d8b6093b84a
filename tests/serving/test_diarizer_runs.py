"""The networks behind the pipeline: batches change nothing, embeddings are of the frames that were chosen, thresholds are measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from auscult.audio.front_ends.log_mel import LogMel
from auscult.errors import UserError
from auscult.losses.powerset import Powerset
from auscult.models.segmentation import PowersetSegmentation
from auscult.models.small_tdnn import SmallTdnn
from auscult.recipe import Recipe
from auscult.runs.directory import RunDirectory
from auscult.runs.identity import Identity
from auscult.serving.diarizer_runs import find_embedding_run, merge_threshold
from auscult.serving.segmenter import NetworkSegmenter
from auscult.serving.voices import EncoderVoices
from auscult.serving.windows import FrameGrid, cut_windows, window_starts
from auscult.specification import Specification

RATE = 8000


def noise(seconds: float) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(round(seconds * RATE))).astype(np.float32)


@pytest.fixture
def segmenter() -> NetworkSegmenter:
    torch.manual_seed(0)
    powerset = Powerset(3, 2)
    specification = Specification("diarization", RATE, powerset.labels)
    model = PowersetSegmentation(specification, LogMel(RATE, mel_bins=16), [], channels=8, blocks=1, attention=1, heads=2)
    torch.nn.init.normal_(model.fc.weight, std=2.0)
    return NetworkSegmenter(model, powerset, RATE, 2.0)


def test_the_grid_is_the_models(segmenter: NetworkSegmenter) -> None:
    model = segmenter.model
    assert segmenter.grid.step == pytest.approx(float(model.frame_step))  # type: ignore[arg-type]
    assert segmenter.grid.centres(5).tolist() == pytest.approx(model.frame_centres(5).tolist())  # type: ignore[operator]
    assert segmenter.window_samples == 2 * RATE


def test_windows_of_a_batch_are_those_alone_and_nothing_is_active_beyond_their_end(segmenter: NetworkSegmenter) -> None:
    samples = noise(9.13)
    step = segmenter.grid.step_samples
    starts = window_starts(len(samples), segmenter.window_samples, 10, step)
    windows, lengths = cut_windows(samples, starts, segmenter.window_samples, step)
    together = segmenter.segment(windows, lengths)
    for row in (0, 7, len(windows) - 1):
        alone = segmenter.segment(windows[row : row + 1], lengths[row : row + 1])
        count = int(alone.lengths[0])
        assert count == together.lengths[row]
        assert np.allclose(alone.probabilities[0], together.probabilities[row, :count], atol=1e-5)
        assert (alone.active[0] == together.active[row, :count]).all()
        assert not together.active[row, count:].any()
    assert together.active.any()
    assert (together.active.sum(axis=2) <= 2).all()


@pytest.fixture
def voices() -> EncoderVoices:
    torch.manual_seed(0)
    encoder = SmallTdnn(LogMel(RATE, mel_bins=16, normalise="none"), [], channels=8, blocks=1, wide=8, dimensions=4)
    return EncoderVoices(encoder)


def test_embeddings_are_those_of_the_frames_that_count(voices: EncoderVoices) -> None:
    """Against encoding the recording and pooling by hand; windows lie on another grid than the encoder's frames."""
    samples, grid = noise(6.0), FrameGrid(RATE, 200, 0.0)
    starts = np.array([0, 0, 33, 80])
    weights = np.zeros((4, 80), np.float32)
    weights[0, :40], weights[1, 40:], weights[2, 10:30], weights[3, :] = 1, 1, 1, 1
    found = voices.embed(samples, starts, weights, grid)
    encoder = voices.encoder
    with torch.no_grad():
        encoded = encoder.encode(encoder.features(torch.from_numpy(samples)[None], torch.tensor([len(samples)])))
    times = np.arange(int(encoded.lengths[0])) * encoder.frame_step
    for row, (start, weight) in enumerate(zip(starts, weights, strict=True)):
        active = np.flatnonzero(weight)
        begin, end = (start + active[0] - 0.5) * grid.step, (start + active[-1] + 0.5) * grid.step
        mask = torch.from_numpy(((times > begin) & (times < end)).astype(np.float32))[None]
        with torch.no_grad():
            expected = encoder.pool(encoded, mask)[0].numpy()
        similarity = expected @ found[row] / np.linalg.norm(expected) / np.linalg.norm(found[row])
        assert similarity > 0.999, row


def test_a_shift_of_half_a_second_would_show(voices: EncoderVoices) -> None:
    samples, grid = noise(6.0), FrameGrid(RATE, 200, 0.0)
    samples[: 3 * RATE] *= 0.01
    weights = np.ones((1, 20), np.float32)
    quiet, loud = (voices.embed(samples, np.array([start]), weights, grid)[0] for start in (98, 122))
    assert quiet @ loud / np.linalg.norm(quiet) / np.linalg.norm(loud) < 0.999


def test_long_recordings_are_encoded_in_stretches(voices: EncoderVoices, monkeypatch: pytest.MonkeyPatch) -> None:
    samples, grid = noise(150.0), FrameGrid(RATE, 200, 0.0)
    starts = np.arange(0, 150 * 40 - 80, 40)
    weights = np.zeros((len(starts), 80), np.float32)
    weights[:, 20:60] = 1
    longest: list[int] = []
    encode = voices._encode
    monkeypatch.setattr(voices, "_encode", lambda stretch: (longest.append(len(stretch)), encode(stretch))[1])
    found = voices.embed(samples, starts, weights, grid)
    assert np.isfinite(found).all()
    assert len(longest) == 3
    assert max(longest) <= 60 * RATE
    whole = [voices.embed(samples, starts[row : row + 1], weights[row : row + 1], grid)[0] for row in (0, 57, 58, 59, len(starts) - 1)]
    assert np.allclose(found[[0, 57, 58, 59, len(starts) - 1]], whole, atol=1e-4)


def test_too_few_frames_have_no_embedding(voices: EncoderVoices) -> None:
    weights = np.zeros((2, 40), np.float32)
    weights[1, 3:30] = 1
    found = voices.embed(noise(2.0), np.array([0, 0]), weights, FrameGrid(RATE, 200, 0.0))
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()


def verification_run(root: Path, items: list[dict[str, object]], crops: int = 0) -> Path:
    recipe = Recipe.from_dict(
        {
            "task": {"name": "verification", "crops": crops},
            "data": {"corpus": {"name": "folder", "source": "gone"}, "sample_rate": RATE, "batch": {"items": 2}},
            "model": {"name": "small_tdnn"},
            "budget": {"updates": 1},
        }
    )
    run = RunDirectory.create(root, "verification", recipe.to_yaml(), Identity.current(recipe.hash, "none"), None, "train")
    run.write_items("validation", items)
    return run.path


def test_the_threshold_lies_half_way_between_the_means_of_the_trials(tmp_path: Path) -> None:
    items: list[dict[str, object]] = [
        {"id": str(place), "score": score, "target": target}
        for place, (score, target) in enumerate([(0.9, True), (0.7, True), (0.5, False), (-0.1, False), (-0.1, False)])
    ]
    assert merge_threshold(verification_run(tmp_path / "a", items)) == pytest.approx((0.8 + 0.1) / 2)
    assert merge_threshold(verification_run(tmp_path / "b", items[:2])) is None
    assert merge_threshold(verification_run(tmp_path / "c", items, crops=10)) is None


def test_an_unfinished_run_is_not_taken(tmp_path: Path) -> None:
    run = verification_run(tmp_path, [])
    assert find_embedding_run(run.parent / "segmentation", RATE) is None


def test_frames_that_are_no_whole_samples_are_refused() -> None:
    model = PowersetSegmentation(
        Specification("diarization", RATE, Powerset(3, 2).labels), LogMel(RATE, mel_bins=16), [], channels=8, heads=2
    )
    with pytest.raises(UserError, match="whole number"):
        NetworkSegmenter(model, Powerset(3, 2), 11025, 5.0)
