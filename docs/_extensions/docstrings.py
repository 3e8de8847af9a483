"""Docstrings whose first line has a colon.

napoleon takes what stands before a colon for a type: in the first line of a property, and of a
"Returns" section. All types are in the signatures here, so nothing has to be split.
"""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx
from sphinx.ext.napoleon.docstring import GoogleDocstring


def _attribute(self: Any) -> tuple[str, list[str]]:
    lines = [self._lines.next(), *self._dedent(self._consume_to_end())]
    return "", self.__class__(lines, self._config).lines()


def _returns(self: Any, preprocess_types: bool = False) -> list[tuple[str, str, list[str]]]:  # noqa: ARG001
    lines = self._dedent(self._consume_to_next_section())
    return [("", "", self.__class__(lines, self._config).lines())] if lines else []


def setup(_app: Sphinx) -> dict[str, Any]:
    """Put both in the place of napoleon's."""
    GoogleDocstring._consume_inline_attribute = _attribute  # type: ignore[method-assign]  # noqa: SLF001
    GoogleDocstring._consume_returns_section = _returns  # type: ignore[method-assign]  # noqa: SLF001
    return {"parallel_read_safe": True}
