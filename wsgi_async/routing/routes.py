"""Routes within the process, and the mapping of task types to routes."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, cast

from wsgi_async.core import current_manager, get_or_create_loop_manager

from .managers import process_manager, submit_alone
from .tasks import Route, table

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable

    from wsgi_async.core import AsyncioLoopManager, SyncFuture

    from .tasks import AsyncTask

__all__ = ["AnyRoute", "Manager", "override_routes", "set_routes"]

AnyRoute: TypeAlias = Route | Literal["thread", "process"]
M = TypeVar("M", bound=AnyRoute)


class _Local(Route):
    """A route to a manager of this process."""

    def __init__(self, find: Callable[[], AsyncioLoopManager]) -> None:
        self._find = find

    def submit(
        self, task: AsyncTask[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> SyncFuture[Any]:
        manager = self._find()
        task_type = None if manager.task_type is None else task.task_type
        return submit_alone(manager, task(*args, **kwargs), task_type=task_type)


class Manager(_Local):
    """The manager with an id, which the calling thread finds, as a route.

    If the manager was started with a task type, the function must have the same one.

    Args:
        id: What `get_or_create_loop_manager()` finds it by. `submit()` raises `ManagerNotFound`
            where there is none.
    """

    def __init__(self, id: Hashable) -> None:
        self.id = id
        super().__init__(functools.partial(get_or_create_loop_manager, id, strictly_get=True))

    def __repr__(self) -> str:
        return f"Manager({self.id!r})"


_NAMED: dict[object, Route] = {
    "thread": _Local(current_manager),
    "process": _Local(process_manager),
}


def set_routes(routes: Mapping[Any, AnyRoute]) -> None:
    """Set where each task type runs, for the whole process. This replaces all earlier routes.

    A worker of a queue needs the routes too: call it in a module that both import. From any
    thread.

    Args:
        routes: For each task type `"thread"`, the current manager: the request's or the thread's;
            `"process"`, one manager that all threads share, besides that of the middleware's
            `per="process"`; `Manager(id)`; or a queue's route.

    Raises:
        TypeError: `routes` is not a mapping of routes.
        ValueError: A queue cannot take one of the functions.
    """
    table.use(_checked(routes))


@contextlib.contextmanager
def override_routes(routes: Mapping[Any, M]) -> Generator[Mapping[Any, M]]:
    """Give some task types other routes inside a `with` block, for a test.

    It applies to the whole process, including the threads of a server under test, and also if the
    block calls `set_routes()`, or makes an application with `routes=`. Other types keep their
    routes. `as` gives the mapping that you passed.

    Args:
        routes: As `set_routes()` takes them.
    """
    with table.override(_checked(routes)):
        yield routes


def _checked(routes: Mapping[Any, AnyRoute]) -> dict[Hashable, Route]:
    if not isinstance(cast("object", routes), Mapping):
        raise TypeError(f"routes is {routes!r}. Use a dict: a route for each task type.")
    return {task_type: _route_of(task_type, route) for task_type, route in routes.items()}


def _route_of(task_type: Hashable, route: object) -> Route:
    if isinstance(route, Route):
        return route
    if isinstance(route, str) and route in _NAMED:
        return _NAMED[route]
    raise TypeError(
        f'The route of {task_type!r} is {route!r}. Use "thread", "process", Manager(id) or a '
        "queue's route, for example CeleryRoute(app)."
    )
