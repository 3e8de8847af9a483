"""Replaces, in the whole process, the functions through which Django calls async code."""
# Django has no types, and strict mode would complain of each use of it.
# pyright: standard

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from asgiref.sync import iscoroutinefunction
from django.urls import URLResolver

from wsgi_async.core.managers.async_to_sync import async_to_sync
from wsgi_async.core.managers.current import with_grace
from wsgi_async.integrations import asgiref

from .test_client import serve_test_client

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["install"]

_resolve = URLResolver.resolve_error_handler


@functools.wraps(_resolve)
def _resolve_error_handler(self: Any, view_type: int) -> Callable[..., Any]:
    """Find `handler404` and the other error handlers. Django calls them even if they are async."""
    handler: Callable[..., Any] = _resolve(self, view_type)
    sync = async_to_sync(handler) if iscoroutinefunction(handler) else handler

    @functools.wraps(handler, updated=())  # Django checks the handler's signature
    def handle(*args: Any, **kwargs: Any) -> Any:
        with with_grace():  # the request may have failed by its deadline
            return sync(*args, **kwargs)

    return handle


def install() -> None:
    """Let Django call async code on a loop that stays open, in the whole process.

    It replaces asgiref's `async_to_sync`, and lets `handler404`, `handler500` and the other error
    handlers be async. Requests of Django's test client find the loop of the test's thread.
    `get_wsgi_application()` and the app in `INSTALLED_APPS` call it. A second call does nothing.
    Any thread may call it.
    """
    asgiref.install()
    serve_test_client()
    URLResolver.resolve_error_handler = _resolve_error_handler
