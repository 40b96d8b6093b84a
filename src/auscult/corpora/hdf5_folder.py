"""Folders of HDF5 utterances, the layout of the reference experiments on gradient reconstruction: `<bucket>/<name>.h5`.

Problem: lhotse, and everything that looks after files here (hashes, audits, packs), wants audio files. Choice: what the files hold is
decoded once into a cache, 16-bit WAV where the samples are exact multiples of 1/32768 (as those decoded from LibriSpeech are), float WAV
otherwise, so no bit is lost; the folder in the cache is named by a hash of names, sizes and times of the files, is written beside its
final place and renamed. A changed file makes another one. Rejected: a lhotse source that reads HDF5 (h5py in every loader process, and
a path that no other tool can open); WAV files beside the originals (a corpus is often read-only).

Ids are paths without suffix. Buckets are folders by duration (`0-1`, `1-2`, ... seconds); `splits_from: folder` makes each a split, so an
experiment can name the lengths it is about.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.io import wavfile

from auscult.corpora.base import LISTED_PROBLEMS, Corpus, FileProblem, Utterance, resolve
from auscult.corpora.hdf5_files import SUFFIXES, UnusableFile, read_utterance
from auscult.corpora.synthetic import MANIFEST, publish
from auscult.errors import UserError
from auscult.registry import register
from auscult.runs.hdf5 import require_h5py

FORMAT = 1
"""Raised whenever the same files would give another cache; part of its key."""

PATH_FIELDS = ("segment_file_paths", "file_paths", "file_path")


@register("corpus", "hdf5_folder")
class Hdf5Folder(Corpus):
    """One HDF5 file per utterance; `custom` holds `bucket` and the further fields of the file.

    Args:
        source: folder that holds the files, at any depth.
        sample_rate: in hertz, of files that state none.
        split: name of the one split, where folders are none.
        splits_from: "folder" makes a split of each folder below `source`, such as a bucket of durations.
        speaker_pattern: regular expression that finds the speaker, as its first group, in the field segment_file_paths (or file_paths), or,
            where there is none, in the path below `source`; null takes the field speaker, if there is one. For LibriSpeech:
            (\\d+)-\\d+-\\d+.
        error_budget: number of unusable files that may be left out.
        cache: folder that keeps the decoded audio; `$AUSCULT_CACHE` or `~/.cache/auscult` if left out.
    """

    name = "hdf5_folder"

    def __init__(
        self,
        source: str,
        sample_rate: Annotated[int, Field(gt=0)] = 16000,
        split: Annotated[str, Field(min_length=1)] = "all",
        splits_from: Literal["nothing", "folder"] = "nothing",
        speaker_pattern: str | None = None,
        error_budget: Annotated[int, Field(ge=0)] = 0,
        cache: str | None = None,
    ) -> None:
        super().__init__()
        self.source = source
        self.sample_rate = sample_rate
        self.split = split
        self.splits_from = splits_from
        self.speaker_pattern = speaker_pattern
        self.error_budget = error_budget
        self.cache = cache
        self._pattern = None if speaker_pattern is None else _compiled(speaker_pattern)

    def utterances(self) -> Iterable[Utterance]:
        """Yield the utterances in the order of their paths; the first call decodes them, later ones read the cache.

        Raises:
            MissingExtra: h5py is not installed, and the cache does not hold these files yet.
            UserError: no HDF5 file, more unusable ones than the budget (each with its reason), or a cache that cannot be written.
        """
        root = resolve(self.source)
        files = [path for path in sorted(root.rglob("*")) if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
        if not files:
            raise UserError(f"{root} holds no .h5 or .hdf5 file; expected <bucket>/<name>.h5 below it")
        folder = self._folder(root, files)
        if not (folder / MANIFEST).is_file():
            try:
                self._build(root, files, folder)
            except OSError as error:
                reason = f"cannot write the cache {folder.parent} ({error.strerror})"
                raise UserError(f"{reason}; free some space, or set AUSCULT_CACHE to a folder you may write to") from error
        found = list(self._read_cache(root, folder))
        self._check_reasons()
        return found

    def _folder(self, root: Path, files: list[Path]) -> Path:
        cache = self.cache or os.environ.get("AUSCULT_CACHE") or "~/.cache/auscult"
        states = [(path.relative_to(root).as_posix(), (status := path.stat()).st_size, status.st_mtime_ns) for path in files]
        text = json.dumps([FORMAT, self.sample_rate, str(root), states])
        key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        return Path(cache).expanduser().resolve() / "hdf5" / f"{root.name}-{key}"

    def _build(self, root: Path, files: list[Path], folder: Path) -> None:
        """Decode everything beside the final place, and rename it there."""
        require_h5py("the corpus hdf5_folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            with (draft / MANIFEST).open("w", encoding="utf-8") as manifest:
                for path in files:
                    row = self._decode(path, path.relative_to(root), draft)
                    manifest.write(json.dumps(row, ensure_ascii=False) + "\n")
            draft.chmod(0o755)
            publish(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _decode(self, path: Path, inside: Path, draft: Path) -> dict[str, Any]:
        try:
            stored = read_utterance(path, self.sample_rate)
        except UnusableFile as error:
            return {"path": inside.as_posix(), "problem": error.problem.problem, "detail": error.problem.detail}
        audio = inside.with_name(f"{inside.name}.wav")
        (draft / audio).parent.mkdir(parents=True, exist_ok=True)
        wavfile.write(draft / audio, stored.sample_rate, _exact_integers(stored.samples))
        return {
            "path": inside.as_posix(),
            "audio": audio.as_posix(),
            "bytes": (draft / audio).stat().st_size,
            "sample_rate": stored.sample_rate,
            "samples": len(stored.samples),
            "text": stored.transcript,
            "further": stored.further,
        }

    def _read_cache(self, root: Path, folder: Path) -> Iterator[Utterance]:
        for line in (folder / MANIFEST).read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            inside = Path(row["path"])
            if "problem" in row:
                self.problems.append(FileProblem(root / inside, row["problem"], row["detail"]))
                continue
            audio = folder / row["audio"]
            if not audio.is_file() or audio.stat().st_size != row["bytes"]:
                raise UserError(f"the cached audio in {folder} is damaged ({audio.name}); delete that folder and it is made again")
            further, bucket = row["further"], inside.parts[0] if len(inside.parts) > 1 else None
            if self.splits_from == "folder" and bucket is None:
                self.problems.append(FileProblem(root / inside, "misnamed", f"{root / inside} lies in no folder that could be its split"))
                continue
            speaker = self._speaker(inside.as_posix(), further)
            if speaker is None and self._pattern is not None:
                detail = f"{root / inside} does not say who speaks; speaker_pattern {self.speaker_pattern!r} finds none"
                self.problems.append(FileProblem(root / inside, "misnamed", detail))
                continue
            yield Utterance(
                id=inside.with_suffix("").as_posix(),
                audio=audio,
                split=bucket if self.splits_from == "folder" and bucket else self.split,
                text=row["text"],
                speaker=speaker,
                sample_rate=row["sample_rate"],
                samples=row["samples"],
                custom={**({"bucket": bucket} if bucket else {}), **{key: further[key] for key in further if key != "speaker"}},
            )

    def _speaker(self, inside: str, further: dict[str, Any]) -> str | None:
        if self._pattern is None:
            return str(further["speaker"]) if "speaker" in further else None
        paths = next((further[key] for key in PATH_FIELDS if key in further), inside)
        match = self._pattern.search(str(paths[0] if isinstance(paths, list) and paths else paths))
        return match.group(1) if match is not None else None

    def _check_reasons(self) -> None:
        """Refuse too many unusable files with their reasons: "empty" alone does not say which field an HDF5 file lacks."""
        if len(self.problems) <= self.error_budget:
            return
        listed = "; ".join(problem.detail for problem in self.problems[:LISTED_PROBLEMS])
        more = f"; and {len(self.problems) - LISTED_PROBLEMS} more" if len(self.problems) > LISTED_PROBLEMS else ""
        raise UserError(
            f"hdf5_folder: {len(self.problems)} of the files cannot be used and error_budget is {self.error_budget}: {listed}{more}; "
            f"repair or remove them, or set error_budget: {len(self.problems)} to leave them out"
        )


def _exact_integers(samples: NDArray[np.float32]) -> NDArray[Any]:
    """Return int16 if that is exact, the samples otherwise."""
    integers = samples * np.float32(32768)
    rounded = np.rint(integers)
    exact = bool((integers == rounded).all()) and float(rounded.min()) >= -32768 and float(rounded.max()) <= 32767
    return rounded.astype(np.int16) if exact else samples


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"hdf5_folder: speaker_pattern {pattern!r} is no regular expression ({error})") from error
    if compiled.groups < 1:
        raise UserError(f"hdf5_folder: speaker_pattern {pattern!r} has no group; put the speaker in parentheses, as in '(\\d+)-\\d+-\\d+'")
    return compiled
