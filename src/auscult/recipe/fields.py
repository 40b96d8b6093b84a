"""The plain parts of a recipe: everything that is not a choice among registered classes.

Every field has a type, bounds and a sentence, which the loader, `auscult recipe schema` and the editor share. Fields that can
change without changing the result of a run are marked `NO_EFFECT` where they are declared, and the recipe's hash leaves them
out: a run does not become another run because it logs more often. Rejected: a list of excluded keys beside the hash, which a
new field would be missing from.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from auscult.recipe.sections import Section
from auscult.registry import LATER

NO_EFFECT = Field(json_schema_extra={"affects_result": False})
"""Marks a field that changes neither weights nor scores, in `Annotated[int, NO_EFFECT]`; the recipe's hash leaves it out."""

Split = Literal["train", "validation", "test"]
Positive = Annotated[int, Field(ge=1)]


class Part(BaseModel):
    """What all parts of a recipe share: frozen, no unknown keys, no silent conversion."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True, protected_namespaces=()
    )


class Selection(Part):
    """Which utterances of the corpus a split uses; `train: a` and `train: [a, b]` are short for `train: {splits: [a, b]}`."""

    splits: Annotated[list[str], Field(min_length=1)] = ["*"]
    """Names of the corpus's own splits, with * and ? as wildcards."""
    speakers: list[str] | None = None
    """Only these speakers."""
    exclude_speakers: list[str] | None = None
    """None of these speakers."""
    seconds: tuple[float | None, float | None] = (None, None)
    """Shortest and longest duration kept; null leaves a side open."""
    items: Positive | None = None
    """At most this many utterances, chosen by the hash of their ids: a smaller number is contained in a larger one."""
    fraction: tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]] | None = None
    """The utterances whose id hashes into this slice of [0, 1): [0.0, 0.9] and [0.9, 1.0] share none."""
    speaker_fraction: tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]] | None = None
    """The speakers whose name hashes into this slice of [0, 1), with all their utterances: disjoint slices share no speaker."""

    @model_validator(mode="after")
    def _ordered(self) -> Selection:
        low, high = self.seconds
        if low is not None and high is not None and low > high:
            raise ValueError(f"seconds: the shortest ({low}) is longer than the longest ({high}); swap them")
        for name, part in (("fraction", self.fraction), ("speaker_fraction", self.speaker_fraction)):
            if part is not None and part[0] >= part[1]:
                raise ValueError(f"{name}: {list(part)} is empty; the first number must be smaller than the second")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        full = handler.resolve_ref_schema(handler(schema))
        return {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}, full]}


class Concatenate(Part):
    """Join recordings of single words by one speaker into strings of words."""

    words: tuple[Positive, Positive] = (1, 7)
    """Fewest and most words of a string."""
    strings: Annotated[dict[Split, Positive], Field(min_length=1)]
    """Number of strings per split."""
    gap: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]] = (0.05, 0.3)
    """Shortest and longest pause between two words, in seconds."""

    @model_validator(mode="after")
    def _ordered(self) -> Concatenate:
        if self.words[0] > self.words[1] or self.gap[0] > self.gap[1]:
            raise ValueError("words and gap are [fewest, most]; the first number must not be the larger one")
        return self


class Conversations(Part):
    """Simulate conversations from recordings of one speaker each; the defaults are the statistics of the AMI development meetings."""

    counts: Annotated[dict[Split, Positive], Field(min_length=1)]
    """Number of conversations per split; a split that is not named keeps its own recordings."""
    seconds: Annotated[float, Field(ge=1)] = 30.0
    """Length of a conversation."""
    speakers: tuple[Positive, Positive] = (2, 4)
    """Fewest and most speakers of a conversation."""
    overlap: Annotated[float, Field(ge=0, le=0.5)] = 0.14
    """Share of the speech during which more than one speaks, on average; conversations differ."""
    overlap_seconds: Annotated[float, Field(gt=0)] = 0.95
    """Seconds by which a turn that starts early precedes the other's end, on average."""
    turn: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(ge=0)]] = (2.0, 1.3)
    """Median length of a turn in seconds, and the standard deviation of its natural logarithm, as drawn; what is laid out is shorter by
    what ends at a pause, at the end of a recording or of the conversation."""
    pause: Annotated[float, Field(ge=0)] = 1.0
    """Mean pause between turns that do not overlap, in seconds."""
    hold: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of the pauses after which the same speaker goes on."""
    gain: tuple[float, float] = (-6.0, 6.0)
    """Least and greatest level of a speaker in dB, against the common level."""
    rooms: str | None = None
    """Folder of room responses, of which every speaker gets one; null leaves the recordings dry."""
    room_probability: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the conversations that are put into rooms."""
    noise: str | None = None
    """Folder of noise recordings, of which every conversation gets one; null adds none."""
    noise_probability: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Share of the conversations that get noise."""
    snr: tuple[float, float] = (5.0, 25.0)
    """Least and greatest ratio of speech (at the common level) to noise in dB."""

    @model_validator(mode="after")
    def _ordered(self) -> Conversations:
        for name in ("speakers", "gain", "snr"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: [{low:g}, {high:g}] is [least, most]; the first number must not be the larger one")
        return self


class Mixtures(Part):
    """Mix recordings of one speaker each; speakers of a mixture always differ."""

    counts: Annotated[dict[Split, Positive], Field(min_length=1)]
    """Number of mixtures per split; a split that is not named keeps its own recordings."""
    seconds: Annotated[float, Field(ge=0.1)] = 4.0
    """Length of a mixture."""
    speakers: Annotated[int, Field(ge=2, le=8)] = 2
    """Speakers of a mixture."""
    ratio: tuple[float, float] = (-5.0, 5.0)
    """Least and greatest level of the first speaker against each other one, in dB."""
    noise: str | None = None
    """Folder of noise recordings, of which every mixture gets one as its scene; null adds none."""
    snr: tuple[float, float] = (0.0, 14.0)
    """Least and greatest ratio of the common level of speech to the noise, in dB."""

    @model_validator(mode="after")
    def _ordered(self) -> Mixtures:
        for name in ("ratio", "snr"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: [{low:g}, {high:g}] is [least, most]; the first number must not be the larger one")
        return self


class Batching(Part):
    """How utterances become batches: by audio (`seconds`), number (`items`), speaker (`speakers`) or by lot (`poisson`), one of four."""

    seconds: Annotated[float, Field(gt=0)] | None = None
    """Padded audio per batch, in seconds; utterances of similar length are put together."""
    items: Positive | None = None
    """Utterances per batch."""
    speakers: Positive | None = None
    """Different speakers per batch, each with `utterances` utterances; judging then takes as many utterances at a time."""
    utterances: Positive | None = None
    """Utterances of each speaker in a batch; goes with `speakers`."""
    poisson: Annotated[Positive | None, Field(json_schema_extra=LATER)] = None
    """Expected utterances per batch, each drawn into each batch by itself with one probability, as differential privacy needs."""
    most: Positive | None = None
    """Most utterances of a speaker in one pass over the data, drawn anew each pass; goes with `speakers`, null takes all."""
    buckets: Positive = 8
    """Number of length classes that are batched apart; 1 mixes all lengths. Goes with `seconds` or `items`."""
    order: Literal["shuffled", "sorta_grad", "sorted"] = "shuffled"
    """sorta_grad goes from short to long in the first pass and is shuffled afterwards (Deep Speech 2). Goes with `seconds` or `items`."""

    @model_validator(mode="after")
    def _one_measure(self) -> Batching:
        if sum(measure is not None for measure in (self.seconds, self.items, self.speakers, self.poisson)) != 1:
            raise ValueError(
                "give one of seconds (audio per batch), items (utterances per batch), speakers (with utterances of each) and poisson "
                "(expected utterances), not several"
            )
        if (self.speakers is None) != (self.utterances is None):
            raise ValueError("speakers and utterances go together: a batch holds `utterances` utterances of each of `speakers` speakers")
        if self.speakers is None and self.most is not None:
            raise ValueError("most limits the utterances of a speaker and goes with speakers; remove it")
        if self.speakers is not None:
            self._check_speakers()
        if self.poisson is not None:
            self._check_unordered("a batch drawn by lot")
        return self

    def _check_unordered(self, what: str) -> None:
        for key in ("order", "buckets"):  # the default is let through: a resolved recipe has every key
            default = type(self).model_fields[key].default
            if getattr(self, key) != default:
                raise ValueError(f"{what} has no order by length; remove the key {key}, or leave it at {default}")

    def _check_speakers(self) -> None:
        self._check_unordered("a batch of speakers")
        if self.most is not None and self.utterances is not None and self.most < self.utterances:
            raise ValueError(
                f"most: {self.most} utterances of a speaker cannot fill a group of {self.utterances} without repeats; "
                f"give {self.utterances} or more"
            )

    @property
    def judged_items(self) -> int | None:
        """Most utterances that are judged at a time; None where `seconds` limits them."""
        if self.speakers is not None and self.utterances is not None:
            return self.speakers * self.utterances
        return self.items if self.poisson is None else self.poisson


class Data(Part):
    """What is learned from and judged on, and how it becomes batches."""

    corpus: Section
    """A registered corpus and its parameters."""
    more: list[Section] = []
    """Further corpora, whose splits are added to those of `corpus`; splits of the same name are joined."""
    train: Selection | None = None
    """Utterances to learn from."""
    validation: Selection | None = None
    """Utterances that choose checkpoints."""
    test: Selection | None = None
    """Utterances that are only ever judged."""
    sample_rate: Annotated[int, Field(ge=1000, le=192_000)]
    """Samples per second the model sees; other rates are resampled."""
    concatenate: Concatenate | None = None
    """Join single words into strings."""
    conversations: Conversations | None = None
    """Simulate conversations of several speakers."""
    mixtures: Mixtures | None = None
    """Mix recordings of single speakers."""
    augment: list[Section] = []
    """Registered augmentations, applied in order to training audio."""
    batch: Batching = Batching(items=16)
    """How utterances become batches."""
    error_budget: Annotated[int, Field(ge=0)] = 0
    """Unreadable files tolerated before the run refuses to start."""
    workers: Annotated[int, Field(ge=0), NO_EFFECT] = 0
    """Loader processes; 0 loads in the training process."""
    threads: Annotated[int, Field(ge=1), NO_EFFECT] = 1
    """Threads of the training process and of each loader process; bits repeat exactly at one number of threads."""
    cache_megabytes: Annotated[int, Field(ge=0), NO_EFFECT] = 256
    """Decoded audio kept in memory."""


class Stop(Part):
    """End a run early: when `metric` has not improved by `minimum_improvement` in `patience` evaluations in a row."""

    metric: str | None = None
    """Key of the evaluation metrics; null is the task's primary metric."""
    patience: Positive
    """Evaluations without improvement that end the run."""
    minimum_improvement: Annotated[float, Field(ge=0)] = 0.0
    """Smallest change that counts, in units of the metric."""


class Budget(Part):
    """How long to train and what to do on the way; everything counts optimiser updates."""

    updates: Positive
    """Optimiser updates of the whole run."""
    accumulate: Positive = 1
    """Batches whose gradients make one update."""
    evaluate_every: Positive = 200
    """Updates between evaluations on the validation split."""
    checkpoint_every: Positive = 200
    """Updates between checkpoints. Resuming is exact wherever they lie; after a refused update they bound how far a remedy goes back."""
    log_every: Annotated[int, Field(ge=1), NO_EFFECT] = 10
    """Updates between entries in the event log."""
    keep: Positive = 1
    """Number of best checkpoints kept."""
    average_best: bool = False
    """Average the weights of the kept checkpoints at the end, and keep the average if validation says that it is better."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of an exponential moving average of the weights, which is then what is judged."""
    stop: Stop | None = None
    """Early stopping."""
    clip: Annotated[float, Field(gt=0)] | None = None
    """Largest gradient norm; longer gradients are scaled down to it."""


class Precision(Part):
    """Number format and device."""

    compute: Literal["float32", "bfloat16", "float16"] = "float32"
    """Format of the model's arithmetic; losses are always computed in float32."""
    device: Annotated[Literal["auto", "cpu", "cuda"], NO_EFFECT] = "auto"
    """auto takes CUDA where there is one. Left out of the hash: the run's environment records what was used."""
    deterministic: bool = False
    """Refuse operators without a deterministic implementation."""


class Guard(Part):
    """When an update is refused and what happens then."""

    enabled: bool = True
    """Look at loss, gradient and buffers before every update."""
    spike: Annotated[float, Field(gt=1)] | None = 8.0
    """Refuse a gradient norm whose logarithm lies this many robust standard deviations above the recent median, and ten times above it;
    null never does."""
    window: Annotated[int, Field(ge=2)] = 128
    """Updates the recent median is over."""
    snapshot_every: Positive = 100
    """Updates between snapshots to return to."""
    snapshots: Positive = 2
    """Snapshots kept."""
    trips: Positive = 3
    """Refusals per 1000 updates before the next, stronger remedy is used."""


class Check(Part):
    """The single-batch overfit test of `auscult check`."""

    utterances: Positive = 3
    """Utterances, each learned alone from fresh weights."""
    updates: Positive = 400
    """Updates after which an utterance counts as not learned."""
    threshold: float | None = None
    """Loss that must truly be reached; null takes the task's own: 0.001 for losses that end at zero."""
    log_every: Annotated[int, Field(ge=1), NO_EFFECT] = 10
    """Updates between looks at the output (frame error, character error); loss and gradient are recorded at every update."""
    ids: list[str] | None = None
    """Utterance ids to use; null takes the first ones of the training split by the hash of their ids."""
    earlier_updates: Annotated[list[int] | None, NO_EFFECT] = None
    """Updates an earlier experiment needed, one per utterance, shown beside this one's."""


def affects_result(info: FieldInfo, value: Any) -> bool:
    """Return whether a field belongs to what a recipe's hash is over: not if it is marked `NO_EFFECT`, or `LATER` and at its default."""
    extra = info.json_schema_extra
    marked = extra.get("affects_result") if isinstance(extra, dict) else None
    return marked is None or (marked == LATER["affects_result"] and value != info.default)
