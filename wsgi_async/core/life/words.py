"""Texts about a manager: its name, its work, and why it cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_async.core.base.checks import inherited_error
from wsgi_async.core.messages.errors import ManagerStateError

if TYPE_CHECKING:
    from collections.abc import Hashable

    from wsgi_async.core.base.threads import ThreadNode
    from wsgi_async.core.runners.runner import Runner

__all__ = ["label", "refusal", "work", "work_in_the_log"]


def label(id: Hashable, node: ThreadNode) -> str:
    """The name of a manager in messages."""
    thread = None if node.thread is None else node.thread()
    owner = node.ident if thread is None else repr(thread.name)
    named = "" if id is None else f" id={id!r}"
    return f"AsyncioLoopManager{named} of thread {owner}"


def work(runner: Runner | None) -> str:
    """For `repr()`: what runs the loop, how many calls are not done, the age of the oldest."""
    kind, count, age = _look(runner)
    oldest = f" oldest={age:.1f}s" if count else ""
    return f"{kind} in_flight={count}{oldest}".lstrip()


def work_in_the_log(runner: Runner | None) -> str:
    """The same in words, for the log."""
    kind, count, age = _look(runner)
    oldest = f", the oldest for {age:.1f} s" if count else ""
    return f"{kind or 'not started'}, {count} in flight{oldest}"


def _look(runner: Runner | None) -> tuple[str, int, float]:
    if runner is None:
        return "", 0, 0.0
    ages = [job.age for job in runner.live.unfinished()]
    return runner.kind, len(ages), max(ages, default=0.0)


def refusal(label: str, state: str) -> ManagerStateError:
    """The error that says why a manager cannot be used in this state, and what to do."""
    if state == "inherited":
        return inherited_error(label)
    if state == "new":
        return ManagerStateError(f"{label} is not started. Call its start() first.")
    if state == "starting":
        return ManagerStateError(f"{label} is being started. Use it when start() has returned.")
    if state == "stopping":
        advice = "is being stopped. Call its start() again when stop() has returned."
    else:
        advice = "was stopped. Call its start() again."
    return ManagerStateError(f"{label} {advice}")
