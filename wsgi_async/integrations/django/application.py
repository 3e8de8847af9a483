"""The WSGI application of a Django project."""
# Django has no types, and strict mode would complain of each use of it.
# pyright: standard

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, cast

import django
from django.core.cache import caches

from wsgi_async.middleware import AsyncLoopMiddleware

from .handler import Handler
from .processwide import install

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["DjangoApplication", "get_wsgi_application"]


def get_wsgi_application(**middleware_options: Any) -> DjangoApplication:
    """The project's WSGI application, whose async code runs on a loop that stays open.

    Use it instead of `django.core.wsgi.get_wsgi_application()`. It also calls `install()`.

    Args:
        **middleware_options: Options of `AsyncLoopMiddleware`.

    Returns:
        `AsyncLoopMiddleware` around Django's handler.

    Raises:
        TypeError, ValueError, RuntimeError: See `AsyncLoopMiddleware`.
    """
    django.setup(set_prefix=False)
    install()
    return DjangoApplication(cast("WSGIApplication", Handler()), **middleware_options)


class DjangoApplication(AsyncLoopMiddleware):
    """`AsyncLoopMiddleware` for Django. Lives as long as the process."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request, with the thread's manager and caches."""
        if not _thread.has_caches:
            _make_caches()
        return super().__call__(environ, start_response)


class _Thread(threading.local):
    has_caches = False


_thread = _Thread()


def _make_caches() -> None:
    """Make the thread's cache clients, which connect when they are first used.

    Django keeps them in context variables. A client that is made in a request's context ends with
    the request, so every request would make a new one, and connect again.
    """
    _thread.has_caches = True
    for alias in caches:
        with contextlib.suppress(Exception):  # the error will reach the code that uses the cache
            caches[alias]
