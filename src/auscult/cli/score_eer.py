"""`auscult score eer`: error rates of anybody's verification scores, no run needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from auscult.cli.options import AsJson
from auscult.cli.output import emit


def eer(
    scores: Annotated[Path, typer.Argument(metavar="SCORES", hidden=True)],
    speaker_separator: Annotated[
        str | None, typer.Option(help='Speaker = id up to this text ("/" for VoxCeleb); intervals resample speakers.')
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Equal error rate and detection costs of SCORES, a file of trials with score and label, with 95 % bootstrap intervals.

    One trial a line: `score label`, `label id id score`, `id id score label` and the like; labels are 1 and 0, or target and nontarget.
    """
    from auscult.metrics.trial_scores import score_eer

    value = score_eer(scores, speaker_separator=speaker_separator)
    emit(value, as_json, lambda: _text(value))


def _text(value: dict[str, Any]) -> str:
    over, intervals = value["interval_over"], value["intervals"]

    def between(name: str, factor: float = 1.0) -> str:
        return f"({factor * intervals[name][0]:.{2 if factor > 1 else 4}f} to {factor * intervals[name][1]:.{2 if factor > 1 else 4}f})"

    lines = [
        f"EER {value['eer_percent']:.2f} % {between('eer', 100)}, 95 % over {over}",
        *(
            f"minDCF({prior}) {value[name]:.4f} {between(name)}"
            for name, prior in (("min_dcf_p01", "p = 0.01"), ("min_dcf_p05", "p = 0.05"))
        ),
        f"Cllr {value['cllr']:.4f} bits {between('cllr')}, {value['min_cllr']:.4f} after the best monotone map; AUC {value['auc']:.5f}",
        f"{value['targets']} target and {value['nontargets']} non-target trials, read as `{value['format']}`",
        value["protocol"],
    ]
    return "\n".join([*lines, *(f"warning: {one}" for one in value["warnings"])])
