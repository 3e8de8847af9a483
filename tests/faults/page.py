"""The tables of docs/faults.md, made from ours. `python -m tests.faults.page` writes them there."""

from __future__ import annotations

from pathlib import Path

from tests.faults.table import GROUPS, Group

__all__ = ["PAGE", "with_tables"]

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"

_END = "## What is not handled\n"
"""The heading after the tables, which begin with the page's first one."""


def with_tables(page: str) -> str:
    """The page with its tables as they have to be."""
    text = page[: page.index("## ")]
    return text + "\n".join(map(_section, GROUPS)) + "\n" + page[page.index(_END) :]


def _section(group: Group) -> str:
    lines = [f"## {group.title}", ""]
    if group.text:
        lines += [group.text.strip(), ""]
    lines += ["| fault | client | log | next request |", "|---|---|---|---|"]
    for row in group.rows:
        lines.append(f"| {row.fault} | {row.client} | {row.log} | {row.next} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text()))
