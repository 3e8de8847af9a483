"""Loop resources: a client, pool or session that each loop opens once and closes itself.

Most asyncio objects work only on the loop that opened them. A loop resource gives each loop its
own.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import weakref
from asyncio import get_running_loop
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from wsgi_async.core.base.checks import refuse_in_event_loop
from wsgi_async.core.base.coroutines import qualified_name
from wsgi_async.core.base.primitives import new_mutex
from wsgi_async.core.life.hooks import own_loop
from wsgi_async.core.loops.open_resources import known_resources, resources_of
from wsgi_async.core.messages.advice import kind_of

from .current import current_manager, request_manager, running_here

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from .manager import AsyncioLoopManager

    Factory = Callable[[], AbstractAsyncContextManager["T"] | AsyncIterator["T"]]

__all__ = ["LoopResource", "loop_resource"]

T = TypeVar("T")
F = TypeVar("F")

_MISSING = object()


class LoopResource(Generic[T]):
    """Something that each loop opens once, on first use. Made by `loop_resource`.

    `await resource()` in a coroutine and `resource.get()` in sync code give you the loop's own
    instance. A task on that loop opens it, keeps it open and closes it. The task runs in an empty
    `contextvars.Context`, so the instance sees no context variables of any request.

    When a manager is stopped, it first ends its tasks. Then it closes the instances, in reverse
    order of opening. The time that is left is divided evenly among them. If one fails or takes too
    long, the log names it, and the others are closed all the same. Tasks that an instance has
    started itself run until it is closed.

    On an event loop that wsgi_async did not create, `asyncio.run()` closes the instances at its
    end, because it cancels all tasks. If such a loop is closed in another way, they stay open. If
    somebody cancels the task of an instance, the instance is closed, and the next use opens
    another.

    Use it from any thread.

    Args:
        factory: As `loop_resource` takes it.

    Raises:
        TypeError: `factory` cannot make instances.
    """

    def __init__(self, factory: Factory[T]) -> None:
        made_by: object = factory
        if not callable(made_by) or _makes_something_else(made_by):
            raise TypeError(
                f"{kind_of(factory)} cannot make a loop resource. Give an async generator function "
                "that yields once, or a callable that returns an async context manager."
            )
        functools.update_wrapper(self, factory, updated=())  # without the __dict__ of a class
        # FastAPI's `Depends(resource)` would call the factory if it found it.
        del self.__dict__["__wrapped__"]
        self.name: str = qualified_name(factory)
        """What the log and errors call it: the factory's qualified name."""
        self._factory = factory
        # While the resource is overridden, a key that no loop has. So the fast path need not check
        # for overrides.
        self._key: object = self
        # The lock guards the list and the key. The thread that holds it can take it again: a
        # destructor that ends an override may run between any two steps.
        self._lock = new_mutex()
        self._overrides: list[_Override[Any]] = []

    def __repr__(self) -> str:
        return f"<LoopResource {self.name}>"

    if not TYPE_CHECKING:  # pragma: no branch - type checkers go by what it has

        def __getattr__(self, name: str) -> Any:
            known = self.__dict__.get("name", "resource")  # a copy has none at first
            raise AttributeError(
                f"The loop resource {known} has no attribute {name!r}. Get what it opens first: "
                f"`await {known}()` in a coroutine, `{known}.get()` in sync code.",
                name=name,
                obj=self,
            )

    async def __call__(self) -> T:
        """Return the running loop's instance. The first call opens it.

        Await it in a coroutine. Concurrent first uses open the instance once. If one of them is
        canceled, the opening continues.

        Raises:
            RuntimeError: The loop is being closed, or resources wait for each other: a resource
                uses another one while it opens, and that one uses the first.
            BaseException: The exception that the opening raised. Every coroutine that waits for it
                gets it. The next use tries again.
        """
        try:
            # The attribute's name is spelled out, and no method called: this saves half the time.
            return get_running_loop().wsgi_async_instances[self._key]  # type: ignore[attr-defined,no-any-return]
        except (AttributeError, KeyError):
            pass  # continue outside, or this error becomes the context of one from the opening
        return await self._first_use()

    async def _first_use(self) -> T:
        for override in self._overrides[-1:]:
            return override.value  # type: ignore[no-any-return]
        resources = resources_of(get_running_loop())
        return await resources.instance(self, self.name, self._make)  # type: ignore[no-any-return]

    def get(self, manager: AsyncioLoopManager | None = None) -> T:
        """Return the instance of a manager's loop, in sync code. The first call opens it.

        Call it from a thread that is not running an event loop.

        Args:
            manager: The manager; None uses the current manager: the request's or the thread's.

        Raises:
            RuntimeError: This thread is running an event loop, or the manager is not started or is
                being stopped.
            TypeError: `manager` is something else.
            BaseException: What the opening raised.
        """
        refuse_in_event_loop(f"await {self.name}()")
        for override in self._overrides[-1:]:
            return override.value  # type: ignore[no-any-return]
        if manager is None:
            manager = current_manager()
        elif not hasattr(manager, "get_event_loop"):
            raise TypeError(
                f"{manager!r} is not a manager, and {self.name} is a loop resource. Ask the "
                f"instance itself: {self.name}.get() gives it in sync code, await {self.name}() in "
                "a coroutine."
            )
        resources = known_resources(manager.get_event_loop())
        value = _MISSING if resources is None else resources.instances.get(self, _MISSING)
        if value is not _MISSING:
            return value  # type: ignore[return-value]
        return manager.run(self(), task_type=manager.task_type, copy_back=False)

    def override(self, value: F) -> AbstractContextManager[F]:
        """Replace the instance in tests, on all loops and in all threads.

        The replacement lasts as long as the returned context manager is entered. If you nest
        several, the innermost one applies. Open instances stay open. From any thread.

        Args:
            value: The replacement: any object. It is neither opened nor closed.
        """
        return _Override(value, self._add, self._remove)

    def _make(self) -> AbstractAsyncContextManager[T]:
        """Make what is opened. In the resource's task, whose context is empty."""
        manager = running_here()
        if manager is not None:
            # So that sync code that the resource calls uses this loop, whatever the manager's id.
            request_manager.set(weakref.ref(manager))
            own_loop.set(weakref.ref(get_running_loop()))
        made: Any = self._factory()
        if hasattr(made, "__aenter__") and hasattr(made, "__aexit__"):
            return made  # type: ignore[no-any-return]
        if hasattr(made, "__anext__"):
            return _YieldsOnce(made, self.name)
        if asyncio.iscoroutine(made):
            made.close()
        raise TypeError(
            f"{self.name} returned {made!r}, which cannot be opened. Have it yield what it opens, "
            "or return an async context manager."
        )

    def _add(self, override: _Override[Any]) -> None:
        with self._lock:
            self._overrides.append(override)
            self._key = _MISSING

    def _remove(self, override: _Override[Any]) -> None:
        with self._lock:
            if override in self._overrides:
                self._overrides.remove(override)
            self._key = _MISSING if self._overrides else self


@overload
def loop_resource(factory: Callable[[], AbstractAsyncContextManager[T]], /) -> LoopResource[T]: ...


@overload
def loop_resource(factory: Callable[[], AsyncIterator[T]], /) -> LoopResource[T]: ...


def loop_resource(factory: Factory[T], /) -> LoopResource[T]:
    """Make a `LoopResource`, which each loop opens once and closes itself. A decorator.

    Args:
        factory: Called without arguments on each loop, on first use there. Either an async
            generator function that opens something, yields it once and closes it, or a factory of
            async context managers: a client's class, or an `@asynccontextmanager` function.

    Raises:
        TypeError: `factory` is neither.
    """
    return LoopResource(factory)


class _Override(AbstractContextManager[F]):
    """One value that replaces a resource's instance, from `__enter__` to `__exit__`."""

    def __init__(
        self,
        value: F,
        add: Callable[[_Override[Any]], None],
        remove: Callable[[_Override[Any]], None],
    ) -> None:
        self.value = value
        self._add = add
        self._remove = remove

    def __enter__(self) -> F:
        self._add(self)
        return self.value

    def __exit__(self, *_: object) -> None:
        self._remove(self)


class _YieldsOnce(AbstractAsyncContextManager[T]):
    """An async generator as a context manager. Lives as long as what it yields is open."""

    def __init__(self, generator: AsyncIterator[T], name: str) -> None:
        self._generator = generator
        self._name = name

    async def __aenter__(self) -> T:
        try:
            return await anext(self._generator)
        except StopAsyncIteration:
            raise RuntimeError(
                f"{self._name} ended without a yield. Yield the opened object once."
            ) from None

    async def __aexit__(self, *_: object) -> None:
        try:
            await anext(self._generator)
        except StopAsyncIteration:
            return
        close = getattr(self._generator, "aclose", None)
        if close is not None:
            await close()
        raise RuntimeError(
            f"{self._name} yielded twice. A loop resource yields once, and closes after that."
        )


def _makes_something_else(factory: object) -> bool:
    return inspect.iscoroutinefunction(factory) or inspect.isgeneratorfunction(factory)
