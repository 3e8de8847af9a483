"""asgiref: `async_to_sync` on the thread's own living loop, for the whole process.

Libraries that import asgiref's `async_to_sync` themselves (Django, Flask, Channels) profit from
it too. Call `install()` once, where the application is put together::

    from wsgi_async.integrations import asgiref

    asgiref.install()

Sync code that an ASGI server's coroutine has called goes back to the server's loop, as before.
"""

from __future__ import annotations

import threading
from typing import Any

from asgiref import sync

from wsgi_async.core.converting import call_async
from wsgi_async.core.thread_sensitive import ORIGINAL

__all__ = ["install", "installed", "uninstall"]

_lock = threading.Lock()  # guards the method's replacement
_kind: Any = sync.AsyncToSync
_original = _kind.__call__


def _call(self: sync.AsyncToSync[Any, Any], *args: Any, **kwargs: Any) -> Any:
    __traceback_hide__ = True  # asgiref's mark for frames that a debugger need not show
    return call_async(self.awaitable, args, kwargs, force_new_loop=self.force_new_loop)


setattr(_call, ORIGINAL, _original)


def install() -> None:
    """Have all of asgiref's `async_to_sync` objects, old and new, call on the thread's own loop.

    Their one method is replaced, so it does not matter who has imported what before. Does nothing
    the second time. From any thread.
    """
    with _lock:
        _kind.__call__ = _call


def uninstall() -> None:
    """Give asgiref its own method back. Calls that are under way go on. From any thread."""
    with _lock:
        _kind.__call__ = _original


def installed() -> bool:
    """Whether asgiref's objects call on the thread's own loop now."""
    return bool(_kind.__call__ is _call)
