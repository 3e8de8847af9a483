"""Tell the results: a table for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.effort import Effort
from benchmarks.machine import Facts
from benchmarks.scenarios import SUBJECTS, Subject
from benchmarks.targets import Figure
from benchmarks.timing import Results, Scenario

SCHEMA = 1
"""Raised when a reader of the JSON would have to change."""

ANSWERS = {True: "yes", False: "NO", None: "not measured"}


def digits(value: float) -> float:
    """Round to four significant digits: more would be noise."""
    return float(f"{value:.4g}")


def readable(value: float) -> str:
    """Write a number with about three digits, large ones with thousands apart."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def columns(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Line up the cells of a table: the first column to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        yield "  ".join(cells).rstrip()


def measured(subject: Subject, scenario: Scenario) -> list[list[str]]:
    """Return the table of one scenario, heading first."""
    base = scenario.get(subject.baseline or "")
    rows = [[subject.title, "median", "middle half", "ratio" if base else ""]]
    for key, series in scenario.items():
        low, high = series.quartiles
        rows.append(
            [
                "  " + subject.label(key),
                f"{readable(series.median)} {series.unit}".strip(),
                f"{readable(low)} .. {readable(high)}",
                f"{series.median / base.median:.2f}" if base else "",
            ]
        )
    return rows


def reached(figures: Iterable[Figure]) -> list[list[str]]:
    """Return the table of the figures to reach, heading first."""
    rows = [["figures to reach", "target", "measured", "reached"]]
    for figure in figures:
        target, value = figure.target, figure.value
        shown = "-" if value is None else f"{value:.2f} {target.unit}".strip()
        rows.append(["  " + target.what, target.bound, shown, ANSWERS[figure.reached]])
    return rows


def table(results: Results, figures: Sequence[Figure]) -> str:
    """Return everything as text."""
    parts = [measured(SUBJECTS[name], scenario) for name, scenario in results.items() if scenario]
    parts.append(reached(figures))
    return "\n\n".join("\n".join(columns(part)) for part in parts)


def markdown(figures: Iterable[Figure], facts: Facts) -> str:
    """Return the figures to reach as a Markdown table, with what they were measured on."""
    heading, *rows = reached(figures)
    lines = [heading, ["---", "---:", "---:", "---"], *([cell.strip() for cell in r] for r in rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table}\n\nMeasured on {measured_on(facts)}.\n"


def measured_on(facts: Facts) -> str:
    """Return what it was measured on, in one line."""
    return "{cpu}, {cores} cores, {python}, {system}, {date}".format_map(facts)


def document(
    results: Results, figures: Sequence[Figure], facts: Facts, effort: Effort
) -> dict[str, Any]:
    """Return everything as it goes into the JSON file."""
    return {
        "schema": SCHEMA,
        "measured_on": facts,
        "effort": asdict(effort),
        "results": {
            name: {key: _summary(series) for key, series in scenario.items()}
            for name, scenario in results.items()
        },
        "figures": [_figure(each) for each in figures],
    }


def write(path: Path, content: dict[str, Any]) -> None:
    """Write the JSON file, one fact a line, so that two runs can be compared with `diff`."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _summary(series: Any) -> dict[str, Any]:
    low, high = series.quartiles
    return {
        "unit": series.unit,
        "median": digits(series.median),
        "quartiles": [digits(low), digits(high)],
        "values": len(series.values),
    }


def _figure(figure: Figure) -> dict[str, Any]:
    target = figure.target
    return {
        "key": target.key,
        "what": target.what,
        "target": target.bound,
        "value": None if figure.value is None else digits(figure.value),
        "reached": figure.reached,
    }
