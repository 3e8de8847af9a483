from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask, Response, current_app, g, request, session
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from tests.core.support import Worker
from tests.servers.process import child_environment
from wsgi_async import AsyncioLoopManager, AsyncLoopMiddleware, async_to_sync, loop_from
from wsgi_async.integrations.flask import AsyncLoop, current_loop, stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment


async def running_loop() -> int:
    await asyncio.sleep(0)
    return id(asyncio.get_running_loop())


def add_view(app: Flask) -> Flask:
    @app.get("/")
    async def index() -> dict[str, Any]:
        return {"app": current_app.name, "loop": await running_loop(), "path": request.full_path}

    return app


def get(app: Any, path: str = "/") -> Any:
    return Client(app).get(path).json


# -- setting up ------------------------------------------------------------------------------------


def test_one_extension_serves_the_apps_of_a_factory() -> None:
    """`init_app()` is for application factories; apps with one extension share a thread's loop."""
    extension = AsyncLoop()

    def create_app(name: str) -> Flask:
        app = add_view(Flask(name))
        extension.init_app(app)
        return app

    with Worker() as worker:
        answers = [worker.call(get, create_app(name)) for name in ("one", "two")]
    assert [answer["app"] for answer in answers] == ["one", "two"]
    assert answers[0]["loop"] == answers[1]["loop"]


def test_an_app_is_not_wrapped_twice() -> None:
    """A second init_app() is refused: its options would have no effect."""
    app = add_view(Flask(__name__))
    extension = AsyncLoop(app)
    with pytest.raises(RuntimeError, match=r"has an AsyncLoop already\. Leave one of the two out"):
        extension.init_app(app)
    with pytest.raises(RuntimeError, match="has an AsyncLoop already"):
        AsyncLoop(app, id="other")
    assert get(app)["app"] == __name__


def test_wrong_options_are_told_where_they_are_given() -> None:
    """Not in the factory, which may be far away."""
    with pytest.raises(TypeError, match="graces"):
        AsyncLoop(graces=1.0)
    with pytest.raises(ValueError, match="per"):
        AsyncLoop(per="request")


def test_what_is_not_an_app_is_refused() -> None:
    """Whoever passes the WSGI application or a name is told to pass the app."""
    for wrong in ("app", Flask(__name__).wsgi_app):
        with pytest.raises(TypeError, match="Pass the Flask application itself"):
            AsyncLoop(wrong)  # type: ignore[arg-type]


def test_a_view_that_has_not_awaited() -> None:
    """A sync view that returns a coroutine or a future is told what to write."""
    app = Flask(__name__)
    AsyncLoop(app)
    app.testing = True

    async def answer() -> str:
        return "hello"

    @app.get("/")
    def forgot() -> Any:
        made.append(current_loop.submit_task(answer()))
        return made[0]

    made: list[Any] = []
    with pytest.raises(TypeError, match=r"'forgot' returned <SyncFuture.* nobody has awaited"):
        get(app)
    assert made[0].result(20) == "hello"


def test_asgiref_is_not_needed() -> None:
    """Flask alone, without its extra `async`, has async views."""
    code = """
import sys
sys.modules["asgiref"] = None
from flask import Flask
from wsgi_async.integrations.flask import AsyncLoop
app = Flask("app")
AsyncLoop(app)

@app.get("/")
async def index():
    return "ok"

assert app.test_client().get("/").text == "ok"
"""
    subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code],
        env=child_environment(),
        timeout=30,
        check=True,
    )


def test_two_apps_of_one_process_may_have_loops_of_their_own() -> None:
    """With different options each request runs on the loop of its own app."""
    apps = [add_view(Flask(name)) for name in ("one", "two")]
    for app in apps:
        AsyncLoop(app, id=app.name)
    with Worker() as worker:
        rounds = [[worker.call(get, app)["loop"] for app in apps] for _ in range(2)]
    assert rounds[0] == rounds[1]
    assert rounds[0][0] != rounds[0][1]


def test_an_app_mounted_in_another_uses_the_outer_loop() -> None:
    """Of two nested apps the outer one's loop is the request's; both have async views."""
    outer, inner = add_view(Flask("outer")), add_view(Flask("inner"))
    AsyncLoop(inner, id="inner")
    outer.wsgi_app = DispatcherMiddleware(outer.wsgi_app, {"/inner": inner})  # type: ignore[method-assign]
    AsyncLoop(outer, id="outer")
    with Worker() as worker:
        first, second = worker.call(get, outer), worker.call(get, outer, "/inner/")
    assert (first["app"], second["app"]) == ("outer", "inner")
    assert first["loop"] == second["loop"]


def test_apps_side_by_side_in_a_dispatcher_have_their_own_loops() -> None:
    """The dispatcher of Werkzeug's documentation, around both apps."""
    first, second = (add_view(Flask(name)) for name in ("first", "second"))
    AsyncLoop(first, id="first")
    AsyncLoop(second, id="second")
    both = DispatcherMiddleware(first, {"/second": second})
    with Worker() as worker:
        answers = [worker.call(get, both, path) for path in ("/", "/second/", "/", "/second/")]
    assert [answer["app"] for answer in answers] == ["first", "second"] * 2
    assert len({answer["loop"] for answer in answers}) == 2


def test_an_app_that_calls_another_keeps_its_own_loop() -> None:
    """After a request to the other on its thread, and between the pieces of such a stream."""
    outer, inner = add_view(Flask("outer")), add_view(Flask("inner"))
    AsyncLoop(outer, id="outer")
    AsyncLoop(inner, id="inner")

    @inner.get("/stream")
    def pieces() -> Response:
        return Response(str(async_to_sync(running_loop)()) for _ in range(2))

    @outer.get("/call")
    def call() -> dict[str, list[int]]:
        loops = [async_to_sync(running_loop)()]
        others = [get(inner)["loop"]]
        loops.append(async_to_sync(running_loop)())
        with inner.test_client().get("/stream") as response:
            for piece in response.iter_encoded():
                others.append(int(piece))
                loops.append(async_to_sync(running_loop)())
        loops.append(async_to_sync(running_loop)())
        return {"loops": loops, "others": others}

    with Worker() as worker:
        first = worker.call(get, inner)["loop"]
        for _ in range(2):
            answer = worker.call(get, outer, "/call")
            assert len(answer["loops"]) == 5
            assert set(answer["loops"]) == {worker.call(get, outer)["loop"]}
            assert answer["others"] == [first] * 3


def test_an_app_whose_call_of_another_fails_keeps_its_own_loop() -> None:
    """Also where the other app raises."""
    outer, inner = Flask("outer"), Flask("inner")
    inner.testing = True
    AsyncLoop(outer, id="outer")
    AsyncLoop(inner, id="inner")

    @inner.get("/")
    async def fail() -> str:
        raise ValueError

    @outer.get("/")
    def call() -> list[int]:
        before = async_to_sync(running_loop)()
        with pytest.raises(ValueError):  # noqa: PT011 - it is the one from above
            inner.test_client().get("/")
        return [before, async_to_sync(running_loop)()]

    with Worker() as worker:
        first, second = worker.call(get, outer)
    assert first == second


def test_other_middlewares_stay() -> None:
    """One that was there before runs inside, and one that is added later outside."""
    app = add_view(Flask(__name__))
    seen: list[bool] = []

    class Middleware:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def __call__(
            self, environ: WSGIEnvironment, start_response: StartResponse
        ) -> Iterable[bytes]:
            seen.append("async.loop" in environ)
            result: Iterable[bytes] = self.inner({**environ}, start_response)
            return result

    app.wsgi_app = Middleware(app.wsgi_app)  # type: ignore[method-assign]
    AsyncLoop(app)
    app.wsgi_app = Middleware(app.wsgi_app)  # type: ignore[method-assign]
    assert get(app, "/?q=1")["path"] == "/?q=1"
    assert seen == [False, True]


def test_the_test_client_keeps_the_request_of_its_last_call() -> None:
    """`with client:` shows what the async view has set."""
    app = Flask(__name__)
    app.secret_key = "test"
    AsyncLoop(app)

    @app.get("/")
    async def index() -> str:
        session["user"] = "ann"
        g.seen = await running_loop()
        return "ok"

    with app.test_client() as client:
        client.get("/")
        assert session["user"] == "ann"
        assert g.seen


# -- outside of a request --------------------------------------------------------------------------


def test_a_command_runs_async_functions_on_the_threads_own_loop() -> None:
    """Two calls in a command are on one loop, so what the first has opened the second can use."""
    app = Flask(__name__)
    AsyncLoop(app)
    loops: list[int] = []

    async def named_loop() -> str:
        loops.append(await running_loop())
        return current_app.name

    @app.cli.command("sync")
    def command() -> None:
        names = [app.ensure_sync(named_loop)(), async_to_sync(named_loop)()]
        print(*names)

    result = app.test_cli_runner().invoke(args=["sync"])
    assert result.output.split() == [__name__, __name__]
    assert loops[0] == loops[1]


def test_an_application_context_is_enough_for_ensure_sync() -> None:
    """A script, or a thread of one's own, has a loop that lasts as long as its thread."""
    app = Flask(__name__)
    AsyncLoop(app)

    def script() -> tuple[int, int]:
        with app.app_context():
            g.who = "script"
            call = current_app.ensure_sync(running_loop)
            return call(), call()

    with Worker() as worker:
        first, second = worker.call(script)
    assert first == second


def test_an_exception_that_flask_handles_outside_of_a_request() -> None:
    """A test that calls `handle_exception()` itself gets Flask's answer."""
    app = Flask(__name__)
    AsyncLoop(app)
    with app.test_request_context("/"):
        assert app.handle_exception(LookupError("of a test")).status_code == 500


def test_current_loop_says_what_is_wrong() -> None:
    """Outside of a request, and in one that has no loop, the error names the way out."""
    app = Flask(__name__)
    with pytest.raises(RuntimeError, match=r"outside of a request.*run\(\)"):
        _ = current_loop.run
    assert not current_loop
    with (
        app.test_request_context(),
        pytest.raises(RuntimeError, match=r"has no loop.*Call AsyncLoop\(app\) once"),
    ):
        _ = current_loop.id


def test_current_loop_is_the_manager_for_all_purposes() -> None:
    """isinstance() and repr() look through the proxy; a bare middleware is enough for it."""
    app = Flask(__name__)
    app.wsgi_app = AsyncLoopMiddleware(app.wsgi_app)  # type: ignore[method-assign]

    @app.get("/")
    def index() -> list[Any]:
        return [
            isinstance(current_loop, AsyncioLoopManager),
            repr(current_loop) == repr(loop_from(request.environ)),
            threading.current_thread().name,
        ]

    with Worker("a worker") as worker:
        assert worker.call(get, app) == [True, True, "a worker"]


def test_stream_needs_the_extension() -> None:
    """With the bare middleware nobody could keep the contexts, and the error says what to add."""
    app = Flask(__name__)
    app.wsgi_app = AsyncLoopMiddleware(app.wsgi_app)  # type: ignore[method-assign]
    app.testing = True

    async def pieces() -> AsyncIterator[str]:
        yield "piece"

    app.add_url_rule("/", view_func=stream(pieces), endpoint="index")
    with pytest.raises(RuntimeError, match=r"has no AsyncLoop.*Call AsyncLoop\(app\) once"):
        get(app)
    with pytest.raises(RuntimeError, match="outside of a request"):
        stream(pieces)()
    with pytest.raises(TypeError, match="is not an async iterable"):
        stream([b"piece"])  # type: ignore[call-overload]
