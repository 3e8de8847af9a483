"""The results of a backend's tasks, in memory."""
# Django has no types, and strict mode would complain of each use of it.
# pyright: standard, reportMissingImports=false, reportAttributeAccessIssue=false

from __future__ import annotations

import copy
import os
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from django.tasks.exceptions import TaskResultDoesNotExist

from wsgi_async.core.base.primitives import new_mutex

if TYPE_CHECKING:
    from django.tasks import TaskResult

__all__ = ["Results", "changed", "results_of"]


def changed(result: TaskResult, **changes: Any) -> TaskResult:
    """A copy with some attributes changed; copies that others hold do not change."""
    new = copy.copy(result)
    for name, value in changes.items():
        object.__setattr__(new, name, value)
    return new


class Results:
    """The latest state of each task. Lives as long as the process; any thread may use it.

    A task that is not finished is always kept. A forked child starts without any.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all results. Also called in a forked child, which has only one thread."""
        # Make a new lock, because another thread may have held the old one at the fork.
        self._lock = new_mutex()  # guards the next two; a destructor may come here too
        self._results: dict[str, TaskResult] = {}
        self._finished: deque[tuple[float, str]] = deque()  # (time, id), the oldest first

    def put(self, result: TaskResult) -> None:
        """Keep a task's new state."""
        with self._lock:
            self._results[result.id] = result
            if result.is_finished:
                self._finished.append((time.monotonic(), result.id))

    def get(self, id: str) -> TaskResult:
        """A task's latest state.

        Raises:
            TaskResultDoesNotExist: There is no such task, or it has been forgotten.
        """
        with self._lock:
            result = self._results.get(id)
        if result is None:
            raise TaskResultDoesNotExist(id)
        return copy.copy(result)

    def drop(self, *, max_results: int, max_age: float) -> None:
        """Forget the oldest finished tasks.

        Args:
            max_results: How many to keep.
            max_age: How many seconds to keep them.
        """
        with self._lock:
            finished, before = self._finished, time.monotonic() - max_age
            while finished and (len(finished) > max_results or finished[0][0] < before):
                self._results.pop(finished.popleft()[1], None)


# No lock: each entry is added in one step.
_known: dict[str, Results] = {}


def results_of(alias: str) -> Results:
    """The results that all backends with this alias share. From any thread."""
    found = _known.get(alias)
    return _known.setdefault(alias, Results()) if found is None else found


def _in_child() -> None:
    for results in _known.values():
        results.clear()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(after_in_child=_in_child)
