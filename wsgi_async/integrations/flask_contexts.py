"""Flask's contexts, kept until a streamed response is over.

Flask pops the contexts of a request, and so calls its teardown functions, before it iterates a
streamed body. Just before that, Flask offers the contexts to a function in the environ, if there is
one: Werkzeug's debugger has such a function. Our function pushes each context once more, so that
Flask's pop is not the last one. We do the last pop after the response. All of this happens in the
WSGI call and in the body that it returns. The middleware runs both in the same
`contextvars.Context`: a context can only be popped where it was pushed, and a coroutine's Context
is a copy.
"""

from __future__ import annotations

from contextlib import ExitStack
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from flask.globals import app_ctx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Self
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from flask import Flask

__all__ = ["keep_contexts", "remember_error", "serve_keeping_contexts"]

_OFFER = "werkzeug.debug.preserve_context"
_app_context: Any = app_ctx  # a proxy, which Flask types as the context


class _KeptContexts:
    """The application and request contexts of one request, if they are to be kept.

    Only the request's thread uses it, except for `keep()`, which coroutines of the request may
    call. Lives as long as the request.
    """

    __slots__ = ("_kept", "_others", "_outer", "contexts", "error")

    def __init__(self, environ: WSGIEnvironment) -> None:
        self.error: BaseException | None = None  # for the teardown functions
        self.contexts: list[Any] = []
        self._kept = False
        # Pushed by the code around the request, for example by a test. Never changes.
        self._outer: Any = _app_context._get_current_object() if _app_context else None  # noqa: SLF001
        self._others: Callable[[Any], object] | None = environ.get(_OFFER)
        if self._others is not None:
            environ[_OFFER] = self._accept

    def keep(self, environ: WSGIEnvironment) -> None:
        """Keep the contexts of the request that this environ belongs to, until `end()`."""
        self._kept = True
        environ[_OFFER] = self._accept

    def _accept(self, context: Any) -> None:
        # The outer context stays current in the request's `contextvars.Context`. The code around
        # the request pops it, and could not do so if we had pushed it once more in here.
        if self._kept and context is not self._outer:
            context.push()
            self.contexts.append(context)
        if self._others is not None:
            # Flask's test client pushes the context again, in a Context of its own, while the body
            # may still push and pop in the request's. So it must not get the one pushed last.
            self._others(_copy(context))

    def end(self, error: BaseException | None = None) -> None:
        """Pop the kept contexts; only the first call acts. Teardown functions get the error."""
        error, self.error = error or self.error, None
        with ExitStack() as stack:  # pop each, even if the teardown of another one raises
            for context in self.contexts:
                stack.callback(context.pop, error)
            self.contexts = []


class _Body:
    """A response body that ends the contexts. Lives until the server drops it."""

    def __init__(self, body: Iterable[bytes], kept: _KeptContexts) -> None:
        self._body = body
        self._kept = kept
        self._iterator: Iterator[bytes] | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        try:
            if self._iterator is None:
                self._iterator = iter(self._body)
            return next(self._iterator)
        except StopIteration:
            # Here, not only in close(): users of a test client mostly do not call that.
            self._kept.end()
            raise
        except BaseException as error:
            self._kept.end(error)
            raise

    def close(self) -> None:
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        except BaseException as error:
            self._kept.end(error)
            raise
        self._kept.end()


def _copy(context: Any) -> Any:
    """A new context of the same request, with the same `g` and session."""
    if hasattr(context, "copy"):
        return context.copy()
    # Flask 3.0 and 3.1: an application context, which has no copy() method.
    new = context.app.app_context()
    new.g = context.g
    return new


_kept: ContextVar[_KeptContexts | None] = ContextVar("wsgi_async_flask_contexts", default=None)
"""The contexts of the request that Flask is answering, which may be kept."""


def serve_keeping_contexts(
    wsgi_app: WSGIApplication, environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    """The layer between the middleware and Flask, for the contexts of streamed responses."""
    kept = _KeptContexts(environ)
    token = _kept.set(kept)
    try:
        body = wsgi_app(environ, start_response)
    except BaseException as error:
        kept.end(error)
        raise
    finally:
        _kept.reset(token)
    return _Body(body, kept) if kept.contexts else body


def keep_contexts(environ: WSGIEnvironment) -> None:
    """Keep the contexts of the current request until its response is over."""
    kept = _kept.get()
    if kept is not None:  # None in a body that is being iterated: decided already
        kept.keep(environ)


def remember_error(_: Flask, *, exception: BaseException, **__: Any) -> None:
    """Remember an error of the request: Flask passes it to teardown functions, so we do too."""
    kept = _kept.get()
    if kept is not None:
        kept.error = exception
