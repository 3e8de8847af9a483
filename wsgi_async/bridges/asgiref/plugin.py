"""The plug-in that connects the core and asgiref."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from .calling_thread import AsCallingThread, ask_us_in, calling_thread
from .locals import forget_critical, move_here, value_back, watch_critical
from .one_thread import submit_for, thread_inbox
from .own_calls import call_as_asgiref, watch_own_calls
from .present import asgiref_sync, calling_loop, cancel_with_caller

if TYPE_CHECKING:
    import asyncio
    import contextvars

__all__ = ["Plugin", "ready"]


def ready() -> bool:
    """Whether `asgiref.sync` is imported in full: another thread may still be importing it.

    If only `asgiref.local` is imported, this imports `asgiref.sync`.
    """
    # `SyncToAsync` is the last class that the module defines.
    return hasattr(importlib.import_module("asgiref.sync"), "SyncToAsync")


class Plugin:
    """The core's `Bridge` to asgiref; see `Bridge` for the purpose of each method."""

    value_back = staticmethod(value_back)
    thread_inbox = staticmethod(thread_inbox)
    calling_loop = staticmethod(calling_loop)
    calling = AsCallingThread
    call = staticmethod(call_as_asgiref)
    cancel_with_caller = staticmethod(cancel_with_caller)

    def __init__(self) -> None:
        watch_critical()
        watch_own_calls()

    def loop_opened(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make asgiref use our executor on this loop."""
        asgiref_sync().AsyncToSync.loop_thread_executors[loop] = calling_thread

    def context_moved(self, context: contextvars.Context) -> None:
        """Let a context from another thread work here: its `Local`s, and our executor."""
        move_here(context)
        ask_us_in(context)

    def loop_closed(self, loop: asyncio.AbstractEventLoop) -> None:
        """Remove our executor from this loop, and forget the thread's critical variables."""
        asgiref_sync().AsyncToSync.loop_thread_executors.pop(loop, None)
        forget_critical()

    def submitted(self, context: contextvars.Context) -> None:
        """Let this work find the inbox of the function on asgiref's thread that submits it."""
        inbox = thread_inbox() or submit_for.get()
        if inbox is not None:
            context.run(submit_for.set, inbox)
