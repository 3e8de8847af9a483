"""Futures and tasks of a manager's loop, for sync code on another thread that believes it runs it.

asyncio's own are to be touched on their loop's thread only. Touched elsewhere, they would wake the
loop late, or not at all.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from wsgi_async.core.base.checks import running_loop
from wsgi_async.core.jobs.job import current_caller
from wsgi_async.core.runners.runner import runner_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wsgi_async.core.jobs.job import Asked, ServedFunction

__all__ = ["AdoptedFuture", "AdoptedTask", "WaitingThread"]

T = TypeVar("T")


class AdoptedFuture(asyncio.Future[Any]):
    """A future that any thread can fill or cancel; it is done a moment later.

    Lives as long as somebody holds it.
    """

    def set_result(self, result: Any) -> None:
        """As the base class."""
        _on_loop(self, super().set_result, result)

    def set_exception(self, exception: type | BaseException) -> None:
        """As the base class."""
        _on_loop(self, super().set_exception, exception)

    def cancel(self, msg: Any | None = None) -> bool:
        """As the base class."""
        return _on_loop(self, super().cancel, msg)


class AdoptedTask(asyncio.Task[Any]):
    """A task that any thread can cancel, a moment later. Lives as long as it runs."""

    def cancel(self, msg: Any | None = None) -> bool:
        """As the base class."""
        return _on_loop(self, super().cancel, msg)


def _on_loop(future: asyncio.Future[Any], method: Callable[[Any], object], value: Any) -> bool:
    loop = future.get_loop()
    if running_loop() is loop or future.done():
        return bool(method(value))
    loop.call_soon_threadsafe(_unless_done, future, method, value)
    return True


def _unless_done(future: asyncio.Future[Any], method: Callable[[Any], object], value: Any) -> None:
    if not future.done():
        method(value)


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
        self._open = False  # the thread is in the request's code

    # -- in the request's thread ---------------------------------------------------------------

    def enter(self) -> None:
        """The thread begins with the request's code."""
        self._open = True

    def leave(self) -> None:
        """The thread ends with it: do what was asked for in vain until now."""
        with self._mutex:
            self._open = False
            asked, self._asked = self._asked, []
        for function in asked:
            function.run()

    # -- on the loop ---------------------------------------------------------------------------

    async def wait_for(self, future: Awaitable[T]) -> T:
        """Wait for what the thread waits for."""
        caller = current_caller.get()
        if caller is None:
            return await future
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
