"""From a corpus to manifests on disk: decode everything once, write one CutSet per split and a description.

Problem: headers cannot show NaN samples or a compressed stream that breaks off, and finding out in the third hour of training
is late. Choice: `prepare` decodes every file once (all problems are listed together and counted against the corpus's error
budget), then writes `<split>.jsonl.gz` and `corpus.json` into a folder that appears in one rename; of conversations also
`<split>.rttm` and `<split>.uem`, and the trial lists a corpus brings, so that a judgement needs nothing else. The recipe then
names `manifests` with that folder and starts without reading a header. Corpora used directly get the header check only; the
training loader meets the rest.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from auscult.audio.reading import AudioError, read_audio
from auscult.corpora.base import DESCRIPTION, Corpus, FileProblem, check_budget, problem_record
from auscult.corpora.references import write_references
from auscult.errors import UserError

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import MonoCut


@dataclass(frozen=True)
class PreparedCorpus:
    """What `prepare` wrote.

    Attributes:
        folder: absolute path, for `manifests`.
        description: the content of `corpus.json`: name, parameters, check, splits (utterances, hours, speakers, sha256 of the
            manifest's text), problems; "supervisions": "many" for conversations, and "files" where the corpus brings trial lists.
        problems: the files that were left out.
    """

    folder: Path
    description: dict[str, Any]
    problems: tuple[FileProblem, ...]


def prepare(corpus: Corpus, output: Path | str, check: Literal["full", "header"] = "full", threads: int = 1) -> PreparedCorpus:
    """Write the manifests of a corpus.

    Args:
        corpus: what to prepare.
        output: folder to make; a folder prepared earlier is replaced.
        check: "full" decodes every file, "header" trusts what the headers say.
        threads: decoding threads; they change nothing but the time (two made no difference to FLAC files on a warm disk).

    Raises:
        UserError: unusable corpus, more unusable files than its error budget, or an output folder that holds something
            else or cannot be written.
    """
    output = Path(output).expanduser().absolute()
    if output.exists() and not (output / DESCRIPTION).is_file() and not (output.is_dir() and not any(output.iterdir())):
        raise UserError(f"{output} exists and is not a prepared corpus; choose another output folder, or remove it")
    splits = corpus.splits()
    problems = list(corpus.problems)
    if check == "full":
        found = decode_problems((cut for cuts in splits.values() for cut in cuts), threads)
        problems += found.values()
        check_budget(problems, corpus.error_budget, corpus.name)
        splits = _without(splits, set(found))
        if not splits:
            raise UserError(f"{corpus.name}: no usable audio is left; all {len(problems)} files were left out")
    description: dict[str, Any] = {
        "name": corpus.name,
        "parameters": corpus.parameters(),
        "check": check,
        "splits": {},
        "problems": [problem_record(problem) for problem in problems],
    }
    if any(len(cut.supervisions) != 1 for cuts in splits.values() for cut in cuts):
        description["supervisions"] = "many"
    attachments = corpus.attachments()
    if attachments:
        description["files"] = sorted(attachments)
    try:
        _write(output, splits, attachments, description)
    except OSError as error:
        raise UserError(
            f"cannot write the prepared corpus to {output} ({error.strerror}); free some space or choose another folder"
        ) from error
    return PreparedCorpus(output, description, tuple(problems))


def decode_problems(cuts: Iterable[MonoCut], threads: int = 1) -> dict[str, FileProblem]:
    """Decode every file once and return what is wrong with them, by path, in the order of the cuts."""
    expected = {source.source: (cut.recording.sampling_rate, cut.recording.num_samples) for cut in cuts for source in cut.recording.sources}
    with ThreadPoolExecutor(threads) as pool:
        results = pool.map(_decode_problem, expected, expected.values())
        return {path: problem for path, problem in zip(expected, results, strict=True) if problem is not None}


def _decode_problem(path: str, stated: tuple[int, int]) -> FileProblem | None:
    try:
        decoded, sample_rate = read_audio(Path(path))
    except AudioError as error:
        return FileProblem(Path(path), error.problem, str(error))
    if (sample_rate, len(decoded)) == stated:
        return None
    problem = "truncated" if sample_rate == stated[0] and len(decoded) < stated[1] else "mismatch"
    detail = f"{path} holds {len(decoded)} samples at {sample_rate} Hz, its manifest says {stated[1]} at {stated[0]} Hz"
    return FileProblem(Path(path), problem, detail)


def _without(splits: Mapping[str, CutSet], paths: set[str]) -> dict[str, CutSet]:
    from lhotse import CutSet

    if not paths:
        return dict(splits)
    kept = {
        split: [cut for cut in cuts if not any(source.source in paths for source in cut.recording.sources)]
        for split, cuts in splits.items()
    }
    return {split: CutSet.from_cuts(cuts) for split, cuts in kept.items() if cuts}


def _write(output: Path, splits: Mapping[str, CutSet], attachments: Mapping[str, Path], description: dict[str, Any]) -> None:
    """Fill a folder beside the output, then swap it in; fills the description's counts."""
    output.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        for split, cuts in splits.items():
            digest = _write_cuts(cuts, draft / f"{split}.jsonl.gz")
            write_references(cuts, draft / split)
            description["splits"][split] = {**_counts(cuts), "sha256": digest}
        for name, path in attachments.items():
            if (draft / name).exists() or name == DESCRIPTION:
                raise UserError(f"{path} has the name of a file that is written to the prepared folder; rename it")
            shutil.copyfile(path, draft / name)
        with (draft / DESCRIPTION).open("w", encoding="utf-8") as file:
            json.dump(description, file, ensure_ascii=False, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(0o755)
        _swap(draft, output)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_cuts(cuts: CutSet, path: Path) -> str:
    """Write a CutSet with the same bytes for the same cuts, and return the sha256 of its text."""
    digest = hashlib.sha256()
    with path.open("wb") as file, gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0) as packed:
        for cut in cuts:
            line = json.dumps(cut.to_dict(), ensure_ascii=False).encode() + b"\n"
            digest.update(line)
            packed.write(line)
    return digest.hexdigest()


def _counts(cuts: CutSet) -> dict[str, Any]:
    speakers = {turn.speaker for cut in cuts for turn in cut.supervisions} - {None}
    hours = sum(cut.duration for cut in cuts) / 3600
    return {"utterances": len(cuts), "hours": round(hours, 6), "speakers": len(speakers)}


def _swap(draft: Path, output: Path) -> None:
    """Put the draft in the place of the output; a folder cannot be replaced in one step, so the old one is moved aside first."""
    if not output.exists():
        draft.rename(output)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{output.name}-old-", dir=output.parent))
    output.rename(aside / output.name)
    try:
        draft.rename(output)
    except OSError:
        (aside / output.name).rename(output)
        raise
    finally:
        shutil.rmtree(aside)
