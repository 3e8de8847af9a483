"""Async views that run on a loop of their own, though the middleware is there: said once."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import in_process, run_process, say

if TYPE_CHECKING:
    from flask import Flask

WORDS = "runs on an event loop of its own"


def flask_app() -> Flask:
    """An app with an async view, which opens what should stay open."""
    from flask import Flask

    app = Flask("shop")

    @app.get("/orders")
    async def orders() -> str:
        return str(id(asyncio.get_running_loop()))

    return app


def child_bare_middleware() -> None:
    """Flask's async views behind the middleware alone."""
    from wsgi_async import AsyncLoopMiddleware

    app = flask_app()
    app.wsgi_app = AsyncLoopMiddleware(app.wsgi_app)  # type: ignore[method-assign]
    for _ in range(4):
        assert app.test_client().get("/orders?card=4111").status_code == 200


def test_flask_behind_the_bare_middleware() -> None:
    """The warning comes once, names the view, the request, and the line that is missing."""
    _, err, status = run_process(child_bare_middleware)
    assert status == 0, err
    assert err.count(WORDS) == 1
    assert err.startswith(f"flask_app.<locals>.orders (GET /orders) {WORDS}")
    assert "AsyncLoop(app)" in err
    assert "get_wsgi_application()" in err


def child_django(ours: str) -> None:
    """Django's async views behind the middleware alone, or with the integration."""
    from django.conf import settings

    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="-")
    from django.core.wsgi import get_wsgi_application
    from werkzeug.test import Client

    from wsgi_async import AsyncLoopMiddleware
    from wsgi_async.integrations import django

    app: Any = AsyncLoopMiddleware(get_wsgi_application())
    if ours:
        app = django.get_wsgi_application()
    assert Client(app).get("/").text == "ok"


async def django_view(request: Any) -> Any:
    from django.http import HttpResponse

    return HttpResponse("ok")


def __getattr__(name: str) -> Any:
    """The URLs of the Django project that this module is in the child."""
    if name != "urlpatterns":
        raise AttributeError(name)
    from django.urls import path

    return [path("", django_view)]


def test_django_behind_the_bare_middleware() -> None:
    """asgiref is there from the beginning, so the first request is enough."""
    _, err, status = run_process(child_django, "")
    assert status == 0, err
    assert err.startswith(f"django_view (GET /) {WORDS}")


def test_django_with_the_integration() -> None:
    """With it there is nothing to be said."""
    assert in_process(child_django, "ours") == ""


def child_with_integration() -> None:
    """Flask's async views with AsyncLoop, and calls that make a loop on purpose or elsewhere."""
    from asgiref.sync import async_to_sync, sync_to_async

    from wsgi_async import run
    from wsgi_async.integrations.flask import AsyncLoop

    app = flask_app()
    AsyncLoop(app)
    quick = async_to_sync(asyncio.sleep)

    @app.get("/sync")
    def sync() -> str:
        async_to_sync(asyncio.sleep, force_new_loop=True)(0)
        run(sync_to_async(quick)(0))  # goes back to the coroutine's loop
        return "ok"

    for path in ("/orders", "/sync") * 2:
        assert app.test_client().get(path).status_code == 200
    quick(0)  # in no request
    say("done")


def test_where_the_loop_stays_or_is_meant_to_end() -> None:
    """No word of views that run on the request's loop, nor of code outside of a request."""
    assert in_process(child_with_integration) == "done\n"


def child_installed() -> None:
    """asgiref's calls with ours in their place, before and after it was taken away again."""
    from asgiref.sync import async_to_sync

    from tests.middleware.wsgi import serve
    from wsgi_async import AsyncLoopMiddleware
    from wsgi_async.integrations import asgiref

    logging.basicConfig(format="%(message)s")

    def app(environ: Any, start_response: Any) -> list[bytes]:
        async_to_sync(asyncio.sleep)(0)
        return [b"ok"]

    wrapped = AsyncLoopMiddleware(app)
    for change in (asgiref.install, asgiref.install, asgiref.uninstall):
        change()
        serve(wrapped)
        say(change.__name__)


def test_asgiref_with_ours_in_its_place() -> None:
    """Nothing is said while `install()` holds; after `uninstall()` it is."""
    out, err, status = run_process(child_installed)
    assert status == 0, err
    assert out.split() == ["install", "install", "uninstall"]
    assert err.count(WORDS) == 1


@pytest.mark.parametrize("first", ["plugin", "install"])
def test_nothing_of_ours_stays_in_asgirefs_way(first: str) -> None:
    """Whichever comes first, `uninstall()` gives calls their own loops again."""
    assert in_process(child_order, first) == "new loops\n"


def child_order(first: str) -> None:
    """Load the plug-in and install ours in either order; then take ours away."""
    from asgiref.sync import async_to_sync

    from wsgi_async import run
    from wsgi_async.integrations import asgiref

    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    if first == "plugin":
        run(loop())
    asgiref.install()
    assert async_to_sync(loop)() is run(loop()) is async_to_sync(loop)()
    asgiref.uninstall()
    assert not asgiref.installed()
    assert async_to_sync(loop)().is_closed()
    say("new loops")
