"""Async functions with a task type, and routes that decide where each type runs.

Decorate a function once, and say in one place where its type runs::

    from wsgi_async.routing import async_task, set_routes

    @async_task("mail")
    async def send(to: str) -> None: ...

    set_routes({"mail": "thread"})
    send.submit("ann@example.com")    # in the background, where the route of "mail" leads
    await send("ann@example.com")     # here, as the function that it is

When the work outgrows the process, change the route to a queue, for example `CeleryRoute` of
`wsgi_async.integrations.celery`. The function and its callers stay as they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeAlias, TypeVar

from .core import AsyncioLoopManager, WsgiAsyncError, current_manager, get_or_create_loop_manager
from .core.base.forks import notice_fork
from .core.base.log import origin
from .core.managers.current import request_manager, start_once

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable, Iterator, Mapping

    from .core import SyncFuture

__all__ = [
    "AsyncTask",
    "Manager",
    "Route",
    "RouteNotFound",
    "async_task",
    "override_routes",
    "process_manager",
    "set_routes",
    "submit_alone",
]

P = ParamSpec("P")
T = TypeVar("T")


class RouteNotFound(WsgiAsyncError, LookupError):
    """A function was submitted whose task type has no route.

    Args:
        task_type: The type.
        function: The function's name.
    """

    def __init__(self, task_type: object, function: str) -> None:
        super().__init__(task_type, function)
        self.task_type = task_type
        self.function = function

    def __str__(self) -> str:
        return (
            f"{self.function}() has the task type {self.task_type!r}, which has no route. Add it "
            f'to the routes, for example set_routes({{{self.task_type!r}: "thread"}}).'
        )


# -- routes ----------------------------------------------------------------------------------------


class Route:
    """Where the functions of a task type run. Lives as long as it is among the routes.

    For another queue, write a subclass with a `submit()`. Any thread may call its methods.
    """

    def register(self, task: AsyncTask[..., Any]) -> None:
        """Get to know a function of the type: a worker may have to find it by its name.

        It is called for each function of the type, when the routes are set or the function is
        defined, whichever is later; perhaps more than once.
        """

    def submit(
        self, task: AsyncTask[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Have the function run with these arguments; return what stands for its result."""
        raise NotImplementedError


class _Local(Route):
    """A manager of this process."""

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


def submit_alone(
    manager: AsyncioLoopManager, coro: Coroutine[Any, Any, T], *, task_type: Hashable = None
) -> SyncFuture[T]:
    """As `manager.submit_task()`, but in a new context, in which the manager is the current one.

    The coroutine does not see the caller's context variables. A queue's worker would not have them
    either. The log still names the request that it comes from.
    """
    context = contextvars.Context()
    context.run(origin.set, origin.get())
    context.run(request_manager.set, weakref.ref(manager))
    return context.run(manager.submit_task, coro, task_type=task_type)


class _Process:
    """The manager of the route "process". Lives as long as the process.

    A forked child finds that of its parent not running, and makes its own.
    """

    def __init__(self) -> None:
        self._manager: AsyncioLoopManager | None = None  # guarded by the lock
        self._lock = threading.Lock()  # not held while one is started
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew_lock)

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()  # another thread may have held it at the fork

    def find(self) -> AsyncioLoopManager:
        notice_fork()
        with self._lock:
            manager = self._manager
            if manager is None or manager.state not in ("new", "starting", "running"):
                manager = self._manager = AsyncioLoopManager(
                    "wsgi_async.process", creator_thread=threading.main_thread()
                )
        return start_once(manager)


_process = _Process()


def process_manager() -> AsyncioLoopManager:
    """The manager that the route `"process"` uses, running. From any thread.

    It is made at the first use in each process, also after a fork, and stopped when the process
    exits.

    Raises:
        RuntimeError, OSError: It cannot be started.
    """
    return _process.find()


AnyRoute: TypeAlias = Route | Literal["thread", "process"]

_NAMED: dict[object, Route] = {"thread": _Local(current_manager), "process": _Local(_process.find)}

# No lock: replaced as a whole. Who sets it looks at the tasks afterwards, and who defines a task
# looks at it after that. One of the two sees the other.
_routes: dict[Hashable, Route] = {}
# No lock: each task is added in one step, and read from a copy.
_tasks: dict[str, AsyncTask[..., Any]] = {}


def set_routes(routes: Mapping[Hashable, AnyRoute]) -> None:
    """Say where each task type runs, in the whole process. It replaces all earlier routes.

    A worker of a queue needs the routes too: call it in a module that both import. From any
    thread.

    Args:
        routes: For each task type `"thread"`, the current manager: the request's or the thread's;
            `"process"`, one manager that all threads share; `Manager(id)`; or a queue's route.

    Raises:
        TypeError: `routes` is not a mapping of routes.
        ValueError: A queue cannot take one of the functions.
    """
    _use({task_type: _route_of(task_type, route) for task_type, route in dict(routes).items()})


@contextlib.contextmanager
def override_routes(routes: Mapping[Hashable, AnyRoute]) -> Iterator[None]:
    """Give some task types other routes inside a `with` block, for a test.

    It holds for the whole process, so also for the threads of a server under test. Other types
    keep their routes.

    Args:
        routes: As `set_routes()` takes them.
    """
    before = _routes
    set_routes({**before, **routes})
    try:
        yield
    finally:
        _use(before)


def _use(routes: dict[Hashable, Route]) -> None:
    global _routes  # noqa: PLW0603 - one for the process
    before, _routes = _routes, routes
    try:
        for task in list(_tasks.values()):
            _register(task)
    except BaseException:
        _routes = before
        raise


def _register(task: AsyncTask[..., Any]) -> None:
    route = _routes.get(task.task_type)
    if route is not None:
        route.register(task)


def _route_of(task_type: Hashable, route: object) -> Route:
    if isinstance(route, Route):
        return route
    if isinstance(route, str) and route in _NAMED:
        return _NAMED[route]
    raise TypeError(
        f'The route of {task_type!r} is {route!r}. Use "thread", "process", Manager(id) or a '
        "queue's route, for example CeleryRoute(app)."
    )


# -- functions -------------------------------------------------------------------------------------


class AsyncTask(Generic[P, T]):
    """An async function with a task type, from `@async_task(...)`. Lives as long as the function.

    A call gives the function's coroutine, as before. Any thread may use it.
    """

    __qualname__: str

    def __init__(self, function: Callable[P, Coroutine[Any, Any, T]], task_type: Hashable) -> None:
        functools.update_wrapper(self, function)
        self.task_type = task_type
        self.function = function
        _mark_as_coroutine_function(self)

    def __repr__(self) -> str:
        return f"<async task {self.name} of the type {self.task_type!r}>"

    def __reduce__(self) -> str:
        return self.__qualname__  # pickled by its name, as a function is

    @property
    def name(self) -> str:
        """The function's module and name, with a dot between them."""
        return f"{self.__module__}.{self.__qualname__}"

    def check_importable(self) -> None:
        """Raise if a worker could not find the function by its name.

        Raises:
            ValueError: It is defined in a function or in the program's main module.
        """
        if "<" in self.__qualname__ or self.__module__ == "__main__":
            raise ValueError(
                f"A queue's worker cannot import {self.name}. Define it at the top of a module."
            )

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        """The function's coroutine, to be awaited."""
        return self.function(*args, **kwargs)

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Run the function where the route of its task type leads, and return at once.

        The function runs in a context of its own: without the caller's context variables, the
        request's deadline or its scope. From any thread; in a coroutine, note that a queue's
        route waits for the queue to take the message.

        Returns:
            A `SyncFuture` from a route in this process; a queue's own object for a result
            otherwise, for example Celery's `AsyncResult`.

        Raises:
            RouteNotFound: The task type has no route.
            ManagerNotFound: The route is a `Manager(id)`, and the calling thread finds none.
            RuntimeError: The manager is not running.
            Exception: What the queue raises, for example for arguments that it cannot carry.
        """
        route = _routes.get(self.task_type)
        if route is None:
            raise RouteNotFound(self.task_type, self.__qualname__)
        return route.submit(self, args, kwargs)


def async_task(
    task_type: Hashable,
) -> Callable[[Callable[P, Coroutine[Any, Any, T]]], AsyncTask[P, T]]:
    """Give an async function a task type, and so a `submit()` that follows the type's route.

    For functions of a module; a queue finds them by their name.

    Args:
        task_type: Any hashable, for example `"mail"`.

    Raises:
        TypeError: `task_type` cannot be hashed, or the function is not an `async def`.
        ValueError: The type's route is a queue that cannot take the function.
    """
    hash(task_type)
    if inspect.isfunction(task_type):
        raise TypeError(
            f'async_task needs a task type. Write @async_task("mail") above {_of(task_type)}.'
        )

    def decorate(function: Callable[P, Coroutine[Any, Any, T]]) -> AsyncTask[P, T]:
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"{_of(function)} is not an async function. Write it with async def.")
        task = AsyncTask(function, task_type)
        _tasks[task.name] = task
        try:
            _register(task)
        except BaseException:
            del _tasks[task.name]
            raise
        return task

    return decorate


def _of(function: object) -> str:
    return getattr(function, "__qualname__", None) or repr(function)


def _mark_as_coroutine_function(task: Any) -> None:
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(task)
    else:
        task._is_coroutine = asyncio.coroutines._is_coroutine  # noqa: SLF001 - as asgiref does
