"""The table of verbs, and what holds for all of them: exit codes, one message instead of a traceback, `--traceback`.

Problem: `auscult --help` must answer at once, and importing the verbs means importing torch (a second) before the first line.
Choice: a table of verb -> (module, attribute, help line); help is written from the table, and a module is imported when its
verb is called. typer is used without rich, whose import would double the start-up time.

To add a verb:

1. write `cli/<verb>.py` with one function (typer annotations; `options.py` has the shared ones) that imports the room it needs
   inside its body, calls the Python API, and hands the result to `output.emit(value, as_json, ...)`. For a verb with verbs of
   its own (`auscult recipe show`) make a `typer.Typer` with a callback, as `cli/recipe.py` does. Describe arguments in the
   docstring and declare them `hidden=True`, see `options.py`;
2. add one line to `VERBS`: its first column is what the user types, in the order of the help page.

Exit codes: 0 done; 1 the run or the check failed (`RunFailed`), or a bug; 2 bad input (`UserError`, wrong usage); 130 Ctrl-C;
an exception with an `exit_code` of its own ends with that. A verb returns nothing: it raises to fail.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any

import click
import typer
from typer.core import TyperGroup
from typer.main import get_command

from auscult import __version__
from auscult.errors import did_you_mean


@dataclass(frozen=True)
class Verb:
    """Where a verb lives.

    Attributes:
        module: imported when the verb is used.
        attribute: a function with typer annotations, or a `typer.Typer` with verbs of its own.
        help: its line on the help page.
    """

    module: str
    attribute: str
    help: str


VERBS: dict[str, Verb] = {
    "demo": Verb("auscult.cli.demo", "demo", "Everything in miniature on speech made on the spot; ends with a report."),
    "prepare": Verb("auscult.cli.prepare", "prepare", "Turn a corpus folder people already have into checked manifests."),
    "generate": Verb("auscult.cli.generate", "app", "Make a corpus of mixtures from recordings of single speakers, scenes and events."),
    "audit": Verb("auscult.cli.audit", "audit", "Look for what is wrong with the data, before any training."),
    "check": Verb("auscult.cli.check", "check", "Overfit a few single utterances; draw the five figures."),
    "train": Verb("auscult.cli.train", "train", "Train a recipe; resume it if interrupted, reuse it if finished."),
    "evaluate": Verb("auscult.cli.evaluate", "evaluate", "Judge a run's checkpoint, with intervals and the worst utterances."),
    "transcribe": Verb("auscult.cli.transcribe", "transcribe", "Recognise audio files with a trained run."),
    "embed": Verb("auscult.cli.embed", "embed", "Write speaker embeddings of audio files by a trained run."),
    "verify": Verb("auscult.cli.verify", "verify", "Say whether two recordings are of one speaker, with a probability."),
    "diarize": Verb("auscult.cli.diarize", "diarize", "Say who speaks when in audio files, as RTTM."),
    "separate": Verb("auscult.cli.separate", "separate", "Take a recording of several speakers apart, in constant memory."),
    "attack": Verb("auscult.cli.attack", "app", "Reconstruct speech from clients' gradients, to audit what they give away."),
    "runs": Verb("auscult.cli.runs", "runs", "List, filter and sort runs."),
    "report": Verb("auscult.cli.report", "report", "Draw a run's figures and write its report."),
    "inspect": Verb("auscult.cli.inspect", "inspect", "Print what a recipe's model costs: parameters, operations, memory, speed."),
    "score": Verb("auscult.cli.score", "app", "Score anybody's outputs against references."),
    "recipe": Verb("auscult.cli.recipe", "app", "Show a recipe with everything resolved, or the schema of recipes."),
}


def load_verb(name: str, verb: Verb) -> click.Command:
    """Import a verb's module and return its command."""
    target = getattr(import_module(verb.module), verb.attribute)
    if not isinstance(target, typer.Typer):
        function, target = target, typer.Typer(add_completion=False, rich_markup_mode=None)
        target.command()(function)
    command = get_command(target)
    command.name = name
    return command


class _Verbs(TyperGroup):
    """A click group that knows its verbs from the table and imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return load_verb(cmd_name, VERBS[cmd_name]) if cmd_name in VERBS else None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in VERBS and not args[0].startswith("-"):
            ctx.fail(f'unknown verb "{args[0]}"{did_you_mean(args[0], VERBS)}; auscult --help lists them')
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.help) for name, verb in VERBS.items()])


app = typer.Typer(cls=_Verbs, add_completion=False, rich_markup_mode=None, no_args_is_help=True, subcommand_metavar="VERB ...")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"auscult {__version__}")
        raise typer.Exit


@app.callback()
def auscult(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")] = False,
    traceback: Annotated[bool, typer.Option("--traceback", help="Show the traceback of an error; may also stand after the verb.")] = False,
) -> None:
    """Train, check, compare and ship speech models, and report only what is so.

    Every verb explains itself: auscult VERB --help.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Args:
        arguments: without the program's name; None takes those of the process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    show_traceback = "--traceback" in words
    words = [word for word in words if word != "--traceback"]
    command = get_command(app)
    try:
        with command.make_context("auscult", words) as context:
            command.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        return int(error.exit_code)
    except click.ClickException as error:
        error.show()
        return int(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        typer.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 (what reads our output has gone; nothing may be flushed to it)
        return 1
    except Exception as error:
        return _report(error, show_traceback)
    return 0


def _report(error: Exception, show_traceback: bool) -> int:
    """Write an error to stderr, short unless a traceback was asked for, and return the exit code it stands for."""
    if show_traceback:
        import traceback

        traceback.print_exception(error)
    code: Any = getattr(error, "exit_code", None)
    if isinstance(code, int):
        typer.echo(str(error), err=True)
        return code
    hint = "" if show_traceback else "; this is a bug of auscult, --traceback shows where"
    typer.echo(f"{type(error).__name__}: {error}{hint}", err=True)
    return 1
