"""Calls of asgiref's own `AsyncToSync` that would deadlock or lose clients.

If `sync_to_async` has called the sync code, asgiref posts the call to that coroutine's loop and
blocks the thread. A resident loop lives on this very thread, which would wait for itself. So we
handle these calls, and run the loop meanwhile.

Elsewhere asgiref makes an event loop for each call, and closes it. Flask and Django call async
views like this, unless their integration is set up. A client that a view opens does not outlive the
call. Nobody would notice, so a warning is logged.
"""

from __future__ import annotations

import functools
import logging
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

from wsgi_async.core.base.checks import running_loop
from wsgi_async.core.base.coroutines import name_of
from wsgi_async.core.base.log import report, with_origin
from wsgi_async.core.managers.async_to_sync import call_async
from wsgi_async.core.managers.current import request_manager
from wsgi_async.core.runners.resident import Resident
from wsgi_async.core.runners.runner import runner_of

from .present import asgiref_sync, calling_loop

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

__all__ = ["call_as_asgiref", "watch_own_calls"]

T = TypeVar("T")

_told: list[bool] = []
_originals: list[Callable[..., Any]] = []  # asgiref's own method; written once


def watch_own_calls() -> None:
    """Wrap asgiref's `AsyncToSync.__call__` permanently. Called once."""
    kind = asgiref_sync().AsyncToSync
    original = kind.__call__
    _originals.append(original)

    @functools.wraps(original)
    def call(this: Any, *args: Any, **kwargs: Any) -> Any:
        __traceback_hide__ = True  # asgiref's mark for frames that a debugger need not show
        if not this.force_new_loop and running_loop() is None:
            loop = calling_loop()
            if loop is not None and _stands_here(loop):
                return call_async(this.awaitable, args, kwargs)
            # No warning in a sync Celery task, which finds its manager in another way.
            if loop is None and not _told and isinstance(request_manager.get(), weakref.ref):
                _tell(this.awaitable)
        return original(this, *args, **kwargs)

    kind.__call__ = call


def call_as_asgiref(function: Callable[[], Awaitable[T]]) -> T:
    """Call an async function the way asgiref does."""

    async def awaited() -> T:
        return await function()

    (original,) = _originals
    return original(asgiref_sync().AsyncToSync(awaited))  # type: ignore[no-any-return]


def _stands_here(loop: asyncio.AbstractEventLoop) -> bool:
    runner = runner_of(loop)
    return isinstance(runner, Resident) and runner.is_owner


def _tell(function: Any) -> None:
    _told.append(True)
    report(
        logging.WARNING,
        "%s runs on an event loop of its own, which is closed after the call: clients, connection "
        "pools and background tasks do not live longer. In Flask, call AsyncLoop(app) of "
        "wsgi_async.integrations.flask in the place of AsyncLoopMiddleware(app). In Django, use "
        "get_wsgi_application() of wsgi_async.integrations.django. Elsewhere, call install() of "
        "wsgi_async.integrations.asgiref. This is said once.",
        with_origin(name_of(function)),
    )
