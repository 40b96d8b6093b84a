"""A folder that appears whole or not at all.

Problem: a corpus is written for minutes or hours, and half of one looks like a small one. Choice: it is filled under the name of a draft
that holds the number of this process and put in its place by one rename; the draft of a process that was killed is known as such, and
removed by the next that is made beside it. A folder cannot be replaced in one step, so an old one is moved aside first and comes back if
the rename fails.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from auscult.errors import UserError
from auscult.runs.files import remove_leftovers, temporary_name


@contextmanager
def draft_folder(output: Path, what: str) -> Iterator[Path]:
    """Make a folder beside the output, and put it in its place if the block succeeds; otherwise remove it.

    Args:
        output: absolute path; what is there is replaced.
        what: is written, for messages, such as "the prepared corpus".

    Raises:
        UserError: the disk is full, or may not be written to.
    """
    draft = temporary_name(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(output.parent)
        draft.mkdir()
        yield draft
        _swap(draft, output)
    except OSError as error:
        raise UserError(f"cannot write {what} to {output} ({error.strerror}); free some space or choose another folder") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _swap(draft: Path, output: Path) -> None:
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
