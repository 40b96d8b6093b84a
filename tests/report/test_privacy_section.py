from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from auscult.report.privacy_section import privacy

EVENT = {
    "update": 40, "epsilon": 6.26, "delta": 1e-5, "noise_multiplier": 0.8, "clip": 1.0, "rate": 0.05, "accountant": "prv",
    "unit": "utterance", "neighbours": "one utterance added or removed", "sampling": "poisson", "noise_from": "the seed in the recipe",
}  # fmt: skip


def page(*events: dict[str, Any], **steps: list[float]) -> str | None:
    return privacy(SimpleNamespace(privacy=events, steps={name: np.array(values) for name, values in steps.items()}))  # type: ignore[arg-type]


def test_a_run_without_privacy_says_nothing_of_it() -> None:
    assert page() is None


def test_the_last_claim_stands_beside_what_it_is_about() -> None:
    found = page({**EVENT, "update": 20, "epsilon": 4.0}, EVENT, clipped_utterances=[1.0, 0.5, np.nan])
    assert found is not None
    assert "epsilon 6.26 at delta 1e-05, one utterance added or removed" in found
    assert "75% of those logged were clipped" in found
    assert "about one utterance" in found
    assert "does not know the seed" in found


def test_a_secret_run_says_where_its_key_is() -> None:
    found = page({**EVENT, "noise_from": "a secret key"})
    assert found is not None
    assert "delete that file" in found
    assert "does not know the seed" not in found
    assert "how many were clipped was not logged" in found
