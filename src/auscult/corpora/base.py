"""What every corpus is: a folder somebody already has, turned into lhotse cuts with one supervision each, or one per turn.

Problem: every corpus has its own layout, and every one of them holds files that are missing, empty or cut off; a reader that
skips them silently trains on another corpus than the report says, one that stops at the first makes repair a guessing game.
Choice: a corpus only lists `Utterance` rows; this base class reads the headers, collects *all* files that cannot be used as
`FileProblem`s, and counts them against `error_budget` (default 0). Within the budget they are left out and remain listed in
`problems`.

Headers (50 us a file) show a file that is missing, unreadable, empty or shorter than its manifest says. They cannot show
non-finite samples or a compressed stream that breaks off: `prepare` decodes everything once and finds those too. lhotse is
imported when cuts are built, not when a recipe is read.

A conversation is one cut with a supervision per turn, because turns overlap and a cut per turn would hold its neighbours' speech.
References are rounded to milliseconds or worse, so a turn may end up to `OVERHANG` seconds after its recording and is then cut
there; more than that is the reference of another recording, which clipping would hide.
"""

from __future__ import annotations

import inspect
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from auscult.audio.reading import AudioError, probe
from auscult.errors import UserError

if TYPE_CHECKING:
    from lhotse import CutSet, MonoCut

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg")
DEFAULT_DATA = "../shared/data"
DESCRIPTION = "corpus.json"
"""File of a prepared folder that says what it was made from."""
LISTED_PROBLEMS = 5
OVERHANG = 0.1
"""Seconds that a turn or an evaluated region may reach over the ends of its recording (rounding of references)."""


@dataclass(frozen=True)
class FileProblem:
    """A file that cannot be used.

    Attributes:
        path: the file.
        problem: "missing", "unreadable", "empty", "truncated", "non_finite" (see `audio.reading.AudioError`), "mismatch" (longer
            than its manifest says, or its reference reaches beyond it), "untranscribed" or "misnamed" (the corpus needs what
            the file does not have).
        detail: one sentence.
        place: where a table names the file ("list.csv, line 7, column sceneFile"); empty where none does.
    """

    path: Path
    problem: str
    detail: str
    place: str = ""

    def __str__(self) -> str:
        return f"{self.problem}: {self.detail}"


@dataclass(frozen=True)
class Segment:
    """A turn of one speaker, from `start` to `end` in seconds."""

    start: float
    end: float
    speaker: str


@dataclass(frozen=True)
class Utterance:
    """One row of a corpus, before its header is read.

    Attributes:
        id: unique within the corpus.
        audio: absolute path; the whole file is the utterance.
        split: name of the split it belongs to.
        sample_rate: in hertz; together with `samples` it is trusted, and the header is not read.
        samples: length in samples of one channel.
        channels: of the file, where `samples` is trusted.
        duration: seconds, as a manifest states it; compared with the header.
        custom: plain JSON values for `cut.custom`.
        segments: turns of a conversation, which may overlap; None is an utterance that is one supervision.
        evaluated: (start, end) in seconds of the regions that are judged (UEM), in order; None where nothing states them.
        layers: further files of the same length and rate that belong to `audio`, by name: the parts of a mixture (`data/layers.py`),
            whose `custom["speakers"]` all speak from its beginning to its end.
        places: where a table names `audio` (under "mixture") and its layers, for messages.
    """

    id: str
    audio: Path
    split: str
    text: str | None = None
    speaker: str | None = None
    language: str | None = None
    sex: Literal["female", "male"] | None = None
    sample_rate: int | None = None
    samples: int | None = None
    channels: int | None = None
    duration: float | None = None
    custom: dict[str, Any] = field(default_factory=dict)
    segments: tuple[Segment, ...] | None = None
    evaluated: tuple[tuple[float, float], ...] | None = None
    layers: Mapping[str, Path] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)


class Corpus(ABC):
    """A corpus; its constructor's parameters are the keys of the recipe section, each kept as an attribute of the same name.

    Attributes:
        name: registry name.
        error_budget: number of unusable files that are left out before the corpus is refused.
        problems: the unusable files, after `splits` was called.
    """

    name: ClassVar[str]
    error_budget: int = 0

    def __init__(self) -> None:
        self.problems: list[FileProblem] = []
        self._splits: dict[str, CutSet] | None = None

    @abstractmethod
    def utterances(self) -> Iterable[Utterance]:
        """Yield every utterance in a reproducible order, and append what is wrong with the layout to `problems`.

        Raises:
            UserError: the source is not this corpus.
        """

    def splits(self) -> dict[str, CutSet]:
        """Return eager cuts by split: `MonoCut`s with absolute audio paths, unique ids and exactly one supervision each.

        Utterances with `segments` have a supervision per turn instead (none where nobody speaks), and `cut.custom["evaluated"]`
        lists their evaluated regions. `cut.channel` is 0 also for files with several channels, all of which `cut.recording` lists.

        Raises:
            UserError: the source is missing or is another corpus, nothing was found, ids repeat, or more files than
                `error_budget` cannot be used.
        """
        if self._splits is None:
            self._splits = self._read()
        return dict(self._splits)

    def attachments(self) -> Mapping[str, Path]:
        """Return further files of the corpus, such as trial lists, by the name `prepare` copies them to."""
        return {}

    def parameters(self) -> dict[str, Any]:
        """Return the recipe keys of this corpus and their values."""
        return {key: getattr(self, key) for key in inspect.signature(type(self)).parameters}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.parameters().items())})"

    def _read(self) -> dict[str, CutSet]:
        from lhotse import CutSet

        self.problems = []
        utterances = list(self.utterances())
        check_ids((utterance.id for utterance in utterances), self.name)
        cuts: dict[str, list[MonoCut]] = {}
        for utterance in utterances:
            cut = self._cut(utterance)
            if cut is not None:
                cuts.setdefault(utterance.split, []).append(cut)
        check_budget(self.problems, self.error_budget, self.name)
        if not cuts:
            where = next(iter(self.parameters().values()), "")
            raise UserError(
                f"{self.name}: no usable audio in {where} ({len(self.problems)} unusable files were left out); check the source"
            )
        return {split: CutSet.from_cuts(members) for split, members in cuts.items()}

    def _cut(self, utterance: Utterance) -> MonoCut | None:
        shape = _shape(utterance)
        if isinstance(shape, FileProblem):
            self.problems.append(replace(shape, place=utterance.places.get("mixture", "")))
            return None
        seconds = shape[1] / shape[0]
        problem = _duration_problem(utterance, seconds) or _turn_problem(utterance, seconds) or _layer_problem(utterance, shape)
        if problem is not None:
            self.problems.append(problem)
            return None
        return make_cut(utterance, *shape)


def _shape(utterance: Utterance) -> tuple[int, int, int] | FileProblem:
    """Return sample rate, samples and channels, or why there are none."""
    path = utterance.audio
    if utterance.sample_rate is not None and utterance.samples is not None:
        if not path.is_file():
            return FileProblem(path, "missing", f"{path} does not exist")
        shape = (utterance.sample_rate, utterance.samples, utterance.channels or 1)
    else:
        try:
            info = probe(path)
        except AudioError as error:
            return FileProblem(path, error.problem, str(error))
        shape = (info.sample_rate, info.samples, info.channels)
    return shape if shape[1] > 0 else FileProblem(path, "empty", f"{path} holds no samples")


def _duration_problem(utterance: Utterance, seconds: float) -> FileProblem | None:
    stated = utterance.duration
    if stated is None or abs(stated - seconds) <= max(0.06, 0.01 * stated):  # manifests round to 0.1 s at worst
        return None
    problem = "truncated" if seconds < stated else "mismatch"
    detail = f"{utterance.audio} lasts {seconds:.2f} s, its manifest says {stated:.2f} s; every row must describe a whole file"
    return FileProblem(utterance.audio, problem, detail)


def _turn_problem(utterance: Utterance, seconds: float) -> FileProblem | None:
    """Return what shows that turns or evaluated regions belong to another recording."""
    turns = [(f"the turn of {one.speaker}", one.start, one.end) for one in utterance.segments or ()]
    regions = [("the evaluated region", start, end) for start, end in utterance.evaluated or ()]
    for what, start, end in (*turns, *regions):
        if not (-OVERHANG <= start <= end <= seconds + OVERHANG):
            detail = f"{what} from {start:.3f} to {end:.3f} s does not lie in {utterance.audio}, which lasts {seconds:.3f} s"
            return FileProblem(utterance.audio, "mismatch", f"{detail}; is it the reference of another recording?")
    return None


def _layer_problem(utterance: Utterance, shape: tuple[int, int, int]) -> FileProblem | None:
    """Return what is wrong with the files that belong to an utterance: absent, or of another length or rate."""
    for name, path in utterance.layers.items():
        try:
            info = probe(path)
        except AudioError as error:
            return FileProblem(path, error.problem, f"layer {name} of {utterance.id}: {error}", utterance.places.get(name, ""))
        if (info.sample_rate, info.samples) != shape[:2]:
            detail = (
                f"layer {name} of {utterance.id}, {path}, has {info.samples} samples at {info.sample_rate} Hz and {utterance.audio} has "
                f"{shape[1]} at {shape[0]} Hz; a mixture and its layers must be of one length"
            )
            return FileProblem(path, "mismatch", detail, utterance.places.get(name, ""))
    return None


def make_cut(utterance: Utterance, sample_rate: int, samples: int, channels: int) -> MonoCut:
    """Return the whole file as a cut with one supervision, with one per turn that holds time within the file, or per speaker of a mixture.

    Args:
        utterance: the row.
        sample_rate: of the file, in hertz.
        samples: of one channel.
        channels: of the file; the cut is of the first.
    """
    from lhotse import AudioSource, MonoCut, Recording, SupervisionSegment

    name, duration = utterance.id, samples / sample_rate
    indices = list(range(channels))
    sources = [AudioSource(type="file", channels=indices, source=str(utterance.audio))]
    for path in utterance.layers.values():  # each a further channel of the recording, so whatever looks after files looks after them
        indices = [*indices, len(indices)]
        sources.append(AudioSource(type="file", channels=indices[-1:], source=str(path)))
    recording = Recording(id=name, sources=sources, sampling_rate=sample_rate, num_samples=samples, duration=duration, channel_ids=indices)
    whole = SupervisionSegment(
        id=name,
        recording_id=name,
        start=0.0,
        duration=duration,
        channel=0,
        text=utterance.text,
        language=utterance.language,
        speaker=utterance.speaker,
        gender=utterance.sex,
    )
    supervisions, custom = [whole], dict(utterance.custom)
    if utterance.segments is not None:
        turns = sorted((*_clipped(one.start, one.end, duration), one.speaker) for one in utterance.segments)
        turns = [turn for turn in turns if turn[0] < turn[1]]
        supervisions = [
            replace(whole, id=f"{name}-{number:04d}", start=start, duration=round(end - start, 8), speaker=speaker)
            for number, (start, end, speaker) in enumerate(turns)
        ]
    elif utterance.layers and custom.get("speakers"):  # the same speaker twice stays two: an audit must see it
        supervisions = [
            replace(whole, id=f"{name}-{number:04d}", speaker=speaker, text=None) for number, speaker in enumerate(custom["speakers"])
        ]
    if utterance.evaluated is not None:
        custom["evaluated"] = [list(_clipped(start, end, duration)) for start, end in utterance.evaluated]
    if utterance.layers:
        custom["layers"] = list(utterance.layers)
    return MonoCut(id=name, start=0.0, duration=duration, channel=0, supervisions=supervisions, recording=recording, custom=custom or None)


def _clipped(start: float, end: float, duration: float) -> tuple[float, float]:
    return min(max(start, 0.0), duration), max(min(end, duration), 0.0)


def check_ids(ids: Iterable[str], name: str) -> None:
    """Refuse repeated utterance ids.

    Raises:
        UserError: with the first repeated id.
    """
    seen: set[str] = set()
    for identity in ids:
        if identity in seen:
            raise UserError(f'{name}: two utterances have the id "{identity}"; every utterance needs an id of its own')
        seen.add(identity)


def check_budget(problems: Sequence[FileProblem], budget: int, name: str) -> None:
    """Refuse more unusable files than the budget allows.

    Raises:
        UserError: names the first files, says how many there are and how to go on without them.
    """
    if len(problems) <= budget:
        return
    listed = "; ".join(
        f"{item.path} ({item.problem}{f', named in {item.place}' if item.place else ''})" for item in problems[:LISTED_PROBLEMS]
    )
    more = f"; and {len(problems) - LISTED_PROBLEMS} more" if len(problems) > LISTED_PROBLEMS else ""
    count = "1 file" if len(problems) == 1 else f"{len(problems)} files"
    raise UserError(
        f"{name}: {count} cannot be used and error_budget is {budget}: {listed}{more}; "
        f"repair or remove them, or set error_budget: {len(problems)} to leave them out"
    )


def problem_record(problem: FileProblem) -> dict[str, str]:
    """Return plain values, for `corpus.json` and tables."""
    return {key: str(value) for key, value in asdict(problem).items() if value}


def find_recordings(folder: Path) -> list[Path]:
    """Return the audio files below a folder, sorted by their path."""
    found = (Path(place) / name for place, _, names in os.walk(folder) for name in names)
    return sorted(path for path in found if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith("."))


def resolve(path: str) -> Path:
    """Return the absolute path of something that exists, with `~` and `${VARIABLES}` replaced.

    `${AUSCULT_DATA}` stands for `../shared/data` where it is not set.

    Raises:
        UserError: a variable is not set, or nothing is there.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1) or match.group(2)
        found = os.environ.get(name, DEFAULT_DATA if name == "AUSCULT_DATA" else None)
        if found is None:
            raise UserError(f'the path "{path}" needs the environment variable {name}, which is not set')
        return found

    expanded = Path(re.sub(r"\$\{(\w+)\}|\$(\w+)", value, path)).expanduser()
    if not expanded.exists():
        raise UserError(f'no such file or folder: "{expanded}"' + (f' (from "{path}")' if str(expanded) != path else ""))
    return expanded.resolve()
