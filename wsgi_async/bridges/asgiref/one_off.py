"""asgiref's own `AsyncToSync` in a request of ours: each call makes an event loop, and closes it.

Flask and Django call async views by it, unless their integration is set up. A client that such a
view opens does not live longer than the call, which nobody would notice without a word.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

from wsgi_async.core.base.checks import running_loop
from wsgi_async.core.base.coroutines import name_of
from wsgi_async.core.base.log import report, with_origin
from wsgi_async.core.managers.current import request_manager

from .present import calling_loop, ours_is_in_place, wrap_calls

__all__ = ["watch_one_off_loops"]

_told: list[bool] = []


def watch_one_off_loops() -> None:
    """From now on say so, once, when a request's async code runs on such a loop."""
    wrap_calls(_watched_call)


def _watched_call(original: Any) -> Any:
    @functools.wraps(original)
    def call(this: Any, *args: Any, **kwargs: Any) -> Any:
        __traceback_hide__ = True  # asgiref's mark for frames that a debugger need not show
        if not _told and request_manager.get() is not None and _makes_a_loop(this):
            _tell(this.awaitable)
        return original(this, *args, **kwargs)

    return call


def _makes_a_loop(this: Any) -> bool:
    if this.force_new_loop or ours_is_in_place():
        return False  # it is meant to, or is ours
    return running_loop() is None and calling_loop() is None


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
