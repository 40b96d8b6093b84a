"""Greedy decoding: the best class of every frame, repeats merged, blanks dropped.

The default, because it is fast, needs no parameters and shows what the network itself does. It finds the best alignment, not the best
text: with p(blank) = 0.6 and p(a) = 0.4 over two frames it writes "" (0.36) although "a" has 0.64 (see `prefix_beam`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auscult.data.alphabet import Alphabet
from auscult.registry import register
from auscult.tasks.decoders.checks import check_log_probabilities


@register("decoder", "greedy")
class GreedyDecoder:
    """Arg-max, merge, drop blanks; no language model.

    >>> table = Alphabet(("a", "b"))
    >>> frames = np.log([[0.8, 0.1, 0.1], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    >>> GreedyDecoder()(frames, table)
    'aab'
    """

    def __call__(self, log_probabilities: NDArray[np.floating], alphabet: Alphabet) -> str:
        """Return the text of one utterance.

        Args:
            log_probabilities: (frames, classes) natural logarithms, valid frames only, blank last.
            alphabet: the model's labels.

        Raises:
            UserError: the input is not log-probabilities over this alphabet.
        """
        check_log_probabilities(log_probabilities, alphabet)
        best = log_probabilities.argmax(axis=1)
        changed = np.diff(best, prepend=-1) != 0
        return alphabet.decode(best[changed & (best != alphabet.blank)].tolist())

    def describe(self) -> str:
        """Return the decoder in words, for every table that shows its numbers."""
        return "greedy (best class per frame), no language model"
