"""auscult: train, check, compare and ship speech models, and report only what is so.

Every verb of the command line is one call here, imported when it is first used:

    >>> import auscult
    >>> result = auscult.train("recipes/recognition/fsdd_digits.yaml", "seed=7")  # doctest: +SKIP
    >>> auscult.evaluate(result.run, split="test").summary["metrics"]["wer"]  # doctest: +SKIP
    >>> auscult.load(result.run).transcribe(["some.wav"])  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "Recipe": "auscult.recipe",
    "RunIndex": "auscult.runs.index",
    "attack": "auscult.privacy.run",
    "attack_sweep": "auscult.privacy.sweep",
    "audit": "auscult.training.audit",
    "check": "auscult.training.check",
    "evaluate": "auscult.training.evaluate",
    "evaluate_diarization": "auscult.serving.diarization_evaluation",
    "generate_polsess": "auscult.corpora.generation.generate",
    "inspect_recipe": "auscult.training.cost",
    "load": "auscult.serving.recognizer",
    "load_diarizer": "auscult.serving.diarizer",
    "load_embedder": "auscult.serving.embedder",
    "load_separator": "auscult.serving.separator",
    "prepare": "auscult.corpora.prepare",
    "score_der": "auscult.metrics.der_scoring",
    "score_eer": "auscult.metrics.trial_scores",
    "score_separation": "auscult.metrics.separation_scoring",
    "score_wer": "auscult.metrics.scoring",
    "train": "auscult.training.train",
    "write_report": "auscult.report.html",
}

__all__ = [
    "Recipe",
    "RunIndex",
    "attack",
    "attack_sweep",
    "audit",
    "check",
    "evaluate",
    "evaluate_diarization",
    "generate_polsess",
    "inspect_recipe",
    "load",
    "load_diarizer",
    "load_embedder",
    "load_separator",
    "prepare",
    "score_der",
    "score_eer",
    "score_separation",
    "score_wer",
    "train",
    "write_report",
]

if TYPE_CHECKING:
    from auscult.corpora.generation.generate import generate_polsess
    from auscult.corpora.prepare import prepare
    from auscult.metrics.der_scoring import score_der
    from auscult.metrics.scoring import score_wer
    from auscult.metrics.separation_scoring import score_separation
    from auscult.metrics.trial_scores import score_eer
    from auscult.privacy.run import attack
    from auscult.privacy.sweep import attack_sweep
    from auscult.recipe import Recipe
    from auscult.report.html import write_report
    from auscult.runs.index import RunIndex
    from auscult.serving.diarization_evaluation import evaluate_diarization
    from auscult.serving.diarizer import load_diarizer
    from auscult.serving.embedder import load_embedder
    from auscult.serving.recognizer import load
    from auscult.serving.separator import load_separator
    from auscult.training.audit import audit
    from auscult.training.check import check
    from auscult.training.cost import inspect_recipe
    from auscult.training.evaluate import evaluate
    from auscult.training.train import train


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'auscult' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
