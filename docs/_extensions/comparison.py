"""The directive `comparison`: tables of benchmarks/results/comparison.json, made at build time.

Its argument is a view. The table has a row for each contender, and a column for each number of
connections; with one number of them, chosen or measured, a column for each value::

    ```{comparison} http
    :value: cpu
    ```

    ```{comparison} http
    :connections: 4
    :columns: rate, connections
    keeper: a loop per thread
    resident: resident
    ```

The content names the rows; without any, all are shown. The argument can be `free-threaded` too, and
`machine`, for what all was measured on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from benchmarks.comparison import report, views

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "comparison.json"

NOT_MEASURED = "This was not measured in the published run."


class Comparison(SphinxDirective):
    """One table. Lives for one use of the directive."""

    required_arguments = 1
    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {
        "connections": directives.unchanged_required,
        "columns": directives.unchanged_required,
        "value": directives.unchanged_required,
    }

    def run(self) -> list[nodes.Node]:
        """Build the table; the page is built anew when the file changes."""
        self.env.note_dependency(str(RESULTS))
        content: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
        try:
            lines = self.lines(content, self.arguments[0])
        except KeyError as unknown:
            raise self.error(f"{unknown} is not a name that {RESULTS.name} knows.") from unknown
        holder = nodes.container()
        self.state.nested_parse(StringList(lines, source=str(RESULTS)), 0, holder)
        return holder.children

    def lines(self, content: dict[str, Any], subject: str) -> list[str]:
        """Return Markdown."""
        if subject == "machine":
            return [report.measured_on(content)]
        if subject == "free-threaded":
            table = report.free_threaded(content)
            return report.as_markdown(table) if table else [NOT_MEASURED]
        found = content["results"].get(views.BY_KEY[subject].key)
        if not found:
            return [NOT_MEASURED]
        widths = list(found)
        width = self.options.get("connections", widths[0] if len(widths) == 1 else "")
        if width:
            return report.as_markdown(self.one_setting(content, subject, width))
        value = self.options.get("value", "rate")
        return report.as_markdown(report.all_settings(content, subject, value))

    def one_setting(self, content: dict[str, Any], view: str, width: str) -> list[list[str]]:
        """Return the table of one number of connections."""
        rows = (line.partition(":") for line in self.content)
        labels = {key.strip(): words.strip() for key, _, words in rows}
        columns = self.options.get("columns", ",".join(report.SHOWN)).split(",")
        return report.one_setting(
            content,
            view,
            width,
            labels={key: labels[key] for key in labels if report.LABELS[key]} or report.LABELS,
            columns=[report.COLUMNS[name.strip()] and name.strip() for name in columns],
        )


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("comparison", Comparison)
    return {"parallel_read_safe": True}
