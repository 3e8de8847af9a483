from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from flask import Flask, Response, g, request, session, stream_with_context

from wsgi_async import AsyncioLoopManager, AsyncLoopMiddleware, loop_from

if TYPE_CHECKING:
    from collections.abc import Iterator


def make_flask() -> Flask:
    app = Flask(__name__)
    app.secret_key = "test"
    app.wsgi_app = AsyncLoopMiddleware(app.wsgi_app)  # type: ignore[method-assign]
    return app


async def path_of_request() -> str:
    """What a coroutine sees of Flask's request."""
    await asyncio.sleep(0)
    return request.path


def test_a_flask_view_runs_coroutines_that_see_its_request() -> None:
    """Flask's context variables reach the coroutine."""
    app = make_flask()

    @app.get("/here")
    def here() -> str:
        return loop_from(request.environ).run(path_of_request())

    assert app.test_client().get("/here").text == "/here"


def test_a_flask_stream_has_its_request_and_its_loop_while_it_yields() -> None:
    """stream_with_context works, with a coroutine for each piece."""
    app = make_flask()

    @app.get("/stream")
    def stream() -> Response:
        def pieces() -> Iterator[str]:
            for _ in range(2):
                yield loop_from(request.environ).run(path_of_request()) + " "

        return Response(stream_with_context(pieces()))

    assert app.test_client().get("/stream").text == "/stream /stream "


def test_flasks_test_client_still_shows_the_request_of_the_last_call() -> None:
    """`with client:` keeps the request context, which the middleware's context does not hold."""
    app = make_flask()

    @app.get("/login")
    def login() -> str:
        session["user"] = "ann"
        g.seen = True
        return "ok"

    with app.test_client() as client:
        client.get("/login")
        assert session["user"] == "ann"
        assert g.seen


def test_an_application_factory_does_not_leave_a_loop_behind_each_time() -> None:
    """A test suite that makes its application for each test has one loop in its thread."""
    seen: set[AsyncioLoopManager] = set()
    for _ in range(5):
        app = make_flask()

        @app.get("/")
        def root() -> str:
            seen.add(loop_from(request.environ))
            return "ok"

        assert app.test_client().get("/").text == "ok"
    assert len(seen) == 1
