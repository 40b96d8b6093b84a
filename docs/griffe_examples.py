"""Lets mkdocstrings read `Example:` in docstrings as it reads `Examples:`; left alone it becomes prose, and `["key"]` a broken link."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object


class ExampleSections(Extension):
    """Rewrites the heading before docstrings are parsed."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Take every documented object once."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^(\s*)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
