"""`auscult inspect`: what a recipe's model costs."""

from __future__ import annotations

from typing import Any

import typer

from auscult.cli.options import AsJson, Overrides, RecipePath, read_recipe
from auscult.cli.output import emit, print_table


def inspect(recipe: RecipePath, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Print parameters (total and by part), multiply-accumulates and real-time factor of a recipe's model."""
    from auscult.training.cost import inspect_recipe

    value = inspect_recipe(read_recipe(recipe, overrides))
    emit(value, as_json, lambda: _table(value))


def _table(value: dict[str, Any]) -> None:
    total = value["parameters"]
    rows = [[name, count, f"{count / total:.1%}"] for name, count in value["parameters_by_part"].items()]
    print_table(["part", "parameters", "share"], [*rows, ["total", total, "100.0%"]], value["model"])
    frame_step = f", one every {1000 * value['frame_step']:.0f} ms" if value["frame_step"] else ""
    typer.echo(f"{value['macs_per_second'] / 1e6:.1f} million multiply-accumulates per second of audio")
    typer.echo(f"{value['output_frames']} output frames for {value['probe_seconds']:g} s{frame_step}")
    memory = value["memory"]
    typer.echo(
        f"weights {memory['weights'] / 2**20:.1f} MiB; with gradients and Adam {memory['training_adam'] / 2**20:.1f} MiB, activations apart"
    )
    typer.echo(f"real-time factor {value['real_time_factor']:.4f} on {value['threads']} thread(s)")
