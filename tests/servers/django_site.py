"""A Django site, its settings and its WSGI application in one module; for `runserver`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import JsonResponse
from django.urls import re_path

from tests.servers.apps import VIEWS

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from django.http import HttpRequest

DEBUG = True
SECRET_KEY = "of the tests"
ROOT_URLCONF = __name__
WSGI_APPLICATION = f"{__name__}.application"
USE_TZ = True


def view(request: HttpRequest) -> JsonResponse:
    """One of the views that the other servers serve too."""
    return JsonResponse(VIEWS[request.path](request.environ, request.GET.dict()))


urlpatterns = [re_path("", view)]


def __getattr__(name: str) -> WSGIApplication:
    # Later than the settings, which Django reads from this module first.
    if name != "application":
        raise AttributeError(name)
    from django.core.wsgi import get_wsgi_application

    from wsgi_async import AsyncLoopMiddleware

    globals()[name] = made = AsyncLoopMiddleware(get_wsgi_application())
    return made
