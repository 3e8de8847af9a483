"""Django's request handler, with async streams that are sent item by item."""
# Django has no types, and strict mode would complain of each use of it.
# pyright: standard

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from asgiref.sync import iscoroutinefunction
from django.core.handlers.wsgi import WSGIHandler

from wsgi_async.core.base.coroutines import qualified_name
from wsgi_async.middleware import loop_from

from .async_backend import closing, find_close

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from django.core.handlers.wsgi import WSGIRequest
    from django.http.response import HttpResponseBase

    from .async_backend import Close

__all__ = ["Handler"]

_VIEWS_STREAM = "_wsgi_async_stream"
"""The request's attribute for the iterator that the view's stream is made of."""


class Handler(WSGIHandler):
    """The WSGI handler inside `AsyncLoopMiddleware`. Lives as long as the application.

    It sends a `StreamingHttpResponse` over an async iterator item by item, and does not collect it
    in memory. If the app `django_async_backend` is installed, the database connections of an async
    view or stream are closed when it ends. Any worker thread may call it.
    """

    @cached_property
    def _close(self) -> Close | None:
        return find_close()  # not in the constructor: the apps may not be loaded there

    def make_view_atomic(self, view: Any) -> Any:
        """Wrap a view as Django does, and close the connections of an async view."""
        atomic = super().make_view_atomic(view)
        if self._close is not None and iscoroutinefunction(atomic):
            return closing(atomic, self._close)
        return atomic

    def _get_response(self, request: WSGIRequest) -> HttpResponseBase:
        response: Any = super()._get_response(request)
        # Before middleware wraps the stream: an async generator around another one does not close
        # it. So note the view's own stream here, to close it in its own task.
        if _is_async_stream(response):
            setattr(request, _VIEWS_STREAM, response._iterator)  # noqa: SLF001 - no public name
        return response

    def get_response(self, request: WSGIRequest) -> HttpResponseBase:
        """Answer a request as Django does, with async streams turned into sync ones."""
        response: Any = super().get_response(request)
        if _is_async_stream(response):
            # Not `streaming_content`, which wraps the iterator in one more generator. Django
            # encodes the items of the loop's iterator, and closes it with the response. So the
            # `finally` blocks have run when `request_finished` is sent.
            inner = getattr(request, _VIEWS_STREAM, None)
            stream = _Stream(response._iterator, inner, self._close)  # noqa: SLF001
            response.streaming_content = loop_from(request.environ).iterate(stream)
        return response


def _is_async_stream(response: Any) -> bool:
    return bool(response.streaming and response.is_async)


class _Stream:
    """A view's stream as middleware has wrapped it, closed together. Lives as long as the stream.

    Args:
        outer: The iterator that is sent.
        inner: The view's own iterator; the same one if no middleware has wrapped it.
        close: Closes the database connections of the stream's task; None if there are none.
    """

    def __init__(
        self, outer: AsyncIterator[Any], inner: AsyncIterator[Any] | None, close: Close | None
    ) -> None:
        self._outer = outer
        self._inner = inner
        self._close = close
        self.__qualname__ = qualified_name(inner or outer)  # for the log

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    def __anext__(self) -> Any:
        return self._outer.__anext__()

    async def aclose(self) -> None:
        try:
            await self._aclose_both()
        finally:
            if self._close is not None:
                await self._close()

    async def _aclose_both(self) -> None:
        try:
            await _aclose(self._outer)
        finally:
            if self._inner is not self._outer:
                await _aclose(self._inner)


async def _aclose(iterator: Any) -> None:
    aclose = getattr(iterator, "aclose", None)
    if aclose is not None:
        await aclose()
