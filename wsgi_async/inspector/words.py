"""The words for the contents of a snapshot, in the tree and on the page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsgi_async.insight.snapshot import Manager, Snapshot, Task
    from wsgi_async.insight.stacks import Frame

__all__ = ["SHOWN", "lag", "place", "seconds", "task_facts", "title", "totals"]

SHOWN = 100
"""The most tasks of one manager to show; JSON has all of them."""


def seconds(value: float) -> str:
    """A duration, in the unit that suits it."""
    if value < 0.001:
        return f"{value * 1e6:.0f} µs"
    if value < 1:
        return f"{value * 1e3:.1f} ms" if value < 0.01 else f"{value * 1e3:.0f} ms"
    if value < 120:
        return f"{value:.1f} s"
    minutes = value / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def title(manager: Manager) -> str:
    """A manager's title: its id, or the thread that it belongs to."""
    name = f"id {manager['id']}" if manager["id"] is not None else _owner(manager)
    return f"Manager of {name}" if manager["id"] is None else f"Manager with {name}"


def _owner(manager: Manager) -> str:
    return f"thread {manager['lineage'][0]!r}" if manager["lineage"] else "a thread that has ended"


def lag(manager: Manager) -> str | None:
    """How fast the loop answers; None if there is no loop."""
    if manager["runner"] is None:
        return None
    if manager["lag"] is None:
        return "does not answer"
    return seconds(manager["lag"])


def task_facts(task: Task) -> list[str]:
    """The facts about a task, besides its name and where it waits."""
    facts = [] if task["age"] is None else [seconds(task["age"])]
    if task["request"] is not None:
        facts.append(f"for {task['request']}")
    if task["waiter"] is not None:
        facts.append(f"thread {task['waiter']!r} waits for it")
    return facts


def place(frame: Frame) -> str:
    """A frame's file and line, with only as much of the path as tells files apart."""
    return f"{'/'.join(Path(frame['file']).parts[-2:])}:{frame['line']}"


def totals(snapshots: list[Snapshot]) -> str:
    """The total numbers, in words."""
    managers = [manager for snapshot in snapshots for manager in snapshot["managers"]]
    tasks = sum(len(manager["tasks"]) for manager in managers)
    counted = ((len(snapshots), "process"), (len(managers), "manager"), (tasks, "task"))
    return ", ".join(_counted(number, noun) for number, noun in counted)


def _counted(number: int, noun: str) -> str:
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number:,} {noun if number == 1 else plural}"
