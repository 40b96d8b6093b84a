"""Embeddings that were computed before, by what they were computed from: weights, front-end and samples.

Problem: a list of 37,611 trials names 4,708 files, and a loop over trials embeds each file sixteen times; judging the same
checkpoint on a second list embeds them all again. A cache by file name returns stale embeddings after either side has changed.
Choice: the key is a hash of the very samples the network is given, and the file's name a hash of the weights and of everything else
that shapes an embedding, so a wrong hit is impossible. One file per set of weights, replaced whole.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auscult.runs.files import write_atomic


class EmbeddingCache:
    """Embeddings by the hash of their samples.

    Args:
        folder: where the file lies; made when something is saved.
        made_by: hash of weights, front-end and whatever else shapes an embedding; names the file.
    """

    def __init__(self, folder: Path, made_by: str) -> None:
        self.path = Path(folder) / f"embeddings-{made_by[:24]}.npz"
        self._known: dict[str, NDArray[np.float32]] = {}
        self._changed = False
        self.computed = 0
        if self.path.is_file():
            try:
                with np.load(self.path) as held:
                    self._known = dict(zip(held["keys"].tolist(), held["values"], strict=True))
            except (OSError, ValueError, KeyError, zipfile.BadZipFile):
                self._known = {}  # a damaged cache is no cache; it is written anew

    @staticmethod
    def key(samples: NDArray[np.float32]) -> str:
        """Return the hash of samples, any shape."""
        digest = hashlib.blake2b(str(samples.shape).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(samples).view(np.uint8).reshape(-1).data)
        return digest.hexdigest()

    def get(self, key: str) -> NDArray[np.float32] | None:
        """Return what was kept under a key."""
        return self._known.get(key)

    def put(self, key: str, embedding: NDArray[np.float32]) -> None:
        """Keep an embedding, of the same shape as all others."""
        self._known[key] = embedding
        self._changed = True
        self.computed += 1

    def save(self) -> None:
        """Write the file, if anything is new."""
        if not self._changed:
            return
        content = io.BytesIO()
        np.savez(content, keys=np.array(list(self._known)), values=np.stack(list(self._known.values())))
        write_atomic(self.path, content.getvalue())
        self._changed = False
