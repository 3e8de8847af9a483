"""Flask's contexts, kept until a streamed response is over.

Flask pops the contexts of a request, and so calls its teardown functions, before any of a streamed
body has been made. Just before that it offers the contexts to a function in the environ, if one is
there: Werkzeug's debugger has such a function. Ours pushes each of the contexts once more, so that
Flask's pop is not the last; the last is ours. All of this happens in the WSGI call, and in the body
that it returns, which the middleware runs in one and the same `contextvars.Context`: a context can
be popped only where it was pushed, and a coroutine's Context is a copy.
"""

from __future__ import annotations

from contextlib import ExitStack
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Self
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from flask import Flask

__all__ = ["KeptContexts", "keep_contexts", "remember_error", "serve_keeping_contexts"]

_OFFER = "werkzeug.debug.preserve_context"


class _Context(Protocol):
    """What Flask's application context and request context have in common."""

    app: Flask

    def push(self) -> None: ...

    def pop(self, exc: BaseException | None = ...) -> None: ...


class KeptContexts:
    """One request's contexts, if they are to be kept. Lives as long as the request.

    In the thread of the request, but for `keep()`, which may be called in its coroutines.

    Args:
        environ: The request's.
    """

    __slots__ = ("_contexts", "_kept", "_others", "error")

    def __init__(self, environ: WSGIEnvironment) -> None:
        self.error: BaseException | None = None  # for the teardown functions
        self._contexts: list[_Context] = []
        self._kept = False
        self._others: Callable[[_Context], object] | None = environ.get(_OFFER)
        if self._others is not None:
            environ[_OFFER] = self._accept

    def keep(self, environ: WSGIEnvironment) -> None:
        """Keep the contexts of the request that this environ belongs to, until `end()`."""
        self._kept = True
        environ[_OFFER] = self._accept

    def _accept(self, context: _Context) -> None:
        if self._kept:
            context.push()
            self._contexts.append(context)
        if self._others is not None:
            # Flask's test client pushes what it gets in a Context of its own, while a body may
            # still push and pop in the request's: not what has been pushed last, then.
            self._others(_copy(context))

    def hand_on(self, body: Iterable[bytes]) -> Iterable[bytes]:
        """The body; at its end the contexts end, if they were kept."""
        return _Body(body, self) if self._contexts else body

    def end(self, error: BaseException | None = None) -> None:
        """Pop what was kept, the first time. The teardown functions run.

        Args:
            error: What they are told of; what Flask has told us of with None.
        """
        error, self.error = error or self.error, None
        with ExitStack() as stack:  # each is popped, also when another's teardown raises
            for context in self._contexts:
                stack.callback(context.pop, error)
            self._contexts = []


class _Body:
    """A response body that ends contexts. Lives until the server lets go of it."""

    def __init__(self, body: Iterable[bytes], kept: KeptContexts) -> None:
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
            # Now, not at the close(): a test client's user mostly leaves that out.
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


def _copy(context: _Context) -> _Context:
    """Another context of the same request, with the same `g` and session."""
    copy = getattr(context, "copy", None)
    if copy is not None:
        return copy()  # type: ignore[no-any-return]
    # Flask 3.0 and 3.1: an application context, which has no copy() of its own.
    new = context.app.app_context()
    new.g = getattr(context, "g")  # noqa: B009 - the protocol knows no g
    return new


_kept: ContextVar[KeptContexts | None] = ContextVar("wsgi_async_flask_contexts", default=None)
"""What may become of the contexts of the request that Flask is answering."""


def serve_keeping_contexts(
    wsgi_app: WSGIApplication, environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    """The layer between the middleware and Flask, for the contexts of streamed responses."""
    kept = KeptContexts(environ)
    token = _kept.set(kept)
    try:
        body = wsgi_app(environ, start_response)
    except BaseException as error:
        kept.end(error)
        raise
    finally:
        _kept.reset(token)
    return kept.hand_on(body)


def keep_contexts(environ: WSGIEnvironment) -> None:
    """Keep the contexts of the present request until its response is over."""
    kept = _kept.get()
    if kept is not None:  # None in a body that is being iterated: kept or gone already
        kept.keep(environ)


def remember_error(_: Flask, *, exception: BaseException, **__: Any) -> None:
    """Flask tells its teardown functions of an error, so we do."""
    kept = _kept.get()
    if kept is not None:
        kept.error = exception
