"""What the figures and the page of a check call things, by task: what a loss is per, which measures it has, when an output is right.

Problem: the five figures were drawn for transcripts, and "CTC loss per symbol" above a curve of something else is a false statement
in large letters. Choice: everything that differs between tasks stands here as data, the drawing knows none of it; a task nobody has written
words for is called by the names its log uses. Panels whose numbers a log does not have are left out, with a line that says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from auscult.report.check_record import Check


@dataclass(frozen=True)
class Measure:
    """A number that is logged for an item: key in the log, short and long name, format, and whether the end event has it."""

    key: str
    short: str
    label: str
    pattern: str = ".3f"
    digits: int = 0
    at_end: bool = False
    unit: str = ""


@dataclass(frozen=True)
class Words:
    """Names of one task.

    Attributes:
        item: what is learned by heart.
        items: several of them.
        per: what the loss is per.
        baseline: what the theoretical loss at the start is of.
        loss: name of the loss.
        output: what a model puts out.
        quality: what a check says nothing about.
        curves: measures drawn over updates, two at most.
        ends: measures in tables, after the last update.
        lengths: numbers of an item that figures of the data's way show.
        flow: stages after the input frames: name, key of the size, what the size counts.
        captions: of figures, where they differ from the common ones.
        unit: of the loss; empty where nobody has said.
        digits: decimals of a loss after the last update.
    """

    item: str = "item"
    items: str = "items"
    per: str = "item"
    baseline: str = "theory"
    loss: str = "loss"
    output: str = "outputs"
    quality: str = "how well the model does on anything else"
    curves: tuple[Measure, ...] = ()
    ends: tuple[Measure, ...] = ()
    lengths: tuple[Measure, ...] = ()
    flow: tuple[tuple[str, str, str], ...] = ()
    captions: dict[str, str] = field(default_factory=dict)
    unit: str = "nats"
    digits: int = 6

    @property
    def loss_axis(self) -> str:
        """The loss, what it is per, and its unit."""
        return f"{self.loss} per {self.per}{f' ({self.unit})' if self.unit else ''}"


_SECONDS = Measure("seconds", "seconds", "duration", digits=2, unit="seconds")
_INPUT = Measure("input_frames", "T", "input frames")
_OUTPUT = Measure("output_frames", "T'", "output frames")

RECOGNITION = Words(
    "utterance",
    "utterances",
    "symbol",
    "uniform outputs",
    "CTC loss",
    "transcripts",
    "how well the model recognises speech",
    (
        Measure("frame_error", "frame error", "mean |p − γ| per frame"),
        Measure("cer", "character error rate", "CER of the greedy transcript"),
    ),
    (Measure("wer", "WER", "word error rate", ".1%"), Measure("cer", "CER", "character error rate", ".1%")),
    (_SECONDS, _INPUT, _OUTPUT, Measure("symbols", "L", "symbols"), Measure("margin", "spare", "spare output frames")),
    (("output frames", "output_frames", ""), ("symbols\nCTC target", "symbols", "")),
    {
        "training_progress": "Training progress. Loss per symbol with the threshold and the update that ended each utterance; gradient "
        "norm with a band of a local line ± 3 scaled MAD; frame error |p − γ|, which is the gradient of the loss by the logits; character "
        "error rate; loss against gradient norm; cost.",
        "spectrogram_analysis": "Spectrogram analysis. The waveform's log-mel for orientation, the tensor the model received, output "
        "probabilities with the blank on top, and the targets on the most probable alignment. Output frames are centred on the input.",
        "data_flow": "Data flow. Lengths from samples to symbols, and the output frames to spare beyond the fewest that can spell the "
        "target.",
    },
)
VERIFICATION = Words(
    "utterance",
    "utterances",
    "crop",
    "random directions",
    "loss",
    "speakers",
    "how well the model tells voices apart",
    (
        Measure("accuracy", "accuracy without the margin", "share of crops, running statistics"),
        Measure("target_similarity", "similarity to the own speaker", "cosine, running statistics"),
    ),
    (
        Measure("accuracy", "accuracy", "accuracy without the margin", ".0%", at_end=True),
        Measure("batch_accuracy", "in the batch", "accuracy within the batch", ".0%", at_end=True),
        Measure("target_similarity", "own", "similarity to the own speaker", ".3f", 3, True),
        Measure("other_similarity", "other", "similarity to the nearest other", ".3f", 3, True),
    ),
    (
        _SECONDS,
        _INPUT,
        Measure("target_similarity", "own", "similarity to the own speaker", digits=3, at_end=True),
        Measure("other_similarity", "other", "similarity to the nearest other", digits=3, at_end=True),
    ),
    (("embedding", "dimensions", "dimensions"), ("training speakers\nclasses", "speakers", "")),
    {
        "spectrogram_analysis": "Spectrogram analysis of the first crop. Its log-mel for orientation, the tensor the model received, and "
        "the cosines to the nearest training speakers, the true one marked.",
        "data_flow": "Data flow. Sizes from samples to speakers, and how near an utterance is to its own speaker and to the nearest other.",
    },
)
DIARIZATION = Words(
    "window",
    "windows",
    "frame",
    "uniform outputs",
    "loss",
    "windows",
    "how well the model tells who speaks when",
    (
        Measure("frame_error", "frame error", "share of frames with a wrong class"),
        Measure("local_der_full", "local error rate", "of reference speaker time in the window"),
    ),
    (
        Measure("frame_error", "frame error", "share of frames with a wrong class", ".2%", at_end=True),
        Measure("local_der_full", "local error", "local error rate", ".2%", at_end=True),
    ),
    (_SECONDS, _INPUT, _OUTPUT, Measure("speakers", "speakers", "speakers in the window")),
    (("output frames", "output_frames", ""), ("classes\nsets of speakers", "label_count", "")),
    {
        "spectrogram_analysis": "Spectrogram analysis. The waveform's log-mel for orientation, the tensor the model received, "
        "probabilities of the sets of speakers, and the set that is true beside the most probable one.",
        "data_flow": "Data flow. Lengths from samples to frames, and the speakers of each window.",
    },
)
SEPARATION = Words(
    "mixture",
    "mixtures",
    "mixture",
    "theory",
    "loss",
    "separations",
    "how well the model takes other mixtures apart",
    (
        Measure("si_sdri", "improvement over the mixture", "SI-SDRi (dB)"),
        Measure("si_sdr", "SI-SDR of the estimates", "SI-SDR (dB)"),
    ),
    (
        Measure("si_sdr", "SI-SDR", "SI-SDR of the estimates, dB", ".2f", 2, True),
        Measure("si_sdri", "SI-SDRi", "improvement over the mixture, dB", ".2f", 2, True),
    ),
    (  # no seconds: those of the log are the mixture's, of which a check learns a stretch
        Measure("samples", "samples", "samples"),
        Measure("input_si_sdr", "mixture", "SI-SDR of the mixture itself", digits=1, unit="dB"),
        Measure("si_sdri", "SI-SDRi", "improvement over the mixture", digits=1, at_end=True, unit="dB"),
    ),
    (("sources", "sources", "signals"),),
    {
        "training_progress": "Training progress. Loss in dB with the threshold and the update that ended each mixture; gradient norm with "
        "a band of a local line ± 3 scaled MAD; SI-SDR of the estimates, and how much of it the mixture did not have already; loss against "
        "gradient norm; cost.",
        "spectrogram_analysis": "Spectrogram analysis. The mixture the model received, and each source above its estimate, which is shown "
        "at the gain that brings it nearest to the source. One scale of colours for all pictures of a mixture.",
        "data_flow": "Data flow. Sizes from the mixture to its sources, the SI-SDR of the mixture itself and the improvement over it.",
    },
    unit="dB",
    digits=2,
)
_KNOWN = {"recognition": RECOGNITION, "verification": VERIFICATION, "diarization": DIARIZATION, "separation": SEPARATION}
_COMMON = {
    "training_progress": "Training progress. Loss with the threshold and the update that ended each item; gradient norm with a band of a "
    "local line ± 3 scaled MAD; what the task measures of the output; loss against gradient norm; cost.",
    "spectrogram_analysis": "Spectrogram analysis, where the task stores what it shows.",
    "model_architecture": "Model architecture. Modules, measured output shapes and parameter shares from the module tree that ran.",
    "data_flow": "Data flow. Sizes on the way through the model.",
    "performance_dashboard": "Performance dashboard. Every number of the run; all of them are of what was learned by heart.",
}


def words_of(check: Check) -> Words:
    """Return the names of a check's task; for an unknown one, those in its log."""
    task = str(check.start.get("task"))
    if task in _KNOWN:
        return _KNOWN[task]
    names = check.extra_measures
    curves = tuple(Measure(name, name.replace("_", " "), "as logged") for name in names[:2])
    lengths = tuple(one for one in (_SECONDS, _INPUT, _OUTPUT) if np.isfinite(check.column(one.key)).any())
    ends = tuple(Measure(name, name.replace("_", " "), name, ".4g", 3, True) for name in names[:2])
    return Words(curves=curves, ends=ends, lengths=lengths, unit="" if check.signed else "nats")


def caption_of(words: Words, figure: str) -> str:
    """Return the caption of one of the five figures."""
    return words.captions.get(figure, _COMMON[figure])
