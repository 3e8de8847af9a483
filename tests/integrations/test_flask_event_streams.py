"""`@stream` with options, and what a view gets that lacks it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask, Response, request

from wsgi_async.integrations.flask import AsyncLoop, stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
def app() -> Flask:
    made = Flask(__name__)
    made.testing = True
    AsyncLoop(made)
    return made


async def news() -> AsyncIterator[str]:
    for number in range(2):
        await asyncio.sleep(0)
        yield f"data: {request.path} {number}\n\n"


def test_a_view_with_a_content_type(app: Flask) -> None:
    """`@stream(mimetype=...)` makes a response of this type, whose generator keeps the request."""
    over: list[str] = []
    app.get("/news")(stream(mimetype="text/event-stream")(news))
    app.teardown_request(lambda _: over.append(request.path))
    client: Any = app.test_client()
    with client.get("/news") as response:
        assert response.content_type == "text/event-stream; charset=utf-8"
        assert response.is_streamed
        assert response.text == "data: /news 0\n\ndata: /news 1\n\n"
    assert over == ["/news"]


def test_the_view_keeps_its_name_and_arguments(app: Flask) -> None:
    """The endpoint is the function's name, and the URL's values reach it."""

    @app.get("/count/<int:to>")
    @stream(prefetch=2, mimetype="text/csv")
    async def count(to: int) -> AsyncIterator[bytes]:
        """Count."""
        for number in range(to):
            yield b"%d," % number

    assert count.__name__ == "count"
    response = app.test_client().get("/count/3")
    assert (response.text, response.mimetype) == ("0,1,2,", "text/csv")


def test_options_without_a_content_type(app: Flask) -> None:
    """`@stream(prefetch=...)` alone makes a body of Flask's default type."""
    app.get("/")(stream(prefetch=1)(news))
    response = app.test_client().get("/")
    assert (response.text, response.mimetype) == ("data: / 0\n\ndata: / 1\n\n", "text/html")


def test_a_generator_with_a_content_type(app: Flask) -> None:
    """`stream(generator(), mimetype=...)` is a response that a view can change."""

    @app.get("/")
    async def index() -> Response:
        response = stream(news(), mimetype="text/event-stream")
        response.headers["X-Accel-Buffering"] = "no"
        return response

    response = app.test_client().get("/")
    assert response.headers["X-Accel-Buffering"] == "no"
    assert response.text.startswith("data: / 0")


def test_the_response_class_is_the_applications(app: Flask) -> None:
    """An application with a response class of its own gets that."""

    class Marked(Response):
        """A response with a header of its own."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.headers["X-Marked"] = "yes"

    app.response_class = Marked
    app.get("/")(stream(mimetype="text/plain")(news))
    with app.test_client().get("/") as response:
        assert response.headers["X-Marked"] == "yes"


@pytest.mark.parametrize(
    "view",
    [
        news,
        lambda: (news(), 201),
        lambda: (news(), 201, {"X-One": "1"}),
    ],
)
def test_a_view_that_lacks_stream(app: Flask, view: Any) -> None:
    """The error names the decorator and the view."""
    app.add_url_rule("/", "headlines", view)
    with pytest.raises(TypeError, match=r"'headlines' returned.*async_generator.*@stream of"):
        app.test_client().get("/")


def test_an_async_view_that_returns_a_generator(app: Flask) -> None:
    """So it does where an `async def` view returns the generator."""

    @app.get("/")
    async def index() -> Any:
        return news()

    with pytest.raises(TypeError, match="@stream"):
        app.test_client().get("/")


@pytest.mark.parametrize("value", [None, 5, (), ("a", "b", "c", "d")])
def test_other_wrong_values(app: Flask, value: Any) -> None:
    """What is wrong in another way gets Flask's own error."""
    app.add_url_rule("/", "wrong", lambda: value)
    with pytest.raises(TypeError, match="valid response"):
        app.test_client().get("/")


def test_an_application_that_can_send_it() -> None:
    """A `make_response()` of the application's own has the first word."""

    class Sends(Flask):
        """An application that streams by itself."""

        def make_response(self, rv: Any) -> Any:
            return super().make_response(stream(rv) if hasattr(rv, "__aiter__") else rv)

    app = Sends(__name__)
    AsyncLoop(app)
    app.get("/")(news)
    assert app.test_client().get("/").text == "data: / 0\n\ndata: / 1\n\n"
