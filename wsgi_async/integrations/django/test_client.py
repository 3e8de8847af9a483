"""Loops for requests of Django's test client, which do not go through our middleware.

Their async code runs on the loop of the thread that runs the test, which is made when it is first
needed. Django's signals tell when each request begins and ends, so nothing of the client is
replaced.
"""
# Django has no types, and strict mode would complain of each use of it.
# pyright: standard

from __future__ import annotations

import inspect
import sys
import threading
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any

from django import conf
from django.core.signals import got_request_exception, request_finished, request_started

from wsgi_async.core import current_manager
from wsgi_async.core.base.checks import running_loop
from wsgi_async.scopes import RequestScope
from wsgi_async.wsgi.bodies import KEY, SCOPE_KEY
from wsgi_async.wsgi.look_up import find_elsewhere, loop_from

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wsgi_async.core import AsyncioLoopManager

__all__ = ["loop_of_test", "serve_test_client"]


def serve_test_client() -> None:
    """From now on, requests of Django's test client find a loop and a scope."""
    find_elsewhere(_find)
    request_started.connect(_began, dispatch_uid="wsgi_async")
    request_finished.connect(_ended, dispatch_uid="wsgi_async")
    got_request_exception.connect(_failed, dispatch_uid="wsgi_async")


def loop_of_test() -> AsyncioLoopManager | None:
    """The manager of the test client's current request; None outside of a request."""
    present = _current()
    return None if present is None else loop_from(present.environ)


class _Present:
    """One request of a test client. Lives until Django signals its end."""

    def __init__(self, environ: dict[str, Any], sender: object, outer: _Present | None) -> None:
        self.environ = environ
        self.sender = sender
        self.outer = outer
        self.failed = False
        self._scope: _TestScope | None = None

    @property
    def scope(self) -> _TestScope:
        if self._scope is None:
            self._scope = _TestScope(loop_from(self.environ))
        return self._scope

    def end(self) -> None:
        if self._scope is not None:
            self._scope.end()


_present: ContextVar[_Present | None] = ContextVar("wsgi_async test request", default=None)


class _TestScope(RequestScope):
    """The scope of a test client's request, which runs in the test's own context."""

    __slots__ = ("_thread",)

    def __init__(self, manager: AsyncioLoopManager) -> None:
        super().__init__(manager, Context())
        self._thread = threading.get_ident()

    def _is_current(self) -> bool:
        return threading.get_ident() == self._thread and running_loop() is None


def _of_test_client(environ: Mapping[str, Any]) -> bool:
    """Whether Django's test client or request factory has made it: only they use FakePayload."""
    module: Any = sys.modules.get("django.test.client")
    return module is not None and isinstance(environ.get("wsgi.input"), module.FakePayload)


def _find(environ: Any, key: str) -> Any:
    if not _of_test_client(environ):
        return None
    if key == KEY:
        return environ.setdefault(KEY, current_manager())
    present = _current()
    if key == SCOPE_KEY and present is not None and present.environ is environ:
        return present.scope
    return None  # for a request factory, nothing tells when the request ends


def _began(sender: object, environ: dict[str, Any] | None = None, **_: Any) -> None:
    if environ is not None and _of_test_client(environ):
        _present.set(_Present(environ, sender, _current()))


def _failed(request: Any = None, **_: Any) -> None:
    # In this case the exception leaves the client, through all middleware, and Django sends no
    # `request_finished`.
    present = _present.get()
    if present is not None and getattr(request, "environ", None) is present.environ:
        present.failed = conf.settings.DEBUG_PROPAGATE_EXCEPTIONS


def _current() -> _Present | None:
    """The current request. A request whose exception has left the client is ended now."""
    present = _present.get()
    while present is not None and present.failed and not _is_in_client(present):
        _end(present)
        present = _present.get()
    return present


def _is_in_client(present: _Present) -> bool:
    client: Any = sys.modules["django.test.client"]
    code = client.ClientHandler.__call__.__code__
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code is code and frame.f_locals.get("environ") is present.environ:
            return True
        frame = frame.f_back
    return False


def _ended(sender: object, **_: Any) -> None:
    present = _current()
    # For responses of the test client, the sender is None. A nested handler sends its own class.
    if present is not None and sender in (None, present.sender):
        _end(present)


def _end(present: _Present) -> None:
    _present.set(present.outer)
    present.end()
