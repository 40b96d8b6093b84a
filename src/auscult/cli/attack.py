"""`auscult attack`: what the message of a recipe's clients gives away; `auscult attack sweep`: a grid of such attacks.

An attack is asked for by its recipe alone, as training is, so the verb is a command that has another beside it: whatever does not begin
with the word sweep goes to the attack.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer
from typer.core import TyperGroup

from auscult.cli.attack_sweep import sweep
from auscult.cli.options import AsJson, Overrides, RecipePath, Root
from auscult.cli.output import emit, print_table

if TYPE_CHECKING:
    from auscult.privacy.run import AttackResult

ALONE = "alone"
"""What the command of a single attack is called among the commands of the verb; nobody types it."""


class _AttackOrSweep(TyperGroup):
    """Takes every first word that is no command of its own for a recipe."""

    def make_context(self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any) -> click.Context:
        if args[:1] == ["sweep"]:
            return super().make_context(info_name, args, parent, **extra)
        return self.commands[ALONE].make_context(info_name, args, parent, **extra)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name if cmd_name in self.commands else ALONE)


app = typer.Typer(cls=_AttackOrSweep, add_completion=False, rich_markup_mode=None)
app.command()(sweep)


@app.callback()
def verb() -> None:
    """Reconstruct speech from clients' gradients, to audit what they give away."""


@app.command(ALONE)
def attack(
    recipe: RecipePath,
    overrides: Overrides = None,
    root: Root = Path("runs"),
    report: Annotated[bool, typer.Option(help="Draw figures and write report.html at the end.")] = True,
    as_json: AsJson = False,
) -> None:
    """Reconstruct what was said from the gradients of a recogniser's clients, and score it beside what needs no gradient.

    A grid of attacks, such as defences by their strengths: auscult attack sweep --help.

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
    from auscult.report.attack_words import cost_of_defences, tables, threat_model

    for line in threat_model(result.summary["threat_model"]):
        typer.echo(line)
    for heading, found in tables(result.summary):
        if heading:
            typer.echo(f"{heading}:")
        _print(found)
    cost = cost_of_defences(result.summary)
    if cost is not None:
        typer.echo(cost)
    for note in [*result.notes, *result.summary["notes"]]:
        typer.echo(f"note: {note}")
    typer.echo(f"{'reused' if result.reused else 'attacked'}: {result.run}")
    if document is not None:
        typer.echo(f"report: {document}")


def _print(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    from auscult.report.attack_words import METHODS, SCORES

    names = [name for name in SCORES if any(name in scores for scores in found.values())]
    if names:
        rows = [[METHODS.get(method, method), *(_shown(scores.get(name)) for name in names)] for method, scores in found.items()]
        print_table(["", *(SCORES[name] for name in names)], rows)


def _shown(estimate: Mapping[str, Any] | None) -> str | None:
    if estimate is None:
        return None
    value, low, high = (0.0 if abs(estimate[key]) < 1e-9 else estimate[key] for key in ("value", "low", "high"))
    return f"{value:.3g} [{low:.3g}, {high:.3g}]"
