"""Futures and tasks of a manager's loop, for sync code on another thread that believes it runs it.

asyncio's own are to be touched on their loop's thread only. Touched elsewhere, they would wake the
loop late, or not at all.
"""

from __future__ import annotations

import asyncio
import threading
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from wsgi_async.core.base.checks import running_loop
from wsgi_async.core.jobs.job import current_caller
from wsgi_async.core.runners.runner import runner_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wsgi_async.core.jobs.job import Asked, ServedFunction

__all__ = ["Adopted", "AdoptedFuture", "AdoptedTask", "Facade", "WaitingThread", "wait_elsewhere"]

T = TypeVar("T")


class Facade(Protocol):
    """What the request's sync code takes for the loop."""

    @property
    def is_seen_here(self) -> bool:
        """Whether the current code is such code."""
        ...

    def defer(self, call: Callable[[], object]) -> None:
        """Have something called on the loop when that code waits for it the next time."""


class Adopted(asyncio.Future[Any]):
    """What is the same for both.

    `facade` is written once, on the loop or before others see the future.
    """

    facade: Facade | None = None

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Its loop: for the request's sync code, the one that the code has asked for."""
        facade = self.facade
        seen: Any = super().get_loop() if facade is None or not facade.is_seen_here else facade
        return seen  # type: ignore[no-any-return]

    def add_done_callback(self, fn: Callable[[Any], object], /, *, context: Any = None) -> None:
        """As the base class.

        From sync code it counts from the next wait on, as with asyncio: `gather()` is not ready
        for a task that is done while it still adds its callbacks.
        """
        context = copy_context() if context is None else context
        add = partial(super().add_done_callback, fn, context=context)
        loop, facade = super().get_loop(), self.facade
        if running_loop() is loop:
            add()
        elif facade is not None and facade.is_seen_here:
            facade.defer(add)
        else:
            loop.call_soon_threadsafe(add)

    def cancel(self, msg: Any | None = None) -> bool:
        """As the base class."""
        return self._on_loop(super().cancel, msg)

    def _on_loop(self, method: Callable[[Any], object], value: Any) -> bool:
        loop = super().get_loop()
        if running_loop() is loop or self.done():
            return bool(method(value))
        loop.call_soon_threadsafe(self._unless_done, method, value)
        return True

    def _unless_done(self, method: Callable[[Any], object], value: Any) -> None:
        if not self.done():
            method(value)


class AdoptedFuture(Adopted):
    """A future that any thread can fill or cancel; it is done a moment later.

    Lives as long as somebody holds it.
    """

    def set_result(self, result: Any) -> None:
        """As the base class."""
        self._on_loop(super().set_result, result)

    def set_exception(self, exception: type | BaseException) -> None:
        """As the base class."""
        self._on_loop(super().set_exception, exception)


class AdoptedTask(Adopted, asyncio.Task[Any]):
    """A task that any thread can cancel, a moment later. Lives as long as it runs."""


async def wait_elsewhere(future: asyncio.Future[Any], facade: object) -> Any:
    """Wait on the loop for a future that may take the facade for its loop.

    `gather()` makes such a future.
    """
    if future.get_loop() is not facade:
        return await future
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def tell(_: object) -> None:
        if not done.done():
            done.set_result(None)

    future.add_done_callback(tell)
    try:
        await done
    except asyncio.CancelledError:
        future.cancel()
        raise
    return future.result()


class WaitingThread:
    """Whom the coroutines of adopted tasks ask for a thread: that of the request.

    A task begins as soon as it is made, mostly a moment before its thread waits for it. What it
    asks for meanwhile is done in that wait, or when the thread leaves the request's code. Lives as
    long as the tasks.
    """

    outer: Asked | None = None

    def __init__(self) -> None:
        self._waiting: list[Asked] = []  # for the loop only
        # Guards the rest. Its thread can take it again: a destructor may come here.
        self._mutex = threading.RLock()
        self._asked: list[ServedFunction] = []  # before a wait
        self._deferred: list[Callable[[], object]] = []  # until the next wait
        self._open = False  # the thread is in the request's code
        self._thread = 0  # the thread's ident

    # -- in the request's thread ---------------------------------------------------------------

    def enter(self) -> None:
        """The thread begins with the request's code."""
        self._thread = threading.get_ident()
        self._open = True

    @property
    def is_current(self) -> bool:
        """Whether this is the thread, in the request's code."""
        return self._open and self._thread == threading.get_ident()

    def leave(self, post: Callable[[Callable[[], object]], object]) -> None:
        """The thread ends with it: do what was asked for in vain until now.

        Args:
            post: Has something called on the loop.
        """
        with self._mutex:
            self._open = False
            asked, self._asked = self._asked, []
            deferred, self._deferred = self._deferred, []
        for call in deferred:
            post(call)
        for function in asked:
            function.run()

    def defer(self, call: Callable[[], object]) -> None:
        """Have something called on the loop at the beginning of the next wait."""
        with self._mutex:
            self._deferred.append(call)

    # -- on the loop ---------------------------------------------------------------------------

    async def wait_for(self, future: Awaitable[T]) -> T:
        """Wait for what the thread waits for."""
        caller = current_caller.get()
        assert caller is not None, "a thread waits"  # noqa: S101
        self._waiting.append(caller)
        try:
            self._pass_on(asyncio.get_running_loop())
            return await future
        finally:
            self._waiting.remove(caller)
            del caller  # it leads to this context: no cycle

    def _pass_on(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._mutex:
            asked, self._asked = self._asked, []
            deferred, self._deferred = self._deferred, []
        for call in deferred:
            call()
        for function in asked:
            if not self.ask(loop, function):
                function.lose()

    def ask(self, loop: asyncio.AbstractEventLoop, function: ServedFunction) -> bool:
        """Have the thread run a function; see `Asked`."""
        if any(caller.ask(loop, function) for caller in reversed(self._waiting)):
            return True
        runner = runner_of(loop)
        if runner is None:
            return False
        function.home = runner.live
        with self._mutex:
            if self._open:
                self._asked.append(function)
            return self._open
