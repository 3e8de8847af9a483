"""Tell the results: JSON for the documentation, Markdown for people, bars for the README."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.comparison import contenders, views
from benchmarks.report import digits, readable

if TYPE_CHECKING:
    from benchmarks.comparison.measure import Effort, Row, Rows
    from benchmarks.machine import Facts

SCHEMA = 1
"""Raised when a reader of the JSON would have to change."""

COLUMNS = {
    "rate": "requests/s",
    "median": "median, ms",
    "slowest": "99th percentile, ms",
    "cpu": "CPU a request, ms",
    "memory": "memory, MiB",
    "connections": "connections kept",
}
"""Value's name: heading."""

SHOWN = ("rate", "median", "slowest", "cpu", "memory")

LABELS = {each.key: each.label for each in contenders.CONTENDERS}

BARS = {
    "flask_async": "Flask's own async views",
    "keeper": "wsgi_async",
    "process_uvloop": "wsgi_async, one uvloop",
    "quart": "Quart on uvicorn",
}
"""Contender's key: its name in the README."""

BAR_VIEW, BAR_CONNECTIONS, BAR_WIDTH = "http", "16", 40

Measured = Mapping[str, "Rows"]
"""View's key: its rows."""


def rows(found: Rows) -> dict[str, dict[str, dict[str, float]]]:
    """Return the rows of a view as they go into the JSON file."""
    return {str(width): {key: _row(row) for key, row in of.items()} for width, of in found.items()}


def _row(row: Row) -> dict[str, float]:
    return {name: digits(value) for name, value in row._asdict().items()}


def document(
    measured: Measured, free_threaded: dict[str, Any] | None, facts: Facts, effort: Effort
) -> dict[str, Any]:
    """Return everything as it goes into the JSON file."""
    found = {
        "schema": SCHEMA,
        "measured_on": facts,
        "effort": {"rounds": effort.rounds, "seconds": effort.seconds},
        "skipped": contenders.skipped(),
        "results": {key: rows(each) for key, each in measured.items()},
    }
    return found | ({"free_threaded": free_threaded} if free_threaded else {})


def one_setting(
    content: Mapping[str, Any],
    view: str,
    width: str,
    *,
    labels: Mapping[str, str] = LABELS,
    columns: Sequence[str] = SHOWN,
) -> list[list[str]]:
    """Return a table of a view with one number of connections, heading first.

    Args:
        content: what is in the JSON file.
        view: its key.
        width: the number of connections.
        labels: contender's key: its name for people, in the order of the rows.
        columns: names of values; one that was not measured is left out.
    """
    found = content["results"][view][width]
    names = [name for name in columns if any(row[name] for row in found.values())]
    table = [["", *(COLUMNS[name] for name in names)]]
    table += [
        [label, *(_cell(name, found[key][name]) for name in names)]
        for key, label in labels.items()
        if key in found
    ]
    return table


def _cell(name: str, value: float) -> str:
    return f"{value:.0f}" if name == "connections" else readable(value)


def all_settings(content: Mapping[str, Any], view: str, value: str = "rate") -> list[list[str]]:
    """Return a table of one value of a view with each number of connections, heading first."""
    found = content["results"][view]
    table = [[COLUMNS[value], *(_connections(width) for width in found)]]
    for key, label in LABELS.items():
        cells = [of.get(key) for of in found.values()]
        if any(cells):
            table.append([label, *(_cell(value, row[value]) if row else "" for row in cells)])
    return table


def _connections(width: str) -> str:
    return f"{width} connection" if width == "1" else f"{width} connections"


def free_threaded(content: Mapping[str, Any]) -> list[list[str]]:
    """Return a table of requests per second without the GIL, heading first; empty without any."""
    found = content.get("free_threaded", {}).get("results", {})
    table = [["requests/s", "one core", "two cores"]] if found else []
    for view, by_cores in found.items():
        for key in by_cores.get("1", {}):
            rates = [by_cores.get(cores, {}).get(key) for cores in ("1", "2")]
            cells = [readable(row["rate"]) if row else "" for row in rates]
            label = f"{contenders.BY_KEY[key].label}: {views.BY_KEY[view].title}"
            table.append([label, *cells])
    return table


def as_markdown(table: list[list[str]]) -> list[str]:
    """Return the lines of a table."""
    heading, *others = table
    lines = [heading, ["---", *("---:" for _ in heading[1:])], *others]
    return [f"| {' | '.join(line)} |" for line in lines]


def title(view: str, width: str) -> str:
    """Return what a table shows."""
    words = views.BY_KEY[view].title
    return f"{words[0].upper()}{words[1:]}, {_connections(width)}"


def markdown(content: Mapping[str, Any]) -> str:
    """Return all tables."""
    parts: list[str] = []
    for view, found in content["results"].items():
        for width in found:
            table = as_markdown(one_setting(content, view, width))
            parts += [f"## {title(view, width)}", "", *table, ""]
    if without_gil := free_threaded(content):
        parts += [f"## {content['free_threaded']['python']}", "", *as_markdown(without_gil), ""]
    return "\n".join([*parts, measured_on(content), ""])


def measured_on(content: Mapping[str, Any]) -> str:
    """Return what it was measured on, as a sentence."""
    machine = "{cores} cores ({cpu}), {python}, {system}, {date}. {server}; the client is {client}"
    return f"Measured on {machine.format_map(content['measured_on'])}."


def bars(content: Mapping[str, Any]) -> str:
    """Return the bars of the README; none where one of them was not measured."""
    found = content["results"].get(BAR_VIEW, {}).get(BAR_CONNECTIONS, {})
    if not set(BARS) <= set(found):
        return ""
    rates = {name: found[key]["rate"] for key, name in BARS.items()}
    figures = {name: f"{rate:,.0f}" for name, rate in rates.items()}
    columns = max(map(len, rates)), max(map(len, figures.values()))
    return "\n".join(
        f"{name:{columns[0]}}  {figures[name]:>{columns[1]}}  "
        + "█" * max(1, round(BAR_WIDTH * rate / max(rates.values())))
        for name, rate in rates.items()
    )


def update_readme(path: Path, content: Mapping[str, Any]) -> None:
    """Exchange the bars in the README."""
    if drawn := bars(content):
        text = path.read_text(encoding="utf-8")
        changed = re.sub(r"(?<=```text\n)[^`]*█[^`]*(?=\n```)", lambda _: drawn, text)
        path.write_text(changed, encoding="utf-8")


def write(folder: Path, content: dict[str, Any]) -> None:
    """Write comparison.json and comparison.md."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1) + "\n"
    (folder / "comparison.json").write_text(text, encoding="utf-8")
    (folder / "comparison.md").write_text(markdown(content), encoding="utf-8")
