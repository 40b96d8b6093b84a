"""`auscult score separation`: what it asks for and how it shows the answer; `auscult.metrics.separation_scoring` does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from auscult.cli.options import AsJson
from auscult.cli.output import emit, print_table, write

_ROWS = (
    ("SI-SDR", "si_sdr", "si_sdri", "dB"),
    ("SDR", "sdr", "sdri", "dB"),
    ("SIR", "sir", None, "dB"),
    ("SAR", "sar", None, "dB"),
    ("STOI", "stoi", "stoi_input", ""),
    ("PESQ", "pesq", "pesq_input", ""),
)
_WORST = 5


def separation(
    reference: Annotated[Path, typer.Argument(metavar="REFERENCE_FOLDER", hidden=True)],
    estimate: Annotated[Path, typer.Argument(metavar="ESTIMATE_FOLDER", hidden=True)],
    mixture: Annotated[Path | None, typer.Option(help="Folder of the mixtures; without, mix/ in REFERENCE_FOLDER if it is there.")] = None,
    stoi: Annotated[bool, typer.Option("--stoi", help="Intelligibility too (needs pystoi).")] = False,
    pesq: Annotated[bool, typer.Option("--pesq", help="Perceptual quality too, at 8 or 16 kHz (needs pesq).")] = False,
    as_json: AsJson = False,
) -> None:
    """Levels of the separated signals in ESTIMATE_FOLDER against the sources in REFERENCE_FOLDER, in the best order for each mixture.

    Either folder holds s1/, s2/, ... with equal file names, or files <id>_s1.wav, <id>_s2.wav (also -speaker1, as auscult separate writes).
    """
    from auscult.metrics.separation_scoring import score_separation

    measures = ["bss_eval", *(["stoi"] if stoi else []), *(["pesq"] if pesq else [])]
    value = score_separation(reference, estimate, mixture, measures)
    emit(value, as_json, lambda: _show(value))


def _show(value: dict[str, Any]) -> None:
    rows = []
    for title, key, other, unit in _ROWS:
        if key in value:
            against = other if other in value else None
            mixture = None if against is None else value[key] - value[against] if unit else value[against]
            gain = None if against is None else value[key] - mixture
            rows.append([title, _number(value[key], unit), _interval(value, key), _number(mixture, unit), _number(gain, unit)])
    mixtures = f"{value['mixtures']} mixture{'s' if value['mixtures'] > 1 else ''} of {value['sources']} at {value['sample_rate']} Hz"
    print_table(["", "estimates", "95 % interval", "mixture", "improvement"], rows, title=mixtures)
    if "si_sdri" in value:
        within = f" ({_interval(value, 'si_sdri')})" if value["intervals"] else ""
        middle, worse = value["median_si_sdri"], 100 * value["failure_rate"]
        write(f"SI-SDR improvement {value['si_sdri']:.2f} dB{within}, median {middle:.2f} dB; made worse: {worse:.1f} %")
    if value["unjudged"]:
        write(f"not judged, because their sources are all silent: {value['unjudged']:.0f}")
    for title, key, _, _ in _ROWS:
        if f"unmeasured_{key}" in value:
            write(f"{title} has no value, and is left out of the mean, for {value[f'unmeasured_{key}']:.0f} of them")
    if value["silent_estimates"]:
        named = ", ".join(value["silent_estimates"][:_WORST]) + (", ..." if len(value["silent_estimates"]) > _WORST else "")
        write(f"with an estimate of silence, which counts as 0 dB: {len(value['silent_estimates'])} ({named})")
    for words in value["protocol"]:
        write(words)


def _number(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.2f} {unit}" if unit else f"{value:.3f}"


def _interval(value: dict[str, Any], key: str) -> str:
    bounds = value["intervals"].get(key)
    digits = 3 if key in ("stoi", "pesq") else 2
    return "-" if bounds is None else f"{bounds[0]:.{digits}f} to {bounds[1]:.{digits}f}"
