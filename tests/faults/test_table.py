"""The table itself: every row is carried out by something, and the page shows it."""

from __future__ import annotations

import ast
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.faults.page import PAGE, with_tables
from tests.faults.serving import KINDS
from tests.faults.table import GROUPS

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [row for group in GROUPS for row in group.rows]


def test_each_row_is_carried_out() -> None:
    """A row has a name of its own, and requests or tests."""
    assert [row.id for row in ROWS if not (row.requests or row.tests)] == []
    assert [name for name, count in Counter(row.id for row in ROWS).items() if count > 1] == []
    on = {kind for row in ROWS for request in row.requests for kind in request.on}
    assert on == set(KINDS)


def test_the_tests_exist(checkout: Path) -> None:
    """Each test that a row points to is there, under this name."""
    pointed = {test for row in ROWS for test in row.tests}
    assert {test for test in pointed if not is_there(checkout, test)} == set()


def is_there(checkout: Path, node_id: str) -> bool:
    path, _, name = node_id.partition("::")
    if not (checkout / path).is_file():
        return False
    body = ast.parse((checkout / path).read_text()).body
    return any(isinstance(node, ast.FunctionDef) and node.name == name for node in body)


@pytest.mark.project
def test_the_page_shows_the_table() -> None:
    """docs/faults.md has these rows: `python -m tests.faults.page` writes them there."""
    page = PAGE.read_text()
    assert page == with_tables(page)
