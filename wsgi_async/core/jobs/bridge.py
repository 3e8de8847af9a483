"""The interface of plug-ins for other libraries that mix sync and async code.

The core contains no library's name. Code that knows a library registers a plug-in under the name
of the library's module. The plug-in is loaded after that module.
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
        """On the loop: this context comes from another thread, and is used on this one now.

        Raises:
            RuntimeError: The context is entered.
        """

    def value_back(
        self, variable: contextvars.ContextVar[Any], value: Any, old: Any, *, inner: bool
    ) -> Any:
        """The value that a caller gets for a context variable that its coroutine has set.

        Args:
            variable: The variable.
            value: The value that the coroutine has set.
            old: The caller's present value.
            inner: The caller is sync code that another coroutine on the same loop has called.

        Returns:
            The value, or `old` if the variable stays as it was.
        """

    def submitted(self, context: contextvars.Context) -> None:
        """Work in this context will outlive the code on this thread that submits it."""

    def thread_inbox(self) -> Inbox | None:
        """Further functions for this thread to run while it waits, beside those of its job."""

    def calling_loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop whose coroutine has called the sync code that this thread runs, if any."""

    def calling(self) -> AbstractContextManager[None]:
        """A context manager around each call of an async function from sync code."""
        ...

    def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """Call an async function as the library does, on the loop of `calling_loop()`."""
        ...

    def cancel_with_caller(self, coro: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """Have a coroutine canceled with the coroutine whose sync code waits for it."""
        ...


active: Bridge | None = None
"""The loaded plug-in. Written once."""

plugins: dict[str, str] = {}
"""Plug-ins that are not loaded: {library's module: our module}. Replaced when one is loaded."""

_lock = new_mutex()


def look() -> None:
    """Load the plug-in of a library that has been imported. Cheap if no plug-in is left."""
    for library, plugin in plugins.items():
        if library in sys.modules:
            _load(library, plugin)


def _load(library: str, plugin: str) -> None:
    global active, plugins  # noqa: PLW0603 - see there
    module = importlib.import_module(plugin)
    with _lock:
        # Wait until the library is imported in full: another thread may be importing it now.
        if active is None and module.ready():
            active = module.Plugin()
            plugins = {name: other for name, other in plugins.items() if name != library}
