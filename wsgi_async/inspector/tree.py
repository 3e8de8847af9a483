"""Print the answers of processes as a tree in a terminal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_async.insight.snapshot import Manager, Task
    from wsgi_async.insight.stacks import Frame

    from .reading import Reply

__all__ = ["tree"]

_ASCII = str.maketrans("├└│─µ", "|`|-u")


@dataclass
class _Node:
    text: str
    children: list[_Node] = field(default_factory=list["_Node"])


def tree(replies: list[Reply], *, encoding: str = "utf-8") -> str:
    """All answers as the lines of a tree.

    Args:
        replies: The answers.
        encoding: The terminal's encoding. If it lacks line characters, the tree uses ASCII.
    """
    text = "\n".join(line for reply in replies for line in _lines(_process(reply)))
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_ASCII)
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _lines(node: _Node, first: str = "", rest: str = "") -> Iterator[str]:
    yield first + _printable(node.text)
    for child in node.children:
        last = child is node.children[-1]
        yield from _lines(
            child, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  ")
        )


def _printable(text: str) -> str:
    """Escape control characters, which a terminal obeys. Names can contain anything."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def _process(reply: Reply) -> _Node:
    snapshot = reply.snapshot
    if snapshot is None:
        return _Node(reply.error)
    return _Node(
        f"Process {snapshot['pid']} (started by {snapshot['parent']}), Python {snapshot['python']}",
        [_manager(one) for one in snapshot["managers"]] or [_Node("no managers")],
    )


def _manager(manager: Manager) -> _Node:
    facts = [manager["state"]]
    if manager["task_type"] is not None:
        facts.append(f"task type {manager['task_type']}")
    return _Node(
        f"{words.title(manager)}: {', '.join(facts)}",
        [*_loop(manager), *_tasks(manager), *_resources(manager), *_stack(manager)],
    )


def _loop(manager: Manager) -> Iterator[_Node]:
    if manager["runner"] is not None:
        yield _Node(f"{manager['runner']}: thread {manager['thread']!r}, {manager['loop']}")
        yield _Node(f"lag: {words.lag(manager)}")
    if manager["queued"]:
        yield _Node(f"queued: {manager['queued']}")
    if manager["lineage"]:
        yield _Node(f"lineage: {' < '.join(manager['lineage'])}")


def _tasks(manager: Manager) -> Iterator[_Node]:
    for task in manager["tasks"][: words.SHOWN]:
        yield _Node(_task(task), [_frame(frame) for frame in task["awaits"]])
    if len(manager["tasks"]) > words.SHOWN:
        yield _Node(f"{len(manager['tasks']) - words.SHOWN:,} more tasks, which --json shows")


def _task(task: Task) -> str:
    facts = words.task_facts(task)
    return f"task {task['name']}{': ' if facts else ''}{', '.join(facts)}"


def _resources(manager: Manager) -> Iterator[_Node]:
    for resource in manager["resources"]:
        yield _Node(f"resource {resource['name']}: {resource['state']}")


def _stack(manager: Manager) -> Iterator[_Node]:
    if manager["stack"]:
        yield _Node("its thread is here:", [_frame(frame) for frame in manager["stack"]])


def _frame(frame: Frame) -> _Node:
    return _Node(f"{frame['function']} ({words.place(frame)})")
