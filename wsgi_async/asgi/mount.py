"""An ASGI app as a WSGI application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsgi_async.core.base.coroutines import qualified_name
from wsgi_async.core.base.log import logger
from wsgi_async.core.managers.manager import lifecycle_of
from wsgi_async.core.messages.errors import WaitTimeoutError
from wsgi_async.middleware import AsyncLoopMiddleware
from wsgi_async.wsgi.bodies import KEY
from wsgi_async.wsgi.requests import RequestLine

from .exchange import Exchange
from .http_scope import http_scope, wants_websocket
from .request_body import RequestBody
from .response import ClientDisconnected, raise_for_server

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIEnvironment

    from .middleware import ASGIApplication
    from .response import Head, Part

__all__ = ["AsgiMount"]


class AsgiMount:
    """A WSGI application that runs an ASGI app on the worker thread's event loop.

    For a part of a site that is written for ASGI, for example a FastAPI app beside a Flask app, or
    as the whole application of a WSGI server::

        application = AsgiMount(api, timeout=30)

    Inside a wsgi_async middleware, the request's manager runs the app. Otherwise it creates a
    manager for the thread, as `AsyncLoopMiddleware` does.

    The request's body is read when the app asks for it, and each part of the response is sent when
    the app sends it. The app's `send()` returns when the server has taken the part. If the client
    disconnects, the app's `receive()` returns `http.disconnect` and its `send()` raises an
    `OSError`; an app that waits for neither is canceled. After the response the app continues on
    the loop, for example with its background tasks.

    The app's lifespan runs once on each loop, from the first request there until the manager is
    stopped. WebSockets are refused, because WSGI does not support them.

    Lives as long as the application, and may be called from any number of threads at once.

    Args:
        app: The ASGI app.
        **middleware_options: Options of `AsyncLoopMiddleware`. They have no effect inside another
            middleware.

    Raises:
        TypeError: `app` cannot be called.
        TypeError, ValueError, RuntimeError: See `AsyncLoopMiddleware`.
    """

    def __init__(self, app: ASGIApplication, **middleware_options: Any) -> None:
        if not callable(app):
            raise TypeError(
                f"app is {app!r}, which cannot be called. Pass the ASGI application itself."
            )
        self.app = app
        self._name = f"ASGI app {qualified_name(app)}"
        self._served = AsyncLoopMiddleware(self._answer, **middleware_options)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        return self._served(environ, start_response)

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if wants_websocket(environ):
            return _refuse_websocket(environ, start_response)
        exchange = self._exchange(environ)
        try:
            part = exchange.next()
            if part is None:  # the client has gone in the middle of its request
                raise ClientDisconnected
            head: Head = part.head  # type: ignore[assignment] # the first one has it
            start_response(head.status, head.headers)
        except BaseException as error:
            exchange.close()
            raise_for_server(error, f"{self._name} failed before its response")
        if not part.last:
            return _Response(exchange, part)
        return [part.body] if part.body else []

    def _exchange(self, environ: WSGIEnvironment) -> Exchange:
        life = lifecycle_of(environ[KEY])
        runner = life.runner
        if runner is None:
            raise life.refusal()
        return Exchange(
            runner,
            self.app,
            self._name,
            scope=http_scope(environ),
            body=RequestBody(environ),
            lifespan=self,
        )


class _Response:
    """The body of a response that comes in parts. Lives until the server closes it.

    Args:
        exchange: The source of the parts.
        first: The first part, which is not the last.
    """

    def __init__(self, exchange: Exchange, first: Part) -> None:
        self._exchange: Exchange | None = exchange  # until the last part
        self._first: bytes | None = first.body

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        first, self._first = self._first, None
        if first is not None:
            # Return an empty part too: many servers send the headers with it, while the app works.
            return first
        exchange = self._exchange
        if exchange is None:
            raise StopIteration
        try:
            part = exchange.next()
        except WaitTimeoutError:
            raise  # as from a stream of `iterate()`
        except OSError as error:
            raise_for_server(error, f"{exchange.name} failed in its response")
        if part is None or part.last:
            self._exchange = None
        if part is None or (part.last and not part.body):
            raise StopIteration
        return part.body

    def close(self) -> None:
        """End the response: the server needs no more of it, perhaps because the client has gone."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.close()

    def __del__(self) -> None:
        exchange = self._exchange
        if exchange is not None:  # the server has dropped the body without closing it
            exchange.abandon()


def _refuse_websocket(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    logger.warning(
        "%s asks for a WebSocket, which WSGI does not have. Serve this path with an ASGI server.",
        RequestLine(environ),
    )
    start_response("501 Not Implemented", [("Content-Type", "text/plain; charset=utf-8")])
    return [b"This path is served through WSGI, which has no WebSockets.\n"]
