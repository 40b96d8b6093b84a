"""What a person can see and hear of an attack: arrays for pictures, and sounds of a few utterances.

The utterances are those at the quartiles of the score, so that neither the worst nor the best can be left out. A reconstruction is heard
beside the true features through the same door: what that door spoils (phases, cepstra, the loudness of the utterance) is no merit of a
defence.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch

from auscult.errors import UserError
from auscult.metrics.reconstruction import Array
from auscult.privacy.revocode import Revocoder
from auscult.runs.directory import RunDirectory
from auscult.runs.files import replace_folder, write_atomic, write_json
from auscult.streams import Streams
from auscult.training.listening import SCALING, Sounds, choose, levels, write_sounds

Examples = Literal["quartiles", "median", "none"]
RECONSTRUCTED = "synthetic reconstruction"
"""What every reconstructed sound is called."""
CAUTION = "sounds called synthetic reconstruction were computed from a message; nobody said them into a microphone"


def keep(
    run: RunDirectory,
    items: Sequence[Mapping[str, Any]],
    truths: Mapping[str, tuple[Array, Array]],
    found: Mapping[str, tuple[Array | None, Sequence[int]]],
    revocoder: Revocoder,
    sample_rate: int,
    streams: Streams,
    examples: Examples = "quartiles",
) -> list[str]:
    """Save pictures and sounds of a few utterances; return sentences about what could not be heard.

    Args:
        run: gets `arrays/<place>.npz`, `listening/attack/` and `listening/attack.json`.
        items: records with "snr".
        truths: features and samples by utterance.
        found: reconstruction by utterance, and the utterances of the pool in its message.
        revocoder: turns features into sound.
        sample_rate: of the samples.
        streams: draw first phases.
        examples: which utterances by score.

    Raises:
        UserError: a file cannot be written.
    """
    chosen = choose([dict(item) for item in items], "snr", False)
    chosen = {"quartiles": chosen, "median": chosen[len(chosen) // 2 :][:1], "none": []}[examples]
    if not chosen:
        return []
    records, heard, notes = [], list[Sounds](), list[str]()
    for number, (place, item) in enumerate(chosen, start=1):
        name = str(item["id"])
        true, samples = truths[name]
        attack, together = found[name]
        made = np.zeros_like(true) if attack is None else attack
        stream = io.BytesIO()
        np.savez_compressed(stream, truth=true, reconstruction=made, id=np.array(name), place=np.array(place))
        write_atomic(run.arrays_folder / f"{number}.npz", stream.getvalue())
        sounds: Sounds = {"original": samples.astype(np.float32)}
        if revocoder.audible:
            scale = revocoder.scale(together)
            for label, features in (("true features as sound", true), (RECONSTRUCTED, made)):
                try:
                    generator = torch.Generator().manual_seed(streams.integer("phases", name))
                    sounds[label] = revocoder.sound(features, scale, generator).numpy()
                except UserError as error:
                    notes.append(f"{name}, {label}: {error}")
        heard.append(sounds)
        seconds = max(len(one) for one in sounds.values()) / sample_rate
        records.append({"id": name, "place": place, "value": float(item["snr"]), "seconds": seconds, **levels(number, sounds)})
    replace_folder(run.listening / "attack", lambda folder: write_sounds(folder, records, heard, sample_rate))
    told = {"split": "attack", "metric": "SNR of features in dB", "lower_is_better": False, "sample_rate": sample_rate}
    write_json(run.listening / "attack.json", {**told, "scaling": f"{SCALING}; {CAUTION}", "items": records})
    return notes
