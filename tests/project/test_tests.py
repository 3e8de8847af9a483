"""The tests keep the rules of CONTRIBUTING that a machine can check."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.project


def every_test(checkout: Path) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in sorted(checkout.glob("tests/**/test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if node.name.startswith("test_"):
                yield f"{path.relative_to(checkout)}::{node.name}", node


def test_every_test_says_what_the_user_gets(checkout: Path) -> None:
    """Who looks for a promise finds it in words, beside the test that keeps it."""
    found = dict(every_test(checkout))
    assert found
    assert [name for name, node in found.items() if not ast.get_docstring(node)] == []
