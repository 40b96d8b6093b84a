"""`auscult demo`: everything in miniature on speech made on the spot, ending with a report a person can open.

Problem: whoever tries a toolkit has no data at hand, and a first run that needs a download is a first run that fails. Choice: the
built-in synthesised corpus and the calls of the public API in the order a person would make them (audit, check, train, evaluate,
transcribe, report), on a recipe that is an ordinary file. The runs are named by their content, so a second demo finds the first
one's and takes seconds. What it measures is said with its interval and its limits: a synthesiser's voices are not people.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auscult.cli.options import AsJson
from auscult.cli.output import emit

if TYPE_CHECKING:
    from auscult.recipe import Recipe

RECIPE = "recognition/demo.yaml"
STEPS = 6


def demo(
    root: Annotated[Path, typer.Option("--root", help="Folder of run directories.")] = Path("runs"),
    recipe: Annotated[Path | None, typer.Option(help="Another recipe of the synthetic corpus; none takes the built-in one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show everything in miniature: make speech, audit, check, train, judge on unheard voices, transcribe, report.

    Takes minutes on two CPU cores; needs the extra `synth`, no recordings and no network. A second demo reuses the first one's runs.
    """
    loaded = load_recipe(recipe)
    progress = _Progress(quiet=as_json)
    value: dict[str, Any] = {"recipe": str(recipe or RECIPE)}
    for step in (_speech, _check, _train, _evaluate, _transcribe, _report):
        step(loaded, root, value, progress)
    value["seconds"] = round(progress.seconds, 1)
    emit(value, as_json, lambda: _closing(value))


def load_recipe(path: Path | None = None) -> Recipe:
    """Return the demonstration's recipe, from the source tree or from inside the installed package.

    Raises:
        UserError: there is no such recipe, or it has errors.
    """
    from auscult.recipe import Recipe

    if path is not None:
        return Recipe.load(path)
    package = Path(__file__).resolve().parents[1]
    places = (package.parents[1] / "recipes" / RECIPE, package / "recipes" / RECIPE)
    return Recipe.load(next((place for place in places if place.is_file()), places[-1]))


@dataclass
class _Progress:
    """What a person sees on standard error while the demonstration works; nothing if `quiet`."""

    quiet: bool
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def step(self, number: int, text: str) -> None:
        self._write(f"[{self.seconds:4.0f} s] {number}/{STEPS} {text}")

    def say(self, text: str) -> None:
        self._write(f"         {text}")

    def _write(self, text: str) -> None:
        if not self.quiet:
            typer.echo(text, err=True)


def _speech(recipe: Recipe, root: Path, value: dict[str, Any], progress: _Progress) -> None:
    import auscult

    progress.step(1, "synthesise speech and audit it")
    corpus = recipe.data.corpus.build()
    splits = corpus.splits()
    value["corpus"] = {
        name: {"utterances": len(cuts), "minutes": round(sum(cut.duration for cut in cuts) / 60, 1)} for name, cuts in splits.items()
    }
    report = auscult.audit(recipe)
    value["audit"] = report.to_dict()
    minutes = ", ".join(f"{name} {facts['utterances']} ({facts['minutes']} min)" for name, facts in value["corpus"].items())
    progress.say(f"{minutes}; audit {'found errors' if report.failed else 'passed'}")
    for finding in report.findings:
        if finding.severity != "info":
            progress.say(f"{finding.severity}: {finding.message}")


def _check(recipe: Recipe, root: Path, value: dict[str, Any], progress: _Progress) -> None:
    import auscult

    progress.step(2, "check that the model can learn single utterances")
    result = auscult.check(recipe, root=root, progress=not progress.quiet)
    value["check"] = {"run": result.run, "passed": result.passed, "reasons": result.reasons, "utterances": result.items}
    for item in result.items:
        progress.say(f'"{item["reference"]}": loss {item["loss"]:.6f} after {item["updates"]} updates, reads "{item["hypothesis"]}"')
    progress.say("passed" if result.passed else "failed: " + "; ".join(result.reasons))


def _train(recipe: Recipe, root: Path, value: dict[str, Any], progress: _Progress) -> None:
    import auscult

    progress.step(3, f"train {recipe.model.name} for {recipe.budget.updates} updates")
    result = auscult.train(recipe, root=root, progress=not progress.quiet)
    value["train"] = {"run": result.run, "action": result.action, "validation": result.metrics, "notes": result.notes}
    for note in result.notes:
        progress.say(f"note: {note}")
    progress.say(f"{result.action}: {result.run}")


def _evaluate(recipe: Recipe, root: Path, value: dict[str, Any], progress: _Progress) -> None:
    import auscult

    progress.step(4, "judge it on voices it never heard")
    result = auscult.evaluate(value["train"]["run"], split="test")
    low, high = result.summary["intervals"]["wer"]
    speakers = len({item["speaker"] for item in result.items})
    value["test"] = {
        "wer": result.summary["metrics"]["wer"], "interval": [low, high], "utterances": len(result.items), "speakers": speakers,
        "protocol": result.summary["protocol"], "worst": result.worst(3),
    }  # fmt: skip
    progress.say(
        f"word error rate {100 * value['test']['wer']:.1f} %, 95 % interval {100 * low:.1f} to {100 * high:.1f} % "
        f"({len(result.items)} utterances of {speakers} unheard voices)"
    )


def _transcribe(recipe: Recipe, root: Path, value: dict[str, Any], progress: _Progress) -> None:
    import auscult

    progress.step(5, "transcribe a file")
    cut = next(iter(recipe.data.corpus.build().splits()["test"]))
    [record] = auscult.load(value["train"]["run"]).transcribe([cut.recording.sources[0].source])
    value["transcript"] = {**record, "reference": cut.supervisions[0].text}
    progress.say(f'{record["path"]}\n         says "{cut.supervisions[0].text}", read as "{record["text"]}"')


def _report(recipe: Recipe, root: Path, value: dict[str, Any], progress: _Progress) -> None:
    import auscult

    progress.step(6, "draw the figures and write the reports")
    value["reports"] = {verb: auscult.write_report(Path(value[verb]["run"])) for verb in ("check", "train")}


def _closing(value: dict[str, Any]) -> str:
    low, high = value["test"]["interval"]
    return "\n".join(
        [
            f"word error rate on unheard voices: {100 * value['test']['wer']:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f} %)",
            "These voices are synthesised: this shows that the machinery works here, and nothing about recorded speech.",
            f"took {value['seconds']:.0f} s; open in a browser:",
            f"  {value['reports']['train']}    the training and the judgement",
            f"  {value['reports']['check']}    the check, with five figures",
        ]
    )
