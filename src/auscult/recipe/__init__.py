"""What determines a run: one frozen, typed description, read from YAML.

>>> from auscult.recipe import Recipe
>>> recipe = Recipe.load("recipes/recognition/deepspeech2.yaml", ["optimizer.lr=3e-4"])  # doctest: +SKIP
"""

from auscult.recipe.fields import NO_EFFECT, Batching, Budget, Check, Concatenate, Data, Guard, Precision, Selection, Stop
from auscult.recipe.recipe import Recipe, section_from
from auscult.recipe.sections import Section

__all__ = [
    "NO_EFFECT",
    "Batching",
    "Budget",
    "Check",
    "Concatenate",
    "Data",
    "Guard",
    "Precision",
    "Recipe",
    "Section",
    "Selection",
    "Stop",
    "section_from",
]
