"""Events as TensorBoard scalars, through TensorBoard's own writer: torch's `SummaryWriter` would bring torch into a room
that has none.

Resuming marks a session start at the next update, which makes TensorBoard discard the points that are about to be
written a second time.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from auscult.errors import MissingExtra
from auscult.registry import register
from auscult.runs.json_values import to_json
from auscult.runs.sink import Sink

_NOT_CURVES = ("time", "update", "index")


@register("sink", "tensorboard")
class TensorBoardSink(Sink):
    """Writes an event file into a folder of the run; view it with `tensorboard --logdir runs`.

    Args:
        folder: inside the run directory.
        flush_seconds: how long a point may wait in memory.
    """

    def __init__(self, folder: str = "tensorboard", flush_seconds: int = 10) -> None:
        self._folder = folder
        self._flush_seconds = flush_seconds
        self._writer: Any = None

    def open(self, run_path: Path, recipe: dict[str, Any]) -> None:
        """Start an event file and write the recipe as text.

        Raises:
            MissingExtra: tensorboard is not installed.
        """
        try:
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            raise MissingExtra("tensorboard", "the TensorBoard sink") from error
        self._writer = EventFileWriter(str(run_path / self._folder), flush_secs=self._flush_seconds)
        self._text("recipe", f"```json\n{to_json(recipe, indent=2)}\n```", 0, time.time())

    def write(self, event: dict[str, Any]) -> None:
        """Write the numbers of a step or an evaluation as curves; notes and refused steps as text."""
        kind, moment = event["event"], float(event.get("time", time.time()))
        if kind == "step":
            curve = f"utterance {event['index']}" if "index" in event else "train"
            numbers = {f"{curve}/{key}": value for key, value in event.items() if key not in _NOT_CURVES}
            self._scalars(numbers, event["update"], moment)
        elif kind == "evaluation":
            self._scalars({f"{event['split']}/{key}": value for key, value in event["metrics"].items()}, event["update"], moment)
        elif kind in ("note", "refused"):
            self._text(
                kind, to_json({key: value for key, value in event.items() if key not in ("event", "time")}), event.get("update", 0), moment
            )
        elif kind == "resumed":
            self._restart(event["update"] + 1, moment)

    def close(self) -> None:
        """Flush and close the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _scalars(self, numbers: dict[str, Any], update: int, moment: float) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [
            Summary.Value(tag=tag, simple_value=float(number))
            for tag, number in numbers.items()
            if isinstance(number, (int, float)) and not isinstance(number, bool)
        ]
        self._writer.add_event(Event(wall_time=moment, step=update, summary=Summary(value=values)))

    def _text(self, tag: str, text: str, update: int, moment: float) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
        from tensorboard.plugins.text.metadata import create_summary_metadata

        shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
        tensor = TensorProto(dtype="DT_STRING", string_val=[text.encode("utf-8")], tensor_shape=shape)
        metadata = create_summary_metadata(display_name=tag, description="")
        self._writer.add_event(
            Event(wall_time=moment, step=update, summary=Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=tensor)]))
        )

    def _restart(self, update: int, moment: float) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        self._writer.add_event(Event(wall_time=moment, step=update, session_log=SessionLog(status=SessionLog.START)))
