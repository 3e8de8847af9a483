"""Django: under WSGI as it is or with wsgi_async, or under ASGI."""
# Django has no types, and what is guessed of them is wrong.
# pyright: reportAssignmentType=false, reportArgumentType=false

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutinefunction
from types import SimpleNamespace
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

from benchmarks.comparison.apps.clients import HERE, Calls, anew, calls, kept_by, once
from benchmarks.comparison.apps.views import events, in_async_views


async def stream(_: HttpRequest) -> StreamingHttpResponse:
    """Send events."""
    return StreamingHttpResponse(events(), content_type="text/event-stream")


def endpoint(view: Callable[[], Any]) -> Callable[[HttpRequest], Any]:
    """Return a view as Django takes it."""
    if not iscoroutinefunction(view):
        return lambda _: HttpResponse(view())

    async def answer(_: HttpRequest) -> HttpResponse:
        return HttpResponse(await view())

    return answer


def calling() -> Calls:
    """Return what the views call, with clients as the way keeps them."""
    if HERE.way == "own":
        return calls(anew)
    if HERE.way == "once":
        return calls(kept_by(once(SimpleNamespace())))
    from wsgi_async import loop_resource

    return calls(kept_by(loop_resource))


def make() -> Any:
    """Make the application of one way."""
    settings.configure(ALLOWED_HOSTS=["127.0.0.1"], ROOT_URLCONF=__name__)
    if HERE.way == "once":
        from django.core.asgi import get_asgi_application

        return get_asgi_application()
    if HERE.way == "own":
        from django.core.wsgi import get_wsgi_application as django_get_wsgi_application

        return django_get_wsgi_application()
    from wsgi_async.integrations.django import get_wsgi_application

    return get_wsgi_application(**HERE.loop_options())


urlpatterns = [
    *(path(name, endpoint(view)) for name, view in in_async_views(calling()).items()),
    path("stream", stream),
]
application = make()
