"""The few facts of a recipe that a list of runs shows, kept in `run.json` so that listing 5,000 runs parses no YAML."""

from __future__ import annotations

from typing import Any

from auscult.errors import UserError


def recipe_facts(recipe_text: str) -> dict[str, Any]:
    """Return task, model and seed named by a resolved recipe; None where it names none.

    Raises:
        UserError: the text is not a YAML mapping.

    >>> recipe_facts("{task: recognition, model: {name: conv_ctc, width: 64}, seed: 7}")
    {'task': 'recognition', 'model': 'conv_ctc', 'seed': 7}
    """
    import yaml  # here, because it costs more than the rest of this room together

    try:
        recipe = yaml.safe_load(recipe_text)
    except yaml.YAMLError as error:
        raise UserError(f"recipe: is not YAML ({error}); check it with `auscult recipe show`") from error
    if not isinstance(recipe, dict):
        raise UserError("recipe: expected a YAML mapping with task, model and seed; check it with `auscult recipe show`")
    return {"task": _name(recipe.get("task")), "model": _name(recipe.get("model")), "seed": recipe.get("seed")}


def _name(section: Any) -> Any:
    return section.get("name") if isinstance(section, dict) else section
