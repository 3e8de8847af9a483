"""What another bridge between sync and async code has to be told by this one.

The core contains no library's name. Whoever knows one registers a plug-in under the name of the
library's module; it is loaded once that module is.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from wsgi_async.core.base.primitives import new_mutex

if TYPE_CHECKING:
    import asyncio
    import contextvars
    from collections.abc import Awaitable, Callable, Coroutine
    from contextlib import AbstractContextManager

    from .inbox import Inbox

__all__ = ["Bridge", "active", "look", "plugins"]

T = TypeVar("T")


class Bridge(Protocol):
    """A plug-in for one library. Lives as long as the process; callable from any thread."""

    def loop_opened(self, loop: asyncio.AbstractEventLoop) -> None:
        """Work on this loop may use the library from now on."""

    def loop_closed(self, loop: asyncio.AbstractEventLoop) -> None:
        """The loop is being closed."""

    def context_moved(self, context: contextvars.Context) -> None:
        """On the loop: this context comes from another thread, and is used on this one.

        Raises:
            RuntimeError: The context is entered.
        """

    def value_back(
        self, variable: contextvars.ContextVar[Any], value: Any, old: Any, *, inner: bool
    ) -> Any:
        """What a caller is to see of a variable's value that its coroutine has set.

        Args:
            variable: The variable.
            value: What the coroutine has set.
            old: What the caller has there.
            inner: The caller is sync code of another coroutine on the same loop.

        Returns:
            The value, or `old` if the variable stays as it was.
        """

    def submitted(self, context: contextvars.Context) -> None:
        """Work in this context outlives the code that submits it, on this thread."""

    def thread_inbox(self) -> Inbox | None:
        """What this thread has to run beside what it waits for."""

    def calling_loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop whose coroutine has called the sync code that this thread runs, if any."""

    def calling(self) -> AbstractContextManager[None]:
        """Around a call of an async function, with the arguments, from sync code."""
        ...

    def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """Call an async function as the library does, on the loop of `calling_loop()`."""
        ...

    def cancel_with_caller(self, coro: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """The coroutine, which is canceled with the one whose sync code waits for it."""
        ...


active: Bridge | None = None
"""The plug-in that is loaded. Written once."""

plugins: dict[str, str] = {}
"""Plug-ins that are not: a library's module, and ours. Another dict once one is loaded."""

_lock = new_mutex()


def look() -> None:
    """Load the plug-in of a library that has been imported by now. Cheap where there is none."""
    for library, plugin in plugins.items():
        if library in sys.modules:
            _load(library, plugin)


def _load(library: str, plugin: str) -> None:
    global active, plugins  # noqa: PLW0603 - see there
    module = importlib.import_module(plugin)
    with _lock:
        # Not before the library is there in full: another thread may be just importing it.
        if active is None and module.ready():
            active = module.Plugin()
            plugins = {name: other for name, other in plugins.items() if name != library}
