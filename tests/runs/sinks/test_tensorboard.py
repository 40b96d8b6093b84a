from __future__ import annotations

import math
import sys

import pytest

from auscult.errors import MissingExtra
from auscult.registry import build
from auscult.runs.sinks.tensorboard import TensorBoardSink
from auscult.testing.sinks import RECIPE, check_sink


def test_viewer_shows_every_update_once(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    check_sink(TensorBoardSink, tmp_path)
    shown = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    shown.Reload()
    losses = [(point.step, point.value) for point in shown.Scalars("train/loss")]
    assert [update for update, _ in losses] == [1, 2, 3, 4]
    assert losses[0][1] == 3.0
    assert math.isnan(losses[1][1])
    assert losses[2][1] == math.inf
    assert losses[3][1] == pytest.approx(1.9)
    assert [(point.step, point.value) for point in shown.Scalars("validation/wer")] == [(3, 0.5), (4, 0.25)]
    assert [point.step for point in shown.Scalars("utterance 0/frame_error")] == [5]
    assert "train/update" not in shown.Tags()["scalars"]


def test_recipe_notes_and_refused_steps_are_readable(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    check_sink(TensorBoardSink, tmp_path)
    shown = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    shown.Reload()

    def texts(tag):
        return [point.tensor_proto.string_val[0].decode() for point in shown.Tensors(tag)]

    assert '"conv_ctc"' in texts("recipe")[0]
    assert texts("note") == ['{"text": "code changed: training/stepper.py"}']
    assert '"culprits": ["a"]' in texts("refused")[0]


def test_missing_extra_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.event_file_writer", None)
    sink = build("sink", {"name": "tensorboard", "flush_seconds": 1})
    with pytest.raises(MissingExtra, match=r"pip install 'auscult\[tensorboard\]'"):
        sink.open(tmp_path, RECIPE)
    sink.close()
