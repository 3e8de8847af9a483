"""How an event loop is made. Only public asyncio is used."""

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
    """Make a loop, and its selector where it is ours.

    In an empty context: a loop's own self-pipe handle keeps the context that it was made in.

    Raises:
        TypeError: The factory made something else.
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
        # A loop that fails half-way complains when it is collected: see that it gets its sockets.
        for probe in socket.socketpair():
            probe.close()
        loop = context.run(asyncio.SelectorEventLoop, selector)
    except BaseException:
        selector.close()  # out of descriptors, most likely: keep none of them
        raise
    # Timers too keep to the real clock where a program's modules have theirs frozen.
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
