"""`auscult attack`: what the message of a recipe's clients gives away."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auscult.cli.options import AsJson, Overrides, RecipePath, Root
from auscult.cli.output import emit, print_table

if TYPE_CHECKING:
    from auscult.privacy.run import AttackResult


def attack(
    recipe: RecipePath,
    overrides: Overrides = None,
    root: Root = Path("runs"),
    report: Annotated[bool, typer.Option(help="Draw figures and write report.html at the end.")] = True,
    as_json: AsJson = False,
) -> None:
    """Reconstruct what was said from the gradients of a recogniser's clients, and score it beside what needs no gradient.

    Ctrl-C (or SIGTERM) saves and leaves; the same command continues. A finished attack is reused.
    """
    from auscult.privacy.run import attack as attack_recipe
    from auscult.recipe.attack import AttackRecipe
    from auscult.report.attack_words import RESPONSIBLE

    typer.echo(RESPONSIBLE, err=True)
    result = attack_recipe(AttackRecipe.load(recipe, overrides or []), root=root, progress=not as_json)
    document = None
    if report:
        from auscult.report.html import write_report

        document = write_report(result.run)
    value = {**result.summary, "run": result.run, "reused": result.reused, "changes": result.notes, "report": document}
    emit(value, as_json, lambda: _text(result, document))


def _text(result: AttackResult, document: Path | None) -> None:
    from auscult.report.attack_words import threat_model

    for line in threat_model(result.summary["threat_model"]):
        typer.echo(line)
    for found in (result.summary["table"], result.summary["characters"]):
        _print(found)
    for note in [*result.notes, *result.summary["notes"]]:
        typer.echo(f"note: {note}")
    typer.echo(f"{'reused' if result.reused else 'attacked'}: {result.run}")
    if document is not None:
        typer.echo(f"report: {document}")


def _print(found: dict[str, dict[str, dict[str, Any]]]) -> None:
    from auscult.report.attack_words import METHODS, SCORES

    names = [name for name in SCORES if any(name in scores for scores in found.values())]
    if names:
        rows = [[METHODS.get(method, method), *(_shown(scores.get(name)) for name in names)] for method, scores in found.items()]
        print_table(["", *(SCORES[name] for name in names)], rows)


def _shown(estimate: dict[str, Any] | None) -> str | None:
    if estimate is None:
        return None
    value, low, high = (0.0 if abs(estimate[key]) < 1e-9 else estimate[key] for key in ("value", "low", "high"))
    return f"{value:.3g} [{low:.3g}, {high:.3g}]"
