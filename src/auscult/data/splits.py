"""From the `data` section of a recipe to the cuts of each split, read once and frozen.

Every task needs the same steps: read the corpora, join their splits, select each split, join words into strings where the recipe
asks for it. The content hash of the result names the run, so a changed corpus is a different run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auscult.data.conversations import simulate_conversations
from auscult.data.mixtures import simulate_mixtures
from auscult.data.selection import manifest_hash, select
from auscult.data.strings import concatenate_words
from auscult.errors import UserError
from auscult.streams import Streams

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import Cut

    from auscult.corpora.base import Corpus
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
    """Read the corpora of a recipe and select its splits.

    Raises:
        UserError: a corpus is missing, empty or holds more problem files than its budget, two corpora share an utterance id, or a
            selection matches nothing.
    """
    data = recipe.data
    available = join_corpora({"data.corpus": data.corpus.build(), **{f"data.more.{i}": one.build() for i, one in enumerate(data.more)}})
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
        if data.conversations is not None and name in data.conversations.counts:
            random = Streams(recipe.seed).generator("conversations", name)
            cuts = simulate_conversations(cuts, data.conversations.counts[name], data.conversations, random)
        if data.mixtures is not None and name in data.mixtures.counts:
            random = Streams(recipe.seed).generator("mixtures", name)
            cuts = simulate_mixtures(cuts, data.mixtures.counts[name], data.mixtures, random)
        chosen[name] = cuts
    hashes = "".join(f"{name}:{manifest_hash(cuts)};" for name, cuts in chosen.items())
    from auscult.runs.identity import canonical_hash

    return Splits(chosen, canonical_hash(hashes))


def join_corpora(corpora: Mapping[str, Corpus]) -> dict[str, CutSet]:
    """Return the splits of several corpora; those of the same name are joined, in the order of the corpora.

    Speakers of different corpora count as the same person where they have the same name: rename those who are not.

    Args:
        corpora: by the recipe key that names them.

    Raises:
        UserError: a corpus is empty, or two share an utterance id.
    """
    from lhotse import CutSet

    joined: dict[str, list[Cut]] = {}
    owner: dict[str, str] = {}
    for key, corpus in corpora.items():
        splits = corpus.splits()
        if not any(len(cuts) for cuts in splits.values()):
            raise UserError(f"{key}: {corpus.name} holds no utterances")
        place = f"{key} ({corpus.name})"
        for name, cuts in splits.items():
            joined.setdefault(name, []).extend(cuts)
            for cut in cuts:
                if owner.setdefault(cut.id, place) != place:
                    raise UserError(
                        f'{owner[cut.id]} and {place} both have an utterance "{cut.id}"; every id must be unique over all corpora: '
                        "is the same corpus named twice, or do two folders use the same file names?"
                    )
    return {name: CutSet.from_cuts(cuts) for name, cuts in joined.items()}
