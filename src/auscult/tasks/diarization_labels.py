"""What the diarization task counts: shares of classes before training, wrong frames after it, and the refusals that follow from them.

Kept apart from the task, which only says which of these exist. A label map that is 70 to 30 for no reason, or a split that is nearly all
silence because its turns did not arrive, trains as smoothly as any other; so the shares are computed from the turns before any audio is
read, printed by the audit, and refused where no task is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from auscult.data.turns import clipped, frame_activity, turns_of
from auscult.data.windows import Windows
from auscult.errors import UserError
from auscult.losses.powerset import Powerset
from auscult.tasks.base import Item

MOST_WINDOWS = 2000
"""Windows that shares are counted over; of a larger split every k-th is taken."""


def class_shares(windows: Windows, powerset: Powerset, centres: Callable[[int], np.ndarray], sample_rate: int) -> dict[str, float]:
    """Return the share of the frames of each class, from the turns alone.

    Args:
        windows: of a split.
        powerset: the classes.
        centres: instants of the model's frames (seconds) for a number of samples.
        sample_rate: of the model, in hertz.
    """
    chosen = list(windows)[:: max(1, -(-len(windows) // MOST_WINDOWS))]
    counts = torch.zeros(powerset.classes, dtype=torch.int64)
    turns = {id(window.source): turns_of(window.source) for window in chosen}
    for window in chosen:
        start, end = window.start / sample_rate, (window.start + window.count) / sample_rate
        inside = clipped(turns[id(window.source)], start, end)
        active = frame_activity(inside, centres(window.count), sorted({turn.speaker for turn in inside}))
        classes = powerset.to_classes(powerset.most_active(torch.from_numpy(active)[None]))
        counts += torch.bincount(classes.flatten(), minlength=powerset.classes)
    total = max(1, int(counts.sum()))
    return {label: count / total for label, count in zip(powerset.labels, counts.tolist(), strict=True)}


def check_prior(shares: dict[str, float], largest: float) -> None:
    """Refuse training frames of which nearly all have the same number of speakers.

    Raises:
        UserError: names the number and its share.
    """
    sizes: dict[int, float] = {}
    for label, share in shares.items():
        size = 0 if label == "none" else label.count("+") + 1
        sizes[size] = sizes.get(size, 0.0) + share
    size, share = max(sizes.items(), key=lambda one: (one[1], one[0]))
    if share > largest:
        who = "nobody" if size == 0 else f"{size} speaker{'s' if size > 1 else ''}"
        listed = ", ".join(f"{label} {100 * one:.1f} %" for label, one in shares.items())
        raise UserError(
            f"data.train: in {100 * share:.1f} % of the frames {who} {'speak' if size > 1 else 'speaks'} ({listed}), so the same answer is "
            f"nearly always right; do the turns belong to these recordings? (task.largest_share: {largest:g})"
        )


def class_errors(target: Tensor, found: Tensor, powerset: Powerset) -> dict[str, Any]:
    """Return wrong frames of one window under the best order of speakers, and the frames that constant answers get right.

    Args:
        target: (frames,) int64 true classes.
        found: (frames,) int64.
        powerset: the classes.

    Returns:
        frame_errors; silent_frames, single_frames and pair_frames: frames of the empty class, of the most frequent class of one
        speaker and of the most frequent larger class; and classes: frames by true (rows) and found class (columns), found speakers named
        as that order says.
    """
    classes = powerset.classes
    table = torch.bincount(target * classes + found, minlength=classes * classes).view(classes, classes)  # (true, found)
    right = table[torch.arange(classes), powerset.class_permutations].sum(dim=1)  # (orders,)
    best = powerset.class_permutations[int(right.argmax())]  # (classes,): the found class that each true class should have become
    counts = torch.bincount(target, minlength=classes)
    singles, larger = counts[1 : powerset.speakers + 1], counts[powerset.speakers + 1 :]
    return {
        "frame_errors": int(len(target) - right.max()),
        "silent_frames": int(counts[0]),
        "single_frames": int(singles.max()),
        "pair_frames": int(larger.max()) if len(larger) else 0,
        "classes": table[:, best].tolist(),
    }


def summary(items: Sequence[Item]) -> dict[str, float]:
    """Return the metrics of judged windows: ratios of sums over windows."""

    def total(key: str) -> int:
        return sum(int(item[key]) for item in items)

    frames, speech = max(total("frames"), 1), max(total("speech"), 1)
    found, claimed, overlap = total("overlap_found"), total("overlap_claimed"), total("overlap")
    return {
        "frame_error": total("frame_errors") / frames,
        "majority_frame_error": 1 - max(total("silent_frames"), total("single_frames"), total("pair_frames")) / frames,
        "local_der_full": (total("missed") + total("false_alarm") + total("confusion")) / speech,
        "one_speaker_local_der": total("one_speaker_errors") / speech,
        "local_missed": total("missed") / speech,
        "local_false_alarm": total("false_alarm") / speech,
        "local_confusion": total("confusion") / speech,
        "speech_error": (total("speech_missed") + total("speech_false_alarm")) / frames,
        "overlap_recall": found / max(overlap, 1),
        "overlap_precision": found / max(claimed, 1),
        "loss": float(np.average([item["loss"] for item in items], weights=[item["frames"] for item in items])),
        "windows": float(len(items)),
    }
