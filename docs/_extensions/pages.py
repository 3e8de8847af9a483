"""How a page's source becomes a page.

Comments are for the tests and are left out; those that name a file name the block below them.
Drawings become a part of the page.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

_NAMED = re.compile(
    r"^<!-- (?:file|named): \+?(?P<name>\S+) -->\n(?P<others>(?:<!--.*-->\n)*)```(?P<language>\w+)$"
    r"|^<!-- pytest: \d+ (?P<test>\S+) -->\n```python$",
    re.MULTILINE,
)
_COMMENT = re.compile(r"^<!--.*?-->$", re.DOTALL | re.MULTILINE)
DRAWINGS = ("how-it-works.svg",)


def prepare(_app: Sphinx, _name: str, source: list[str]) -> None:
    """Name the blocks and leave comments out; the line numbers of warnings stay right."""
    named = _NAMED.sub(_with_name, source[0])
    source[0] = _COMMENT.sub(lambda found: "\n" * found[0].count("\n"), named)


def _with_name(found: re.Match[str]) -> str:
    name, language = found["name"] or found["test"], found["language"] or "python"
    others = "\n" * (found["others"] or "").count("\n")
    return f"{others}```{{code-block}} {language}\n:caption: {name}"


def inline_drawings(app: Sphinx, doctree: nodes.document, _name: str) -> None:
    """Put our own drawings into the page itself.

    Only there can their colors follow the reader's choice of light or dark; as a file of its own a
    drawing knows no more than what the system prefers.
    """
    if app.builder.format != "html":
        return
    for image in list(doctree.findall(nodes.image)):
        path = Path(app.srcdir, image["uri"])
        if path.name in DRAWINGS:
            drawing = path.read_text(encoding="utf-8")
            image.replace_self(nodes.raw("", drawing, format="html"))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register both."""
    app.connect("source-read", prepare)
    app.connect("doctree-resolved", inline_drawings)
    return {"parallel_read_safe": True}
