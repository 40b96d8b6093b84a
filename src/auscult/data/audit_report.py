"""What an audit says: findings with a severity, and the facts of each split, all plain values.

Findings carry a stable `code` for programs, one sentence for people, and the first few ids with the full count, so that a table of
ten rows describes a corpus of a million utterances.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "info"]
_RANK = {"error": 0, "warning": 1, "info": 2}
SHOWN = 5
"""Number of ids a finding carries."""


@dataclass(frozen=True)
class Finding:
    """One thing an audit noticed.

    Attributes:
        severity: "error" fails the audit: training or its scores would be wrong; "warning" should be known; "info" is a fact.
        code: stable name, lower_snake_case.
        message: one sentence, with the remedy.
        ids: the first utterances, speakers or files it is about.
        count: how many there are.
    """

    severity: Severity
    code: str
    message: str
    ids: tuple[str, ...] = ()
    count: int = 0


def finding(severity: Severity, code: str, message: str, ids: Iterable[str] = ()) -> Finding:
    """Return a finding about some ids, of which it keeps the first few."""
    every = list(ids)
    return Finding(severity, code, message, tuple(every[:SHOWN]), len(every))


@dataclass(frozen=True)
class SplitFacts:
    """Distributions of one split.

    Attributes:
        utterances: number.
        hours: of audio.
        speakers: number of distinct speakers.
        sample_rates: utterances by rate, hertz.
        seconds: minimum, 5 %, median, 95 % and maximum of the durations.
        characters_per_second: the same of the speaking rate; None without text.
        words: number of words.
        distinct_texts: number of different texts.
        characters: occurrences by character, most frequent first.
        labels: utterances by text, most frequent first, where texts are labels (few, and each many times); else empty.
    """

    utterances: int
    hours: float
    speakers: int
    sample_rates: dict[int, int]
    seconds: dict[str, float]
    characters_per_second: dict[str, float] | None
    words: int
    distinct_texts: int
    characters: dict[str, int]
    labels: dict[str, int]


@dataclass(frozen=True)
class AuditReport:
    """Everything an audit found; `failed` decides the exit code.

    Attributes:
        splits: facts by split name.
        findings: errors first, then warnings, then information.
        audio_checked: whether samples were read; if not, duplicates, clipping, silence and unreadable files were not looked for.
    """

    splits: dict[str, SplitFacts]
    findings: tuple[Finding, ...]
    audio_checked: bool

    @property
    def failed(self) -> bool:
        """Whether any finding is an error."""
        return any(one.severity == "error" for one in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "failed": self.failed,
            "audio_checked": self.audio_checked,
            "findings": [{**asdict(one), "ids": list(one.ids)} for one in self.findings],
            "splits": {
                name: {**asdict(facts), "sample_rates": {str(rate): count for rate, count in facts.sample_rates.items()}}
                for name, facts in self.splits.items()
            },
        }


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings with the most severe first, otherwise in the order found."""
    return tuple(sorted(findings, key=lambda one: _RANK[one.severity]))
