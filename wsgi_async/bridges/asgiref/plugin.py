"""What the core tells asgiref, and asks it."""

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
    """Whether `asgiref.sync` has been imported in full: another thread may be at it.

    Imported here for users of `asgiref.local`, which is there already.
    """
    # Of its two classes this one comes last.
    return hasattr(importlib.import_module("asgiref.sync"), "SyncToAsync")


class Plugin:
    """The core's `Bridge` to asgiref, which says what each method is for."""

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
        """Have asgiref ask us for what runs on this loop."""
        asgiref_sync().AsyncToSync.loop_thread_executors[loop] = calling_thread

    def context_moved(self, context: contextvars.Context) -> None:
        """Have a context from another thread work here: its `Local`s, and who is asked."""
        move_here(context)
        ask_us_in(context)

    def loop_closed(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take that back."""
        asgiref_sync().AsyncToSync.loop_thread_executors.pop(loop, None)
        forget_critical()

    def submitted(self, context: contextvars.Context) -> None:
        """Have work in this context find the function on asgiref's thread that submits it."""
        inbox = thread_inbox() or submit_for.get()
        if inbox is not None:
            context.run(submit_for.set, inbox)
