"""What a person may set about diarization, and how many speakers they may ask for.

The defaults hold for recordings of any kind; whatever depends on the encoder (the threshold under which two voices are one) is
measured on the encoder's own validation trials instead of being a constant here (`merge_threshold`).
"""

from __future__ import annotations

from dataclasses import dataclass

from auscult.errors import UserError

CLUSTERINGS = ("agglomerative", "spectral", "vbx")


@dataclass(frozen=True)
class DiarizerSettings:
    """Settings of a diarizer.

    Attributes:
        hop: distance of windows as a share of a window.
        clustering: "agglomerative" (average linkage on cosine distances), "spectral" (number of speakers from the largest eigengap) or
            "vbx" (tight clusters, which a variational Bayes model then gives up where they explain nothing).
        threshold: cosine similarity above which two voices count as one person, for agglomerative clustering and VBx.
        shortest_pause: seconds; a shorter pause of a speaker is filled. The default is the shortest pause that ends a turn in the simulated
            conversations that segmentation is trained on.
        shortest_turn: seconds; a shorter turn is dropped.
    """

    hop: float = 0.05
    clustering: str = "agglomerative"
    threshold: float = 0.5
    shortest_pause: float = 0.5
    shortest_turn: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.hop <= 1:
            raise UserError(f"hop: {self.hop} of a window; expected more than 0 and at most 1")
        if self.clustering not in CLUSTERINGS:
            raise UserError(f'clustering "{self.clustering}" is not known; choose {", ".join(CLUSTERINGS)}')
        if not -1 <= self.threshold <= 1:
            raise UserError(f"threshold: {self.threshold}; a cosine similarity lies between -1 and 1")
        if self.shortest_pause < 0 or self.shortest_turn < 0:
            raise UserError("shortest_pause and shortest_turn are seconds, 0 or more")


@dataclass(frozen=True)
class Speakers:
    """How many speakers may be found, where anybody speaks.

    Attributes:
        minimum: fewest, at least 1.
        maximum: most; None sets no limit.
    """

    minimum: int = 1
    maximum: int | None = None

    @classmethod
    def of(cls, speakers: int | None, minimum: int = 1, maximum: int | None = None) -> Speakers:
        """Return the range that a number, or two bounds, stand for.

        Raises:
            UserError: a number below 1, or numbers that contradict one another.

        >>> Speakers.of(None, 2, 4)
        Speakers(minimum=2, maximum=4)
        """
        for name, number in (("speakers", speakers), ("minimum", minimum), ("maximum", maximum)):
            if number is not None and number < 1:
                raise UserError(f"{name} is {number}; expected at least 1 speaker")
        if maximum is not None and maximum < minimum:
            raise UserError(f"at least {minimum} and at most {maximum} speakers contradict one another; swap the numbers")
        if speakers is None:
            return cls(minimum, maximum)
        if speakers < minimum or (maximum is not None and speakers > maximum):
            raise UserError(f"{speakers} speakers lie outside of {minimum} to {maximum or 'any number'}; give the number or the bounds")
        return cls(speakers, speakers)

    def allow(self, number: int) -> bool:
        """Whether there may be as many as `number`.

        >>> Speakers(2, 4).allow(7)
        False
        """
        return self.maximum is None or number <= self.maximum

    def shortfall(self, found: int) -> list[str]:
        """Return a sentence if fewer were found than asked for, where anybody was found at all.

        >>> Speakers(3, 3).shortfall(2)
        ['3 speakers were asked for and only 2 can be told apart']
        """
        if 0 < found < self.minimum:
            return [f"{self.minimum} speakers were asked for and only {found} can be told apart"]
        return []
