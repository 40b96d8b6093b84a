"""The columns and folders of a PolSESS corpus, which its reader and its generator must agree on to the letter.

Scripts in use read the table by these names, so they are kept as published, "Oryginal" included. One place for both sides: with a list
in each, a corpus could be written that only its own writer understands. Source: PolSESS's public MATLAB code, and corpora made by it.
"""

from __future__ import annotations

COLUMNS = (
    "subset",
    "speech1OryginalPath",
    "speech1Start",
    "speech1End",
    "speech2OryginalPath",
    "speech2Start",
    "speech2End",
    "SSR",
    "sceneOryginalPath",
    "sceneStart",
    "sceneEnd",
    "sceneRandomDB",
    "sceneOffsetDB",
    "sceneVolumeGain",
    "eventOryginalPath",
    "eventStart",
    "eventEnd",
    "speaker1File",
    "speaker2File",
    "eventFile",
    "sceneFile",
    "reverbForSpeaker1",
    "reverbForSpeaker2",
    "reverbForEvent",
    "mixFile",
    "sceneClass",
    "eventClass",
    "preDelayForEvent",
    "preDelay1",
    "preDelay2",
    "highCut",
    "diffusion",
    "decay",
    "freqDamp",
)
"""The 34 columns of the table of a split, in order."""

FOLDERS = ("clean", "mix", "scene", "event", "sp1_reverb", "sp2_reverb", "ev_reverb")
"""The folders of a split; both speakers lie in "clean"."""

FOLDER_OF_COLUMN = {
    "speaker1File": "clean",
    "speaker2File": "clean",
    "sceneFile": "scene",
    "eventFile": "event",
    "reverbForSpeaker1": "sp1_reverb",
    "reverbForSpeaker2": "sp2_reverb",
    "reverbForEvent": "ev_reverb",
    "mixFile": "mix",
}
"""The folder in which the file that a column names lies."""

SPLITS = ("train", "val", "test")
"""The folders of a corpus, one per split."""


SPEAKER_TABLE = "speakers.csv"
"""Beside the splits, where paths of sources do not say who speaks: columns path (as in the tables) and speaker."""


def table_name(corpus: str, split: str) -> str:
    """Return the name of the table of a split of the corpus whose folder has the name `corpus`.

    >>> table_name("PolSESS_C_in", "val")
    'corpus_PolSESS_C_in_val_final.csv'
    """
    return f"corpus_{corpus}_{split}_final.csv"
