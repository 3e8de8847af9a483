"""A Django project in one file, for gunicorn to run."""

from __future__ import annotations

from typing import Any, NoReturn

from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

from tests.edges.apps import cancelled, fail, keep, ticks, where
from wsgi_async import loop_from

SECRET_KEY = "of no use"  # nothing is signed with it
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = __name__
USE_TZ = True


async def endless_view(request: Any) -> StreamingHttpResponse:
    return StreamingHttpResponse(ticks())


def raise_view(request: Any) -> NoReturn:
    fail()


async def async_view(request: Any) -> NoReturn:
    await cancelled()
    raise AssertionError


urlpatterns = [
    path("where", lambda request: HttpResponse(where())),
    path("keep", lambda request: HttpResponse(keep(loop_from(request.environ)))),
    path("iterate", endless_view),
    path("raise", raise_view),
    path("async", async_view),
    path("run", lambda request: HttpResponse(loop_from(request.environ).run(cancelled()))),
]
