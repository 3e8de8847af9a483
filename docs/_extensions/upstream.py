"""The directive `upstream`: which of another project's own tests may fail with ours in place.

Its argument names the plugin in tests/upstream, from whose `FAIL` the table is made::

    ```{upstream} flask
    ```
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

PLUGINS = Path(__file__).parents[2] / "tests" / "upstream"


def may_fail(plugin: Path) -> dict[str, str]:
    """Return the tests and the reasons; read, not imported, as a plugin replaces what it tests."""
    for node in ast.parse(plugin.read_text(encoding="utf-8")).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(node, ast.Assign) and isinstance(target, ast.Name) and target.id == "FAIL":
            found: dict[str, str] = ast.literal_eval(node.value)
            return found
    raise LookupError(f"{plugin.name} has no FAIL. Say there which tests may fail, and why.")


class Upstream(SphinxDirective):
    """A table of tests and reasons. Lives for one table."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Build the table."""
        plugin = PLUGINS / f"{self.arguments[0]}_plugin.py"
        self.env.note_dependency(str(plugin))
        rows = [f"| `{test}` | {why} |" for test, why in may_fail(plugin).items()]
        lines = ["| test that may fail | why |", "| --- | --- |", *rows]
        holder = nodes.container()
        self.state.nested_parse(StringList(lines, source=str(plugin)), 0, holder)
        return holder.children


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("upstream", Upstream)
    return {"parallel_read_safe": True}
