"""Find the loops, pools and threads that are alive in the process, and name them."""

from __future__ import annotations

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from wsgi_async.core import LoopThreadPoolExecutor
from wsgi_async.core.base.coroutines import qualified_name
from wsgi_async.core.managers.thread_pool import threads_of_pool
from wsgi_async.insight.stacks import frames_of_threads

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["Pool", "describe", "living", "name_of_loop", "name_of_thread", "threads_of"]

Pool = ThreadPoolExecutor | LoopThreadPoolExecutor

_THREADING = threading.enumerate.__code__.co_filename


def living() -> tuple[list[asyncio.AbstractEventLoop], list[Pool]]:
    """The event loops that are not closed, and the thread pools.

    Python has no list of them. But each object refers to its class, so this asks the collector for
    the referrers of these classes. It checks the type of what it finds: `isinstance` would run the
    `__class__` of lazy objects and proxies, which is user code.
    """
    kinds = (ThreadPoolExecutor, LoopThreadPoolExecutor)
    classes: list[type[Any]] = [asyncio.AbstractEventLoop, *kinds]
    for one in classes:
        classes += type.__subclasses__(one)
    found = gc.get_referrers(*classes)
    loops = [one for one in found if issubclass(type(one), asyncio.AbstractEventLoop)]
    pools = [one for one in found if issubclass(type(one), kinds)]
    return list(filter(_is_open, loops)), pools


def _is_open(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return not loop.is_closed()
    except AttributeError:
        return False  # another thread is making it right now


def threads_of(pool: Pool) -> list[threading.Thread]:
    """The threads of a pool; none if the pool is shut down, because its threads then end."""
    if isinstance(pool, LoopThreadPoolExecutor):
        return threads_of_pool(pool)
    # There is no public way from a pool to its threads, nor back.
    return [] if pool._shutdown else list(pool._threads)  # noqa: SLF001


def name_of_loop(loop: asyncio.AbstractEventLoop) -> str:
    """Name a loop that is left unclosed."""
    tasks = ", ".join(describe(task.get_coro()) for task in asyncio.all_tasks(loop))
    pending = f" with the pending {tasks}" if tasks else ""
    return (
        f"the event loop {loop!r}{pending}, never closed. Call its close(), or have "
        "asyncio.Runner or asyncio.run make and close it."
    )


def name_of_thread(thread: threading.Thread) -> str:
    """Name a thread that is left running."""
    frame, doing = frames_of_threads().get(thread.ident or 0), ""
    while frame is not None:
        # The loop ends with the outermost frame outside of threading: the thread's own function.
        if frame.f_code.co_filename != _THREADING:
            doing = f" in {frame.f_code.co_qualname} ({_line(frame)})"
        frame = frame.f_back
    return (
        f"the thread {thread.name!r}{doing}, still alive. End and join() it, or shut its pool down."
    )


def describe(coro: object) -> str:
    """A coroutine's qualified name and its current line, if they are known."""
    frame = getattr(coro, "cr_frame", None)
    name = qualified_name(coro)
    return name if frame is None else f"{name} ({_line(frame)})"


def _line(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno or frame.f_code.co_firstlineno}"
