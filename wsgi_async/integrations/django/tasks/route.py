"""A route for task types that leads to a backend of Django Tasks."""
# Django has no types, and strict mode would complain of each use of it.
# pyright: standard, reportMissingImports=false, reportAttributeAccessIssue=false

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from django.tasks import Task, TaskResult
from django.utils.module_loading import import_string

from wsgi_async.routing import AsyncTask, Route

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["DjangoRoute", "run_routed"]


class DjangoRoute(Route):
    """A backend of Django Tasks, as a route.

    What is enqueued is the task `run_routed`, with the function's name and arguments, which must be
    JSON. The worker imports the function by its name; it needs no routes. `submit()` returns
    Django's `TaskResult`. In a coroutine, call it by `asyncio.to_thread()`, because most backends
    use the database.

    Args:
        backend: The backend's alias in `TASKS`.
        queue_name: The queue; the backend's default one with None.
        priority: As Django's `Task` takes it.
        run_after: As Django's `Task` takes it.
    """

    def __init__(
        self,
        backend: str = "default",
        *,
        queue_name: str | None = None,
        priority: int | None = None,
        run_after: datetime | None = None,
    ) -> None:
        self._options: dict[str, Any] = {
            "backend": backend,
            "queue_name": queue_name,
            "priority": priority,
            "run_after": run_after,
        }

    def __repr__(self) -> str:
        return f"DjangoRoute({self._options['backend']!r})"

    def register(self, task: AsyncTask[..., Any]) -> None:
        """Check that a worker can find the function by its name."""
        task.check_importable()

    def submit(
        self, task: AsyncTask[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> TaskResult:
        """Enqueue the function's name and arguments."""
        inspect.signature(task.function).bind(*args, **kwargs)  # wrong arguments raise here
        routed: Any = run_routed
        return routed.using(**self._options).enqueue(task.name, list(args), kwargs)


class _RunRouted(Task):
    """The task that is enqueued. Its backend checks it when it is enqueued, not at its import.

    The backend named "default" may have other queues, or may not exist at all.
    """

    __slots__ = ()

    def __post_init__(self) -> None:
        pass


async def _run_routed(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    task = import_string(name)
    # Whoever can write to the queue chooses the name, so only run functions meant for it.
    if not isinstance(task, AsyncTask):
        raise TypeError(f"{name} is not an async task. Decorate it with @async_task.")
    return await task(*args, **kwargs)


# Workers look for the task by its function's module and name.
_run_routed.__name__ = _run_routed.__qualname__ = "run_routed"
run_routed = _RunRouted(func=_run_routed)
"""The task that a `DjangoRoute` enqueues: it runs an async task by its name."""
