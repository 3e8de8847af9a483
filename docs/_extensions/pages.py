"""What a page's source has for its tests is left out, and drawings become a part of the page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

COMMENT = re.compile(r"^<!--.*?-->$", re.DOTALL | re.MULTILINE)
DRAWINGS = ("who-drives.svg",)


def without_comments(_app: Sphinx, _name: str, source: list[str]) -> None:
    """Leave comments out; as many empty lines keep the line numbers of warnings right."""
    source[0] = COMMENT.sub(lambda found: "\n" * found[0].count("\n"), source[0])


def inline_drawings(app: Sphinx, doctree: nodes.document, _name: str) -> None:
    """Put our own drawings into the page itself.

    Only there can their colours follow the reader's choice of light or dark; as a file of its own a
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
    app.connect("source-read", without_comments)
    app.connect("doctree-resolved", inline_drawings)
    return {"parallel_read_safe": True}
