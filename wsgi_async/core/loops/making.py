"""Making an event loop, with public parts of asyncio only."""

from __future__ import annotations

import asyncio
import contextvars
import selectors
import socket
from typing import TYPE_CHECKING

from wsgi_async.core.base.primitives import Primitives
from wsgi_async.core.messages.errors import ManagerStateError

from .selector import WatchedSelector

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["make_loop"]


def make_loop(
    factory: Callable[[], asyncio.AbstractEventLoop] | None,
) -> tuple[asyncio.AbstractEventLoop, WatchedSelector | None]:
    """Make a loop. Return it with its selector, if that is our own.

    It is made in an empty context, because its self-pipe handle keeps the context of its creation.

    Raises:
        TypeError: The factory did not return a loop.
        RuntimeError: The factory returned a loop that is closed or running.
    """
    context = contextvars.Context()
    if factory is not None:
        return _checked(context.run(factory)), None
    if not hasattr(selectors.DefaultSelector, "fileno"):
        # No epoll or kqueue.
        return context.run(asyncio.new_event_loop), None  # pragma: no cover - Windows
    selector = WatchedSelector()
    try:
        # Check that sockets can be made: a loop that fails halfway warns when it is collected.
        for probe in socket.socketpair():
            probe.close()
        loop = context.run(asyncio.SelectorEventLoop, selector)
    except BaseException:
        selector.close()  # most likely out of descriptors: keep none open
        raise
    # Timers use the real clock too, even if a tool freezes the clock in a program's modules.
    setattr(loop, "time", Primitives.clock)  # noqa: B010 - a method, as far as types go
    return loop, selector


def _checked(loop: object) -> asyncio.AbstractEventLoop:
    if not isinstance(loop, asyncio.AbstractEventLoop):
        raise TypeError(f"loop_factory returned {loop!r}. It has to return an event loop.")
    if loop.is_closed() or loop.is_running():
        raise ManagerStateError(
            f"loop_factory returned {loop!r}, which is in use or closed. Have it make a new event "
            "loop each time."
        )
    return loop
