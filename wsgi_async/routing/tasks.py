"""Async functions with a task type, and the base class of routes."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import sys
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from wsgi_async.core import WsgiAsyncError
from wsgi_async.core.messages import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Hashable

__all__ = ["AsyncTask", "Route", "RouteNotFound", "async_task", "table"]

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


class Route:
    """Where the functions of a task type run. Lives as long as it is among the routes.

    For another queue, write a subclass with a `submit()`. Any thread may call its methods.
    """

    def register(self, task: AsyncTask[..., Any]) -> None:
        """Register a function of this type, so that a worker can find it by name.

        It is called for each function of the type, when the routes are set or the function is
        defined, whichever is later; perhaps more than once.
        """

    def submit(
        self, task: AsyncTask[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run the function with these arguments. Return an object that represents the result."""
        raise NotImplementedError


class _Table:
    """All routes and all functions with a task type. Lives as long as the process."""

    def __init__(self) -> None:
        # No lock: replaced as a whole. A thread that sets it reads the tasks afterwards. A thread
        # that adds a task reads the routes after that. So one of the two sees the other's change.
        self.routes: dict[Hashable, Route] = {}
        # Those that replace some of the routes for a while; the last of them comes first. No lock:
        # each is added and removed in one step, and read from a copy.
        self._overrides: dict[object, dict[Hashable, Route]] = {}
        # No lock: each task is added in one step, and read from a copy.
        self._tasks: dict[str, AsyncTask[..., Any]] = {}

    def has_route(self, task_type: object) -> bool:
        """Whether a task type has a route."""
        return self.route_of(task_type) is not None

    def route_of(self, task_type: object) -> Route | None:
        """The present route of a task type; None without one."""
        for routes in reversed([self.routes, *self._overrides.values()]):
            if task_type in routes:
                return routes[task_type]
        return None

    def use(self, routes: dict[Hashable, Route]) -> None:
        """Replace the routes. If a new route refuses a task, the old routes stay."""
        before, self.routes = self.routes, routes
        try:
            self._register_all(routes)
        except BaseException:
            self.routes = before
            raise

    @contextlib.contextmanager
    def override(self, routes: dict[Hashable, Route]) -> Generator[None]:
        """Replace some routes inside a `with` block. The end of the block registers nothing."""
        key = object()
        self._overrides[key] = routes
        try:
            self._register_all(routes)
            yield
        finally:
            del self._overrides[key]

    def add(self, task: AsyncTask[..., Any]) -> None:
        """Add a task, unless its route refuses it."""
        before = self._tasks.get(task.name)
        self._tasks[task.name] = task
        try:
            route = self.route_of(task.task_type)
            if route is not None:
                route.register(task)
        except BaseException:
            if before is None:
                del self._tasks[task.name]
            else:
                self._tasks[task.name] = before
            raise

    def _register_all(self, routes: dict[Hashable, Route]) -> None:
        for task in list(self._tasks.values()):
            if task.task_type in routes:
                routes[task.task_type].register(task)


table = _Table()
errors.routed = table.has_route


class AsyncTask(Generic[P, T]):
    """An async function with a task type, from `@async_task(...)`. Lives as long as the function.

    Calling it returns the function's coroutine, as usual. Any thread may use it.
    """

    __name__: str
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
        """Run the function as the route of its task type says, and return at once.

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
        route = table.route_of(self.task_type)
        if route is None:
            raise RouteNotFound(self.task_type, self.__qualname__)
        return route.submit(self, args, kwargs)


def async_task(
    task_type: Hashable,
) -> Callable[[Callable[P, Coroutine[Any, Any, T]]], AsyncTask[P, T]]:
    """Give an async function a task type and a `submit()` method that follows the type's route.

    Use it on functions at the top level of a module, because a queue finds them by name.

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
        table.add(task)
        return task

    return decorate


def _of(function: object) -> str:
    return getattr(function, "__qualname__", None) or repr(function)


def _mark_as_coroutine_function(task: Any) -> None:
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(task)
    else:  # pragma: no cover - Python 3.11 only
        known: Any = asyncio.coroutines
        task._is_coroutine = known._is_coroutine  # noqa: SLF001 - as asgiref does
