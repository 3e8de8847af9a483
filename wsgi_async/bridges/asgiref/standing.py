"""asgiref's own `AsyncToSync`, called where the loop that it would go back to stands still.

Sync code that `sync_to_async` has called goes back to its coroutine's loop: asgiref posts to that
loop and blocks the thread. A resident loop lives on this very thread, which would wait for itself.
So such calls are made our way, which runs the loop.
"""

from __future__ import annotations

import functools
from typing import Any

from wsgi_async.core.base.checks import running_loop
from wsgi_async.core.managers.async_to_sync import call_async
from wsgi_async.core.runners.resident import Resident
from wsgi_async.core.runners.runner import runner_of

from .present import calling_loop, wrap_calls

__all__ = ["watch_own_calls"]


def watch_own_calls() -> None:
    """From now on make such calls our way. From any thread; does nothing the second time."""
    wrap_calls(_watched_call)


def _watched_call(original: Any) -> Any:
    @functools.wraps(original)
    def call(this: Any, *args: Any, **kwargs: Any) -> Any:
        __traceback_hide__ = True  # asgiref's mark for frames that a debugger need not show
        if this.force_new_loop or not _stands_here():
            return original(this, *args, **kwargs)
        return call_async(this.awaitable, args, kwargs)

    return call


def _stands_here() -> bool:
    loop = calling_loop()
    runner = None if loop is None else runner_of(loop)
    return isinstance(runner, Resident) and runner.is_owner and running_loop() is None
