"""The name and the request of the work that runs on a loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from wsgi_async.core.base.coroutines import name_of
from wsgi_async.core.base.log import request_of
from wsgi_async.core.loops.open_resources import context_of

if TYPE_CHECKING:
    import asyncio

    from wsgi_async.core.loops.live_loop import LiveLoop

__all__ = ["Work", "work_of"]


class Work(NamedTuple):
    """The work that a task does."""

    name: str
    request: str | None

    @property
    def label(self) -> str:
        """The name in the log."""
        return self.name if self.request is None else f"{self.name} ({self.request})"


def work_of(live: LiveLoop, task: asyncio.Task[Any]) -> Work:
    """The name of a task's coroutine, and its request. From any thread."""
    # Tasks of calls have a name of ours; asyncio numbers the others.
    ours = live.is_of_job(task) or any(actor.task is task for actor in list(live.actors))
    name = task.get_name() if ours else name_of(task.get_coro())
    return Work(name, request_of(context_of(task)))
