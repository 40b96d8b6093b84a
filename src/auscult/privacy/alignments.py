"""How long an utterance stays at each symbol of a transcript: for many transcripts at once, and for one that is not decided yet.

Problem: a search for transcripts asks for the posteriors of hundreds of candidates at a time, thousands of times; kernels of CTC are
built for gradients, one target a row. Choice: forward and backward passes in NumPy over all candidates together, frame by frame, rescaled.
Rescaling loses digits where a network is sure and a candidate contradicts it, which misleads a search and must never decide: what is
claimed of a transcript is computed by `auscult.losses.ctc.occupancy`. A transcript that is not decided holds a distribution over characters
at each place; it emits their mixture, which makes the question "what stands where" a linear one (`auscult.privacy.transcript_search`).

Symbols: T frames, L symbols, C classes, N candidates; states 0 .. 2L are blank, symbol, blank, ... (Graves et al. 2006).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Tokens = NDArray[np.int64]
_TINY = 1e-300


def symbol_occupancies(probabilities: Array, transcripts: Tokens, blank: int) -> tuple[Array, Array]:
    """Return the posteriors of each place of each transcript, (N, T, L), and of the blank, (N, T).

    Args:
        probabilities: (T, C) of the network.
        transcripts: (N, L) without blanks; each must fit into the frames.
        blank: class of the blank.

    >>> places, blanks = symbol_occupancies(np.full((2, 2), 0.5), np.array([[0]]), 1)
    >>> places[0, :, 0].round(4).tolist(), blanks[0].round(4).tolist()
    ([0.6667, 0.6667], [0.3333, 0.3333])
    """
    count, symbols = transcripts.shape
    states = np.full((count, 2 * symbols + 1), blank)
    states[:, 1::2] = transcripts
    skips = np.zeros(states.shape)
    skips[:, 3::2] = transcripts[:, 1:] != transcripts[:, :-1]
    posteriors = _posteriors(probabilities[:, states], skips)  # (T, N, states)
    return posteriors[:, :, 1::2].transpose(1, 0, 2), posteriors[:, :, 0::2].sum(2).T


def class_posteriors(probabilities: Array, transcripts: Tokens, blank: int) -> Array:
    """Return the posteriors of each class under each transcript, (N, T, C); arguments as `symbol_occupancies`."""
    places, blanks = symbol_occupancies(probabilities, transcripts, blank)
    count, symbols = transcripts.shape
    chosen = np.zeros((count, symbols, probabilities.shape[1]))
    chosen[np.arange(count)[:, None], np.arange(symbols)[None], transcripts] = 1.0
    posteriors: Array = places @ chosen
    posteriors[:, :, blank] = blanks
    return posteriors


def undecided_occupancies(probabilities: Array, shares: Array, blank: int) -> tuple[Array, Array]:
    """Return the posteriors of each place, (T, L), of a transcript that is not decided, and what each place emits, (T, L).

    Args:
        probabilities: (T, C).
        shares: (L, C), of each character at each place; rows sum to one. Neighbours skip the blank between them as far as they differ.
        blank: class of the blank.
    """
    frames, symbols = len(probabilities), len(shares)
    emitted = probabilities @ shares.T  # (T, L)
    emissions = np.empty((frames, 1, 2 * symbols + 1))
    emissions[:, 0, 0::2] = probabilities[:, [blank]]
    emissions[:, 0, 1::2] = emitted
    skips = np.zeros((1, 2 * symbols + 1))
    skips[0, 3::2] = 1 - (shares[1:] * shares[:-1]).sum(1)
    return _posteriors(emissions, skips)[:, 0, 1::2], emitted


def _posteriors(emissions: Array, skips: Array) -> Array:
    """Return the posteriors of states (T, N, states) of emissions (T, N, states) and weights (N, states) of jumps over a blank."""
    forward, backward = np.zeros_like(emissions), np.zeros(skips.shape)
    forward[0, :, :2] = emissions[0, :, :2]
    for frame in range(1, len(emissions)):
        before = _scaled(forward[frame - 1])
        reached = before.copy()
        reached[:, 1:] += before[:, :-1]
        reached[:, 2:] += skips[:, 2:] * before[:, :-2]
        forward[frame] = reached * emissions[frame]
    backward[:, -2:] = 1.0
    posteriors = np.empty_like(emissions)
    posteriors[-1] = _scaled(forward[-1] * backward)
    for frame in range(len(emissions) - 2, -1, -1):
        after = backward * emissions[frame + 1]
        backward = after.copy()
        backward[:, :-1] += after[:, 1:]
        backward[:, :-2] += skips[:, 2:] * after[:, 2:]
        backward = _scaled(backward)
        posteriors[frame] = _scaled(forward[frame] * backward)
    return posteriors


def _scaled(values: Array) -> Array:
    scaled: Array = values / np.maximum(values.sum(-1, keepdims=True), _TINY)
    return scaled
