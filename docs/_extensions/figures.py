"""Two directives for what was measured, which they read from benchmarks/results at build time.

`figures` shows some figures. Its content is one a line, its key in results.json and its words::

    run: `run()` of a no-op / the same-thread limit

`scenarios` shows everything, with the names that `make bench` shows it with.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from benchmarks.report import measured
from benchmarks.scenarios import SUBJECTS

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "results.json"


def readable(value: float) -> str:
    """Return a number with two or three digits that count."""
    return f"{value:,.0f}" if value >= 20 else f"{value:.2g}" if value >= 2 else f"{value:.2f}"


class Measured(SphinxDirective):
    """What both have in common. Lives for one use of a directive."""

    def results(self) -> dict[str, Any]:
        """What is in results.json; the page is built anew when that changes."""
        self.env.note_dependency(str(RESULTS))
        content: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
        return content

    def parsed(self, lines: list[str]) -> list[nodes.Node]:
        """Build nodes from Markdown."""
        holder = nodes.container()
        self.state.nested_parse(StringList(lines, source=str(RESULTS)), 0, holder)
        return holder.children


class Figures(Measured):
    """A table of figures, and below it what they were measured on."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Build the table; a key that was not measured is an error."""
        results = self.results()
        values = {each["key"]: each["value"] for each in results["figures"]}
        lines = ["| what | ratio |", "| --- | ---: |"]
        for line in self.content:
            key, _, words = line.partition(":")
            value = values.get(key.strip())
            if value is None:
                raise self.error(f"{key.strip()!r} is not among the figures in {RESULTS.name}.")
            lines.append(f"| {words.strip()} | {readable(value)} |")
        machine = "{cores} cores ({cpu}), {python}, {system}, {server}, {date}"
        return self.parsed(
            [*lines, "", f"Measured on {machine.format_map(results['measured_on'])}."]
        )


class Scenarios(Measured):
    """A table for each scenario, all ways side by side."""

    def run(self) -> list[nodes.Node]:
        """Build the tables, in the order of the file."""
        found: list[nodes.Node] = []
        for name, ways in self.results()["results"].items():
            scenario: Any = {key: SimpleNamespace(**way) for key, way in ways.items()}
            if not scenario:
                continue
            (title, *heading), *rows = measured(SUBJECTS[name], scenario)
            lines = [["", *heading], ["---", "---:", "---:", "---:"], *rows]
            table = [f"| {' | '.join(cell.strip() for cell in line)} |" for line in lines]
            found += [nodes.rubric("", title[0].upper() + title[1:]), *self.parsed(table)]
        return found


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("figures", Figures)
    app.add_directive("scenarios", Scenarios)
    return {"parallel_read_safe": True}
