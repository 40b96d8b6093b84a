"""A trained separator in a person's hands: load a run, take recordings of any length apart, as arrays, files or streams.

Needs the run directory only: the checkpoint carries the specification and the recipe the architecture, so no corpus has to be present.
What happens to long recordings is the work of `separation_stream`; here it is given a network, audio at the network's rate and a place
for the result. The network runs in float32, whatever it was trained in, as it is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from auscult.audio.blocks import file_blocks, resampled
from auscult.audio.reading import probe
from auscult.errors import UserError
from auscult.runs.directory import RunDirectory
from auscult.serving.separation_files import separate_to_folder
from auscult.serving.separation_order import OrderRules
from auscult.serving.separation_output import Encoding, Sink
from auscult.serving.separation_stream import Separate, SeparationReport, SeparationStream
from auscult.serving.separation_windows import WindowLayout
from auscult.specification import Specification
from auscult.training.checkpoint import load_checkpoint, load_weights
from auscult.training.evaluate import recipe_of
from auscult.training.precision import choose_device

WINDOW_SECONDS = 4.0
"""Of the windows where the recipe does not say what the network was trained on."""
BATCH = 8
"""Windows at a time: enough to keep matrix products busy."""


class RunSeparator:
    """A separator for recordings of any length.

    Args:
        separate: a network in evaluation mode, or any function (batch, time) -> (batch, sources, time).
        sources: its outputs.
        sample_rate: of what it takes and gives, in hertz.
        seconds: of its windows: the length it was trained on.
        batch: windows at a time; more cost memory.
        rules: of the order of the speakers.
        device: where the network is.

    Raises:
        UserError: windows too short to be joined.
    """

    def __init__(
        self,
        separate: Separate,
        sources: int,
        sample_rate: int,
        seconds: float = WINDOW_SECONDS,
        batch: int = BATCH,
        rules: OrderRules | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.network, self.sources, self.sample_rate, self.batch, self.rules, self.device = (
            separate, sources, sample_rate, batch, rules, device
        )  # fmt: skip
        self.layout = WindowLayout.of_seconds(seconds, sample_rate)
        self.stream()

    def stream(self) -> SeparationStream:
        """Return a stream: `push` samples at `sample_rate` into it, and `finish` it."""
        return SeparationStream(self.network, self.sources, self.sample_rate, self.layout, self.batch, self.rules, self.device)

    def separate(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take samples (time,) at `sample_rate` apart: (sources, time), whose sum is close to the mixture.

        Raises:
            UserError: no samples, or not one channel of finite numbers.
        """
        return self.separate_with_report(samples)[0]

    def separate_with_report(self, samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], SeparationReport]:
        """Do as `separate`, and say what the answer rests on."""
        stream = self.stream()
        found = np.concatenate([stream.push(np.asarray(samples)), stream.finish()], axis=1)
        return found, stream.report

    def separate_file(
        self, path: str | Path, output_folder: str | Path, encoding: Encoding = "pcm16", advance: Callable[[float], None] | None = None
    ) -> dict[str, Any]:
        """Take a file of any length, sample rate and channel count apart in constant memory.

        Args:
            path: wav, flac or ogg; the mean of its channels is separated.
            output_folder: gets `<name>-speaker1.wav`, ... at the network's rate, whole or not at all.
            encoding: "pcm16", or "float32".
            advance: called with the seconds of every block that was read.

        Returns:
            `path`, `outputs`, `sample_rate`, `gain`, `notes`, and the fields of `SeparationReport`.

        Raises:
            AudioError: the file cannot be read.
            UserError: the folder cannot be written, or the network put out numbers that are not finite.
        """
        rate = probe(path).sample_rate
        blocks = _watched(file_blocks(path), rate, advance)
        return separate_to_folder(self, blocks, rate, str(path), Path(output_folder), encoding)

    def separate_blocks(self, blocks: Iterable[NDArray[np.float32]], rate: int, sink: Sink) -> dict[str, Any]:
        """Take blocks of samples (time,) at a rate apart, into a sink, and return what it says and the fields of `SeparationReport`."""
        stream = self.stream()
        for block in resampled(blocks, rate, self.sample_rate):
            sink.write(stream.push(block))
        sink.write(stream.finish())
        return {**sink.finish(), "sample_rate": self.sample_rate, **stream.report.to_dict()}


def load_separator(
    run: str | Path, checkpoint: str = "best", device: str = "auto", seconds: float | None = None, batch: int = BATCH
) -> RunSeparator:
    """Load a trained separator.

    Args:
        run: run directory.
        checkpoint: which weights.
        device: "auto", "cpu" or "cuda".
        seconds: of the windows; None takes what the recipe trained on.
        batch: windows at a time.

    Raises:
        UserError: not a run, no or damaged checkpoint, or a run of another task.

    Example:
        >>> load_separator("runs/separation-conv_tasnet-0123456789ab").separate_file("talk.flac", "apart")["outputs"]  # doctest: +SKIP
    """
    directory = RunDirectory.open(Path(run))
    path = directory.checkpoint(checkpoint)
    payload = load_checkpoint(path)
    specification = Specification.from_dict(payload["specification"])
    if specification.task != "separation" or specification.sources is None:
        raise UserError(f"{directory.path}: trained for {specification.task}; separating needs a separation run")
    recipe = recipe_of(directory)
    torch.set_num_threads(recipe.data.threads)
    model = recipe.model.build(specification=specification, sample_rate=specification.sample_rate)
    load_weights(model, payload, specification, path)
    chosen = choose_device(device)
    length = seconds if seconds is not None else recipe.task.to_dict().get("seconds") or WINDOW_SECONDS
    network = model.to(chosen).eval()
    return RunSeparator(network, specification.sources, specification.sample_rate, float(length), batch, device=chosen)


def _watched(blocks: Iterable[NDArray[np.float32]], rate: int, advance: Callable[[float], None] | None) -> Iterator[NDArray[np.float32]]:
    for block in blocks:
        yield block
        if advance is not None:
            advance(len(block) / rate)
