"""What the package says of each field that threads share: read from the comments beside them.

A comment in a class's body or in its `__init__` says it of the fields below it, up to the next such
comment; behind a field it says it of that field alone. It begins with one of these:

- "Guarded by `Class.lock`": written under that lock only; who reads it without looks again.
- "No lock": any thread may read or write it at any time; the comment says why that does no harm.
- "One thread": only one thread touches it once the object is made; the comment says which.
- "Never changes": written by the thread that makes the object, before others see it.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import textwrap
import tokenize
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["GUARDED", "NEVER_CHANGES", "NO_LOCK", "ONE_THREAD", "Rule", "rules_of"]

GUARDED, NO_LOCK, ONE_THREAD, NEVER_CHANGES = "Guarded by", "No lock", "One thread", "Never changes"

_LOCK = re.compile(r"Guarded by `(\w+\.\w+)`")


@dataclass(frozen=True)
class Rule:
    """What is said of one field."""

    kind: str
    lock: str = ""  # of those that are guarded: the class that has it, and its name there


def rules_of(kind: type) -> dict[str, Rule | None]:
    """The fields of a class and of its bases, each with its rule; None where there is none."""
    rules: dict[str, Rule | None] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.startswith(("wsgi_async.", "tests.")):
            rules.update(_Source(base).rules())
    return rules


class _Source:
    """The source of one class."""

    def __init__(self, kind: type) -> None:
        source = textwrap.dedent(inspect.getsource(kind))
        self._tree = ast.parse(source).body[0]
        self._alone: dict[int, str] = {}  # comments by line, with nothing else in it
        self._behind: dict[int, str] = {}  # and behind code
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                alone = not token.line[: token.start[1]].strip()
                (self._alone if alone else self._behind)[token.start[0]] = token.string[2:]

    def rules(self) -> dict[str, Rule | None]:
        assert isinstance(self._tree, ast.ClassDef)
        found = self._within(self._tree, self._tree.body)
        for node in self._tree.body:
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                found |= self._within(node, node.body)
        return found

    def _within(self, scope: ast.AST, body: list[ast.stmt]) -> dict[str, Rule | None]:
        first: int = scope.lineno  # type: ignore[attr-defined]
        found: dict[str, Rule | None] = {}
        for statement in body:
            behind = _rule(self._behind.get(statement.lineno, ""))
            for name in _fields(statement):
                found[name] = behind or self._above(first, statement.lineno)
        return found

    def _above(self, first: int, line: int) -> Rule | None:
        for above in range(line - 1, first, -1):
            rule = _rule(self._alone.get(above, ""))
            if rule is not None:
                return rule
        return None


def _rule(comment: str) -> Rule | None:
    if comment.startswith(GUARDED):
        found = _LOCK.match(comment)
        assert found is not None, f"which lock? {comment}"
        return Rule(GUARDED, found[1])
    for kind in (NO_LOCK, ONE_THREAD, NEVER_CHANGES):
        if comment.startswith(kind):
            return Rule(kind)
    return None


def _fields(statement: ast.stmt) -> Iterator[str]:
    """The fields that a statement gives a value, or a type."""
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    else:
        return
    for target in targets:
        for each in target.elts if isinstance(target, ast.Tuple) else [target]:
            if isinstance(each, ast.Attribute) and ast.unparse(each.value) == "self":
                yield each.attr
            elif isinstance(each, ast.Name) and not each.id.startswith("__"):
                yield each.id
