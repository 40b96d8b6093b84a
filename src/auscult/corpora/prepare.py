"""From a corpus to manifests on disk: decode everything once, write one CutSet per split and a description.

Problem: headers cannot show NaN samples or a compressed stream that breaks off, and finding out in the third hour of training
is late. Choice: `prepare` decodes every file once (all problems are listed together and counted against the corpus's error
budget), then writes `<split>.jsonl.gz` and `corpus.json` into a folder that appears in one rename; of conversations also
`<split>.rttm` and `<split>.uem`, and the trial lists a corpus brings, so that a judgement needs nothing else. The recipe then
names `manifests` with that folder and starts without reading a header. Corpora used directly get the header check only; the
training loader meets the rest. Asked to, it keeps the decoded samples as a pack (`packs/pack.py`).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from auscult.corpora.base import DESCRIPTION, Corpus, FileProblem, check_budget, problem_record
from auscult.corpora.decoding import Progress, decode_problems, recordings_of
from auscult.corpora.drafts import draft_folder
from auscult.corpora.packs.writing import write_pack
from auscult.corpora.references import write_references
from auscult.errors import UserError

if TYPE_CHECKING:
    from lhotse import CutSet


@dataclass(frozen=True)
class PreparedCorpus:
    """What `prepare` wrote.

    Attributes:
        folder: absolute path, for `manifests`.
        description: the content of `corpus.json`: name, parameters, check, splits (utterances, hours, speakers, sha256 of the
            manifest's text), problems; "supervisions": "many" for conversations, "files" where the corpus brings trial lists, and
            "pack" (file, dtype, sample rate, samples, recordings, sha256) where the audio was packed.
        problems: the files that were left out.
    """

    folder: Path
    description: dict[str, Any]
    problems: tuple[FileProblem, ...]


def prepare(
    corpus: Corpus,
    output: Path | str,
    check: Literal["full", "header"] = "full",
    threads: int = 1,
    pack: bool = False,
    pack_rate: int | None = None,
    progress: Progress | None = None,
) -> PreparedCorpus:
    """Write the manifests of a corpus.

    Args:
        corpus: what to prepare.
        output: folder to make; a folder prepared earlier is replaced.
        check: "full" decodes every file, "header" trusts what the headers say.
        threads: decoding threads; they change nothing but the time (two made no difference to FLAC files on a warm disk).
        pack: keep the decoded samples in one file, from which training reads; checks in full.
        pack_rate: sample rate of the pack in hertz; None keeps the one of the recordings.
        progress: called while files are decoded.

    Raises:
        UserError: unusable corpus, more unusable files than its error budget, recordings that one pack cannot hold, or an output
            folder that holds something else or cannot be written.
    """
    output = Path(output).expanduser().absolute()
    if output.exists() and not (output / DESCRIPTION).is_file() and not (output.is_dir() and not any(output.iterdir())):
        raise UserError(f"{output} exists and is not a prepared corpus; choose another output folder, or remove it")
    splits = corpus.splits()
    problems = list(corpus.problems)
    description: dict[str, Any] = {"name": corpus.name, "parameters": corpus.parameters(), "check": "full" if pack else check, "splits": {}}
    with draft_folder(output, "the prepared corpus") as draft:
        packing = write_pack(splits, draft, pack_rate, progress) if pack else None
        found = packing.problems if packing else decode_problems(splits, threads, progress) if check == "full" else {}
        problems += found.values()
        check_budget(problems, corpus.error_budget, corpus.name)
        splits = _without(splits, set(found))
        if not splits:
            raise UserError(f"{corpus.name}: no usable audio is left; all {len(problems)} files were left out")
        description["problems"] = [problem_record(problem) for problem in problems]
        if packing:
            splits, description["pack"] = packing.adapted(splits), packing.stated
        _fill(draft, splits, corpus.attachments(), description)
    return PreparedCorpus(output, description, tuple(problems))


def _without(splits: Mapping[str, CutSet], paths: set[str]) -> dict[str, CutSet]:
    from lhotse import CutSet

    if not paths:
        return dict(splits)
    kept = {
        split: [cut for cut in cuts if not any(one.source in paths for recording in recordings_of(cut) for one in recording.sources)]
        for split, cuts in splits.items()
    }
    return {split: CutSet.from_cuts(cuts) for split, cuts in kept.items() if cuts}


def _fill(folder: Path, splits: Mapping[str, CutSet], attachments: Mapping[str, Path], description: dict[str, Any]) -> None:
    """Write manifests, references, lists and the description, whose counts it completes."""
    if any(len(cut.supervisions) != 1 for cuts in splits.values() for cut in cuts):
        description["supervisions"] = "many"
    if attachments:
        description["files"] = sorted(attachments)
    for split, cuts in splits.items():
        digest = _write_cuts(cuts, folder / f"{split}.jsonl.gz")
        write_references(cuts, folder / split)
        description["splits"][split] = {**_counts(cuts), "sha256": digest}
    for name, path in attachments.items():
        if (folder / name).exists() or name == DESCRIPTION:
            raise UserError(f"{path} has the name of a file that is written to the prepared folder; rename it")
        shutil.copyfile(path, folder / name)
    with (folder / DESCRIPTION).open("w", encoding="utf-8") as file:
        json.dump(description, file, ensure_ascii=False, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


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
