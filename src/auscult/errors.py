"""Errors a person can act on.

Everything a user can get wrong (a key, a file, a folder, a missing extra) is raised as a `UserError`, whose text is one
clear sentence: what is wrong, where, what was expected, what to do. The command line prints it without a traceback and
exits with 2. Anything else that escapes is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input. The message names the file, line or key, what was expected, and what to do; exit code 2."""

    exit_code = 2


class RunFailed(Exception):
    """A run or a check did what it was asked and the answer is no (it diverged, it found problems); exit code 1."""

    exit_code = 1


class MissingExtra(UserError):
    """An optional dependency is not installed.

    >>> str(MissingExtra("tensorboard", "the TensorBoard sink"))
    "the TensorBoard sink needs an extra: pip install 'auscult[tensorboard]'"
    """

    def __init__(self, extra: str, what: str) -> None:
        super().__init__(f"{what} needs an extra: pip install 'auscult[{extra}]'")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean "x"?)` for the nearest known name, or an empty string.

    >>> did_you_mean("deepspech2", ["deepspeech1", "deepspeech2"])
    ' (did you mean "deepspeech2"?)'
    """
    nearest = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f' (did you mean "{nearest[0]}"?)' if nearest else ""
