"""The table of faults, as `table.toml` has it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.serving import KINDS

__all__ = ["GROUPS", "Group", "Request", "Row"]


@dataclass(frozen=True)
class Request:
    """A request whose fault is in its view."""

    path: str
    sees: str
    """What its client sees: the status and a body, "closed", or "cut off after ..."."""
    logs: list[str] = field(default_factory=list)
    """Patterns that are found in the log; without any, no error is."""
    worker: str = "same"
    """Which worker answers the next request: the "same", or a "new" one."""
    on: list[str] = field(default_factory=lambda: list(KINDS))
    needs: str = ""
    """A module that has to be installed for it."""


@dataclass(frozen=True)
class Row:
    """A fault, what comes of it, and what carries it out."""

    id: str
    fault: str
    client: str
    log: str
    next: str
    requests: list[Request] = field(default_factory=list)
    tests: list[str] = field(default_factory=list)
    """The node ids of tests, without their parameters."""


@dataclass(frozen=True)
class Group:
    """Rows about one subject."""

    title: str
    rows: list[Row]
    text: str = ""
    """What the page says before them."""


def _row(values: dict[str, Any]) -> Row:
    return Row(**{**values, "requests": [Request(**each) for each in values.get("requests", [])]})


def _group(values: dict[str, Any]) -> Group:
    return Group(**{**values, "rows": [_row(each) for each in values["rows"]]})


_TABLE = tomllib.loads(Path(__file__).with_name("table.toml").read_text())

GROUPS = [_group(each) for each in _TABLE["groups"]]
