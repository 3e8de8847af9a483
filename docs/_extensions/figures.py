"""The directive `figures`: what was measured, read from benchmarks/results at build time.

Its content is one figure a line, its key in results.json and the words to show it with::

    run: `run()` of a no-op / the same-thread limit
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "results.json"


def readable(value: float) -> str:
    """Return a number with two or three digits that count."""
    return f"{value:,.0f}" if value >= 20 else f"{value:.2g}" if value >= 2 else f"{value:.2f}"


class Figures(SphinxDirective):
    """A table of figures, and below it what they were measured on. Lives for one table."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Build the table; a key that was not measured is an error."""
        self.env.note_dependency(str(RESULTS))
        results = json.loads(RESULTS.read_text(encoding="utf-8"))
        measured = {each["key"]: each["value"] for each in results["figures"]}
        lines = ["| what | ratio |", "| --- | ---: |"]
        for line in self.content:
            key, _, words = line.partition(":")
            value = measured.get(key.strip())
            if value is None:
                raise self.error(f"{key.strip()!r} is not among the figures in {RESULTS.name}.")
            lines.append(f"| {words.strip()} | {readable(value)} |")
        lines += ["", f"Measured on {self._machine(results['measured_on'])}."]
        holder = nodes.container()
        self.state.nested_parse(StringList(lines, source=str(RESULTS)), 0, holder)
        return holder.children

    def _machine(self, facts: dict[str, Any]) -> str:
        return "{cores} cores ({cpu}), {python}, {system}, {server}, {date}".format_map(facts)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("figures", Figures)
    return {"parallel_read_safe": True}
