"""Two directives for what was measured, which they read from benchmarks/results at build time.

`figures` shows some of it, one a line: a key in results.json, and its words. The key is that of a
figure, or those of a scenario and of one way in it, for the median::

    keeper: `run()` of a no-op / `run_coroutine_threadsafe`
    alone.keeper: `run()`, with the loop on a thread of its own

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


UNITS = {"us": " µs", "1/s": " per second"}
"""Units that have other words on a page."""


class Figures(Measured):
    """A table of figures and medians, and below it what they were measured on."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Build the table; a key that was not measured is an error."""
        results = self.results()
        lines = ["| what | measured |", "| --- | ---: |"]
        for line in self.content:
            key, _, words = line.partition(":")
            value = found(results, key.strip())
            if value is None:
                raise self.error(f"{key.strip()!r} is not in {RESULTS.name}.")
            lines.append(f"| {words.strip()} | {value} |")
        machine = "{cores} cores ({cpu}), {python}, {system}, {server}, {date}"
        return self.parsed(
            [*lines, "", f"Measured on {machine.format_map(results['measured_on'])}."]
        )


def found(results: dict[str, Any], key: str) -> str | None:
    """Return a figure, or the median of one way with its unit; None if it was not measured."""
    scenario, _, way = key.partition(".")
    if way:
        series = results["results"].get(scenario, {}).get(way)
        if series is None:
            return None
        unit = series["unit"]
        return readable(series["median"]) + UNITS.get(unit, f" {unit}".rstrip())
    values = {each["key"]: each["value"] for each in results["figures"]}
    value = values.get(key)
    return None if value is None else readable(value)


class Scenarios(Measured):
    """A table for each scenario, all ways side by side."""

    def run(self) -> list[nodes.Node]:
        """Build the tables, in the order of the file."""
        found: list[nodes.Node] = []
        for name, ways in self.results()["results"].items():
            scenario: Any = {key: SimpleNamespace(**way) for key, way in ways.items()}
            if not scenario or name not in SUBJECTS:  # it may be older than the code
                continue
            (title, *heading), *rows = measured(SUBJECTS[name], scenario)
            lines = [["", *heading], ["---", "---:", "---:", "---:"], *rows]
            table = [f"| {' | '.join(cell.strip() for cell in line)} |" for line in lines]
            # One that has code in it stays as it is: it may begin with the name of a function.
            shown = title if "(" in title else title[0].upper() + title[1:]
            found += [nodes.rubric("", shown), *self.parsed(table)]
        return found


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("figures", Figures)
    app.add_directive("scenarios", Scenarios)
    return {"parallel_read_safe": True}
