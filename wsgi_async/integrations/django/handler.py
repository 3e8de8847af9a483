"""Django's handler of requests, with asynchronous streams that are sent item by item."""
# Django has no types, and strict mode would complain of each use of it.
# pyright: standard

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.handlers.wsgi import WSGIHandler

from wsgi_async.middleware import loop_from

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from django.core.handlers.wsgi import WSGIRequest
    from django.http.response import HttpResponseBase

__all__ = ["Handler"]

_VIEWS_STREAM = "_wsgi_async_stream"
"""The request's attribute for the iterator that the view has made its stream of."""


class Handler(WSGIHandler):
    """The WSGI handler inside `AsyncLoopMiddleware`. Lives as long as the application.

    It sends a `StreamingHttpResponse` over an async iterator item by item, and does not collect it
    in memory. Any worker thread may call it.
    """

    def _get_response(self, request: WSGIRequest) -> HttpResponseBase:
        response: Any = super()._get_response(request)
        # Before middleware wraps it: an async generator around another does not close that, so
        # only here can the view's own be noted, to be closed in its own task.
        if _is_async_stream(response):
            setattr(request, _VIEWS_STREAM, response._iterator)  # noqa: SLF001 - no public name
        return response

    def get_response(self, request: WSGIRequest) -> HttpResponseBase:
        """Answer a request as Django does, with async streams as sync ones."""
        response: Any = super().get_response(request)
        if _is_async_stream(response):
            # Not `streaming_content`, which is one more generator around it. Django encodes what
            # the loop's iterator brings, and closes it with the response: the `finally` blocks
            # have run when `request_finished` is sent.
            stream = _Stream(response._iterator, getattr(request, _VIEWS_STREAM, None))  # noqa: SLF001
            response.streaming_content = loop_from(request.environ).iterate(stream)
        return response


def _is_async_stream(response: Any) -> bool:
    return bool(response.streaming and response.is_async)


class _Stream:
    """What middleware made of a view's stream, closed together with that. Lives as long as it.

    Args:
        outer: The iterator that is sent.
        inner: The view's own; the same one where no middleware has wrapped it.
    """

    def __init__(self, outer: AsyncIterator[Any], inner: AsyncIterator[Any] | None) -> None:
        self._outer = outer
        self._inner = inner
        self.__qualname__ = getattr(inner or outer, "__qualname__", repr(outer))  # for the log

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    def __anext__(self) -> Any:
        return self._outer.__anext__()

    async def aclose(self) -> None:
        try:
            await _aclose(self._outer)
        finally:
            if self._inner is not self._outer:
                await _aclose(self._inner)


async def _aclose(iterator: Any) -> None:
    aclose = getattr(iterator, "aclose", None)
    if aclose is not None:
        await aclose()
