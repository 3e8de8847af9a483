"""Django's handler of requests, with asynchronous streams that are sent item by item."""
# Django has no types, and strict mode would complain of each use of it.
# pyright: standard

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.handlers.wsgi import WSGIHandler

from wsgi_async.middleware import loop_from

if TYPE_CHECKING:
    from django.core.handlers.wsgi import WSGIRequest
    from django.http.response import HttpResponseBase

__all__ = ["Handler"]


class Handler(WSGIHandler):
    """The WSGI handler inside of `AsyncLoopMiddleware`. Lives as long as the application.

    A `StreamingHttpResponse` over an async iterator becomes one over a sync iterator that drives
    the request's loop, so nothing collects it into a list. May be called from any worker thread.
    """

    def _get_response(self, request: WSGIRequest) -> HttpResponseBase:
        # As the view returned it, before middleware wraps it: an async generator around another
        # does not close that, so only here can the view's own be closed in its own task. And
        # sync middleware gets a stream that it can work on.
        return _stream_synchronously(super()._get_response(request), request)

    def get_response(self, request: WSGIRequest) -> HttpResponseBase:
        """Answer a request; as Django's, with streams of the middleware's own converted too."""
        return _stream_synchronously(super().get_response(request), request)


def _stream_synchronously(response: Any, request: WSGIRequest) -> Any:
    if response.streaming and response.is_async:
        # Not `streaming_content`, which is a generator around it. Django takes bytes and strings,
        # and closes the iterator with the response, so the generator's `finally` blocks have run
        # when `request_finished` is sent.
        items = response._iterator  # noqa: SLF001 - there is no public name for it
        response.streaming_content = loop_from(request.environ).iterate(items)
    return response
