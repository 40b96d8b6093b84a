"""From the `data` section of a recipe to the cuts of each split, read once and frozen.

Every task needs the same three steps: read the corpus, select each split, join words into strings where the recipe asks for
it. The content hash of the result names the run, so a changed corpus is a different run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auscult.data.selection import manifest_hash, select
from auscult.data.strings import concatenate_words
from auscult.errors import UserError
from auscult.streams import Streams

if TYPE_CHECKING:
    from lhotse import CutSet

    from auscult.recipe import Recipe

NAMES = ("train", "validation", "test")


@dataclass(frozen=True)
class Splits(Mapping[str, "CutSet"]):
    """The cuts of the splits a recipe names.

    Attributes:
        cuts: by split name, in the order train, validation, test.
        hash: content hash over all of them.
    """

    cuts: dict[str, CutSet]
    hash: str

    def __getitem__(self, split: str) -> CutSet:
        """Return the cuts of a split.

        Raises:
            UserError: the recipe names no such split.
        """
        if split not in self.cuts:
            raise UserError(f'the recipe has no "{split}" split; it has {", ".join(self.cuts)}; add data.{split} to the recipe')
        return self.cuts[split]

    def __iter__(self) -> Iterator[str]:
        return iter(self.cuts)

    def __len__(self) -> int:
        return len(self.cuts)


def load_splits(recipe: Recipe) -> Splits:
    """Read the corpus of a recipe and select its splits.

    Raises:
        UserError: the corpus is missing, empty or holds more problem files than its budget, or a selection matches nothing.
    """
    data = recipe.data
    available = data.corpus.build().splits()
    if not any(len(cuts) for cuts in available.values()):
        raise UserError(f"data.corpus: {data.corpus.name} holds no utterances")
    chosen: dict[str, CutSet] = {}
    for name in NAMES:
        selection = getattr(data, name)
        if selection is None:
            continue
        cuts = select(available, selection)
        if data.concatenate is not None and name in data.concatenate.strings:
            joined = data.concatenate
            random = Streams(recipe.seed).generator("strings", name)
            cuts = concatenate_words(cuts, joined.strings[name], joined.words, joined.gap, random)
        chosen[name] = cuts
    hashes = "".join(f"{name}:{manifest_hash(cuts)};" for name, cuts in chosen.items())
    from auscult.runs.identity import canonical_hash

    return Splits(chosen, canonical_hash(hashes))
