"""Corpora for tests: a conformance check for anybody's corpus class, and a toy corpus in a second.

`check_corpus` states what the rest of the package relies on. `toy_corpus` writes tones rather than noise: every letter has its
own frequency, so a small recogniser can really learn the transcripts, and every speaker their own pitch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from auscult.audio.reading import probe, read_audio
from auscult.corpora.base import Corpus
from auscult.corpora.decoding import recordings_of

if TYPE_CHECKING:
    from lhotse import CutSet

LETTERS = "abcdefgh"
LETTER_SECONDS = 0.08
GAP_SECONDS = 0.02


def check_corpus(corpus: Corpus, decoded: int = 3, supervisions: Literal["one", "many"] = "one") -> None:
    """Check that a corpus keeps the contract of `auscult.corpora.base.Corpus`.

    Args:
        corpus: an instance that holds at least one utterance.
        decoded: number of files per split that are decoded.
        supervisions: "one" for utterances; "many" for conversations and mixtures, whose turns must name speakers and lie within the
            recording. The files of a mixture's layers are checked as the mixture is.

    Raises:
        AssertionError: lists everything that does not hold.
    """
    first, second = corpus.splits(), corpus.splits()
    reasons = [] if first else ["splits() is empty"]
    if {split: list(cuts.ids) for split, cuts in first.items()} != {split: list(cuts.ids) for split, cuts in second.items()}:
        reasons.append("a second call of splits() gives other cuts or another order")
    try:
        json.dumps(corpus.parameters())
    except (AttributeError, TypeError) as error:
        reasons.append(f"every constructor parameter must be kept as a plain attribute of the same name: {error}")
    seen: set[str] = set()
    for split, cuts in first.items():
        if cuts.is_lazy:
            reasons.append(f"split {split} is lazy; expected eager cuts")
        reasons.extend(_split_reasons(split, cuts, seen, decoded, supervisions))
    if reasons:
        raise AssertionError(f"{type(corpus).__name__} breaks the corpus contract:\n- " + "\n- ".join(reasons))


def _split_reasons(split: str, cuts: CutSet, seen: set[str], decoded: int, supervisions: str) -> list[str]:
    reasons: list[str] = [] if len(cuts) else [f"split {split} is empty"]
    for number, cut in enumerate(cuts):
        place = f"{split}, cut {cut.id}"
        if cut.id in seen:
            reasons.append(f"{place}: the id occurs twice")
        seen.add(cut.id)
        problems = _cut_reasons(cut, supervisions)
        if not problems and number < decoded:
            problems = _audio_reasons(cut)
        reasons.extend(f"{place}: {problem}" for problem in problems)
    return reasons


def _cut_reasons(cut: Any, supervisions: str) -> list[str]:
    from lhotse import MonoCut
    from lhotse.cut import MixedCut

    if not isinstance(cut, MonoCut) and not (supervisions == "many" and isinstance(cut, MixedCut)):
        return [f"is a {type(cut).__name__}; expected a MonoCut{', or a mixture' if supervisions == 'many' else ''}"]
    reasons = _turn_reasons(cut) if supervisions == "many" else []
    if supervisions == "one" and len(cut.supervisions) != 1:
        reasons.append(f"has {len(cut.supervisions)} supervisions; expected one")
    if not cut.duration > 0:
        reasons.append(f"lasts {cut.duration} s")
    for source in [source for recording in recordings_of(cut) for source in recording.sources]:
        if source.type != "file" or not Path(source.source).is_absolute() or not Path(source.source).is_file():
            reasons.append(f"its source {source.type}:{source.source} is not an existing file by absolute path")
    try:
        json.dumps(cut.to_dict())
    except TypeError as error:
        reasons.append(f"cannot be written to a manifest: {error}")
    return reasons + (_layer_reasons(cut) if isinstance(cut, MonoCut) and (cut.custom or {}).get("layers") else [])


def _layer_reasons(cut: Any) -> list[str]:
    """Return what is wrong with the layers of a mixture: each is a further source of its recording, and each source has a speaker."""
    names, speakers = list(cut.custom["layers"]), list(cut.custom.get("speakers", ()))
    reasons = []
    if len(set(names)) < len(names) or len(names) != len(cut.recording.sources) - 1:
        reasons.append(f"names the layers {', '.join(names)} and has {len(cut.recording.sources) - 1} files beside its mixture")
    sources = sum(name.startswith("source") for name in names)
    if not sources or len(speakers) not in (0, sources):
        reasons.append(f"has {sources} sources and names {len(speakers)} speakers")
    return reasons


def _turn_reasons(cut: Any) -> list[str]:
    within = cut.duration + 1e-6
    reasons = [
        f"its turn {turn.id} from {turn.start} to {turn.end} s, of speaker {turn.speaker}, is not one within {cut.duration} s"
        for turn in cut.supervisions
        if not (turn.speaker and 0 <= turn.start < turn.end <= within)
    ]
    if len({turn.id for turn in cut.supervisions}) < len(cut.supervisions):
        reasons.append("two of its turns have the same id")
    if [turn.start for turn in cut.supervisions] != sorted(turn.start for turn in cut.supervisions):
        reasons.append("its turns are not in the order of time")
    evaluated = (getattr(cut, "custom", None) or {}).get("evaluated", [])
    if not all(0 <= start <= end <= within for start, end in evaluated):
        reasons.append(f"its evaluated regions {evaluated} do not lie within {cut.duration} s")
    return reasons


def _audio_reasons(cut: Any) -> list[str]:
    reasons = []
    for recording in recordings_of(cut):
        stated = (recording.sampling_rate, recording.num_samples)
        for path in [Path(source.source) for source in recording.sources]:
            info = probe(path)
            if (info.sample_rate, info.samples) != stated:
                reasons.append(f"states {stated} (rate, samples), {path} has {(info.sample_rate, info.samples)}")
                continue
            samples, _ = read_audio(path)
            if len(samples) != info.samples or not np.isfinite(samples).all():
                reasons.append(f"{path} does not decode to finite samples of its length")
    return reasons


def toy_corpus(
    folder: Path,
    speakers: int = 3,
    utterances: int = 4,
    letters: tuple[int, int] = (3, 6),
    sample_rate: int = 16000,
    seed: int = 0,
    speech: bool = False,
) -> Path:
    """Write a small corpus of wav files with a manifest and return the manifest's path, for the corpus `folder`.

    Of each speaker the last utterance is "test", the one before "validation", the others "train".

    Args:
        folder: where; made if absent.
        speakers: number of speakers.
        utterances: per speaker, at least 3.
        letters: smallest and largest number of letters in a text, when tones are written.
        sample_rate: in hertz.
        seed: of texts, phases and noise.
        speech: synthesised digits instead of tones (needs the extra "synth").
    """
    if utterances < 3:
        raise ValueError(f"{utterances} utterances per speaker cannot fill three splits; give at least 3")
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for speaker in range(speakers):
        spoken = _speak(speaker, utterances, sample_rate, seed) if speech else _tones(speaker, utterances, letters, sample_rate, random)
        rows.extend(_write_speaker(folder, f"s{speaker}", spoken, sample_rate))
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return manifest


def _write_speaker(
    folder: Path, speaker: str, spoken: Sequence[tuple[str, NDArray[np.float32]]], sample_rate: int
) -> Iterator[dict[str, object]]:
    import soundfile

    (folder / speaker).mkdir(exist_ok=True)
    for number, (text, samples) in enumerate(spoken):
        path = folder / speaker / f"{speaker}_{number:03d}.wav"
        soundfile.write(path, samples, sample_rate, subtype="PCM_16")
        split = {len(spoken) - 1: "test", len(spoken) - 2: "validation"}.get(number, "train")
        row = {"audio": path.relative_to(folder).as_posix(), "text": text, "speaker": speaker, "split": split, "session": number}
        yield {**row, "duration": round(len(samples) / sample_rate, 4)}


def tone_utterance(text: str, sample_rate: int, pitch: float = 1.0) -> NDArray[np.float32]:
    """Return the toy speech of a text of `LETTERS`: one tone per letter, (time,) float32 in [-0.5, 0.5].

    Args:
        text: letters from "a" to "h".
        sample_rate: in hertz.
        pitch: factor on every frequency; the voice.
    """
    length, gap = round(LETTER_SECONDS * sample_rate), round(GAP_SECONDS * sample_rate)
    time = np.arange(length) / sample_rate
    pieces: list[NDArray[np.float64]] = [np.zeros(gap)]
    for letter in text:
        frequency = pitch * 300.0 * 2 ** (LETTERS.index(letter) / 3)
        pieces += [0.5 * np.sin(2 * np.pi * frequency * time) * np.hanning(length), np.zeros(gap)]
    return np.concatenate(pieces).astype(np.float32)


def _tones(
    speaker: int, utterances: int, letters: tuple[int, int], sample_rate: int, random: np.random.Generator
) -> Sequence[tuple[str, NDArray[np.float32]]]:
    result = []
    for _ in range(utterances):
        text = "".join(LETTERS[index] for index in random.integers(len(LETTERS), size=random.integers(letters[0], letters[1] + 1)))
        tones = tone_utterance(text, sample_rate, pitch=1.0 + 0.05 * (speaker % 5))
        noise = 0.002 * random.standard_normal(len(tones))
        result.append((text, (tones + noise).astype(np.float32)))
    return result


def _speak(speaker: int, utterances: int, sample_rate: int, seed: int) -> Sequence[tuple[str, NDArray[np.float32]]]:
    from auscult.audio.resampling import resample
    from auscult.audio.synthesis import FEMALE, MALE, Voice, synthesise
    from auscult.corpora.material import draw_texts

    texts = draw_texts("en", "digits", utterances, np.random.default_rng([seed, speaker]), 1, 3)
    variants = FEMALE if speaker % 2 == 0 else MALE
    spoken = synthesise(Voice("en-us", variants[speaker // 2 % len(variants)], volume=60), texts, seed)
    return [(text, resample(sound, spoken.sample_rate, sample_rate)) for text, sound in zip(texts, spoken.utterances, strict=True)]
