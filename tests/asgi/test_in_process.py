"""The ASGI middleware without a server: what one request leaves behind for the next."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import wsgi_async
from tests.core.support import LIMIT
from wsgi_async import WaitTimeoutError, loop_resource
from wsgi_async.asgi import AsyncLoopMiddleware
from wsgi_async.core.base.deadlines import request_deadline
from wsgi_async.routing import async_task
from wsgi_async.routing.tasks import table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from wsgi_async import SyncFuture

variable = contextvars.ContextVar("variable", default="empty")


async def receive() -> dict[str, Any]:
    return {"type": "http.request"}


async def send(message: Any) -> None:
    pass


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    pass


async def request(app: AsyncLoopMiddleware, type: str = "http") -> None:
    await app({"type": type, "method": "GET", "path": "/"}, receive, send)


@pytest.mark.parametrize("timeout", [None, 5])
def test_a_deadline_ends_with_its_request(timeout: float | None) -> None:
    """A task that answers one request after another has no deadline in between."""

    async def main() -> None:
        app = AsyncLoopMiddleware(nothing, timeout=timeout)
        await request(app)
        assert request_deadline.get() is None

    asyncio.run(main())


def test_what_runs_after_the_response_has_no_deadline() -> None:
    """A background task may take longer than the request, as under WSGI."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        def work() -> str:
            with pytest.raises(WaitTimeoutError):
                wsgi_async.run(asyncio.sleep(LIMIT))
            asyncio.run_coroutine_threadsafe(send(body), loop).result(LIMIT)
            return wsgi_async.run(asyncio.sleep(0, "sent"))

        loop, body = asyncio.get_running_loop(), {"type": "http.response.body", "body": b"ok"}
        await send({**body, "more_body": True})
        found.append(await asyncio.to_thread(work))

    found: list[str] = []
    asyncio.run(request(AsyncLoopMiddleware(app, timeout=0.05)))
    assert found == ["sent"]


def test_a_websocket_outlives_the_timeout() -> None:
    """The middleware's timeout is for requests; sync code of a WebSocket may wait at any time."""
    outcomes: dict[str, object] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        run = scope["async.loop"].run
        try:
            outcomes[scope["type"]] = await asyncio.to_thread(run, asyncio.sleep(0, "done"))
        except WaitTimeoutError:
            outcomes[scope["type"]] = "late"

    async def main() -> None:
        wrapped = AsyncLoopMiddleware(app, timeout=0)
        await request(wrapped)
        await request(wrapped, "websocket")

    asyncio.run(main())
    assert outcomes == {"http": "late", "websocket": "done"}


def test_a_coroutine_cannot_set_the_deadline() -> None:
    """A limit that could not end an async endpoint's waits is refused; sync code may set one."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        timeout = scope["async.scope"].timeout
        with pytest.raises(RuntimeError, match=r"asyncio\.timeout"):
            timeout(5)
        with await asyncio.to_thread(timeout, 5):
            pass

    asyncio.run(request(AsyncLoopMiddleware(app)))


def test_on_start_sees_nothing_of_the_first_request() -> None:
    """What on_start begins lives on, so it does not get the first request's variables."""
    seen: list[str] = []

    async def main() -> None:
        variable.set("of the first request")
        await request(AsyncLoopMiddleware(nothing, on_start=lambda: seen.append(variable.get())))

    asyncio.run(main())
    assert seen == ["empty"]


@pytest.mark.parametrize("eager", [False, True])
def test_a_start_that_fails_is_tried_again(*, eager: bool) -> None:
    """Each request gets the error of its own on_start, until one succeeds; on any task factory."""
    if eager and sys.version_info < (3, 12):
        pytest.skip("Python 3.11 has no eager tasks")
    failures = [LookupError("first"), LookupError("second")]

    def fail() -> None:
        if failures:
            raise failures.pop(0)

    async def main() -> None:
        if eager:
            factory: Callable[..., Any] = asyncio.eager_task_factory  # type: ignore[attr-defined]
            asyncio.get_running_loop().set_task_factory(factory)
        app = AsyncLoopMiddleware(nothing, on_start=fail)
        for message in ("first", "second"):
            with pytest.raises(LookupError, match=message):
                await request(app)
        await request(app)

    asyncio.run(main())


async def live(app: AsyncLoopMiddleware) -> list[str]:
    """Go through an app's lifespan; the kinds of messages that it sends."""
    sent: list[str] = []

    async def note(message: Any) -> None:
        sent.append(message["type"])

    await app({"type": "lifespan"}, receive, note)
    return sent


def sends(*kinds: str) -> Any:
    """An app whose lifespan sends these messages."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for kind in kinds if scope["type"] == "lifespan" else ():
            await send({"type": f"lifespan.{kind}"})

    return app


def test_an_app_whose_startup_fails() -> None:
    """The server is told so, and no manager is started for it."""
    hooks: list[str] = []
    app = AsyncLoopMiddleware(sends("startup.failed"), on_start=lambda: hooks.append("started"))
    assert asyncio.run(live(app)) == ["lifespan.startup.failed"]
    assert hooks == []


def test_a_shutdown_without_a_startup() -> None:
    """There is no manager to stop, and the server has its answer."""
    app = AsyncLoopMiddleware(sends("shutdown.complete"))
    assert asyncio.run(live(app)) == ["lifespan.shutdown.complete"]


def test_a_shutdown_that_raises_stops_the_manager() -> None:
    """The hooks and resources of the manager do not depend on the app's own shutdown."""
    hooks: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise LookupError("of the shutdown")

    async def main() -> None:
        messages = [{"type": "lifespan.shutdown"}, {"type": "lifespan.startup"}]
        wrapped = AsyncLoopMiddleware(app, on_stop=lambda: hooks.append("stopped"))

        async def come() -> Any:
            return messages.pop()

        async def send(_: Any) -> None:
            assert hooks == []

        with pytest.raises(LookupError):
            await wrapped({"type": "lifespan"}, come, send)
        assert hooks == ["stopped"]

    asyncio.run(main())


def test_a_lifespan_that_returns_early_stops_nothing() -> None:
    """The manager serves the requests that come after it."""
    hooks: list[str] = []

    async def main() -> None:
        app = AsyncLoopMiddleware(
            sends("startup.complete"),
            on_start=lambda: hooks.append("started"),
            on_stop=lambda: hooks.append("stopped"),
        )
        assert await live(app) == ["lifespan.startup.complete"]
        await request(app)
        assert hooks == ["started"]

    asyncio.run(main())


def test_a_shutdown_in_the_middle_of_the_start() -> None:
    """The request that began it was canceled; the shutdown waits for it, and stops the manager."""
    hooks: list[str] = []

    async def main() -> None:
        starting, go_on = asyncio.Event(), asyncio.Event()

        async def start() -> None:
            starting.set()
            await go_on.wait()
            hooks.append("started")

        app = AsyncLoopMiddleware(
            sends("shutdown.complete"), on_start=start, on_stop=lambda: hooks.append("stopped")
        )
        first = asyncio.create_task(request(app))
        await starting.wait()
        first.cancel()
        asyncio.get_running_loop().call_soon(go_on.set)
        await live(app)
        assert hooks == ["started", "stopped"]

    asyncio.run(main())


def test_a_shutdown_while_all_threads_wait_for_the_loop() -> None:
    """The server shuts down, and each waiting thread gets an error."""
    waiting: list[asyncio.Task[None]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        began = asyncio.Event()

        async def wait() -> None:
            began.set()
            await asyncio.Event().wait()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":
                await send({"type": "lifespan.shutdown.complete"})
                return
            waiting.append(asyncio.create_task(asyncio.to_thread(scope["async.loop"].run, wait())))
            await began.wait()

        wrapped = AsyncLoopMiddleware(app)
        await request(wrapped)
        async with asyncio.timeout(LIMIT):
            await live(wrapped)
            with pytest.raises(RuntimeError, match="stop"):
                await waiting[0]

    asyncio.run(main())


def test_a_request_ends_while_all_threads_are_busy() -> None:
    """Its tasks clean up at once, and it waits for them."""
    cleaned: list[str] = []
    go_on = threading.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append("work")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["async.scope"].submit_task(work())
        await asyncio.sleep(0)

    async def main() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        busy = asyncio.create_task(asyncio.to_thread(go_on.wait))
        try:
            async with asyncio.timeout(LIMIT):
                await request(AsyncLoopMiddleware(app))
            assert cleaned == ["work"]
        finally:
            go_on.set()
            await busy

    asyncio.run(main())


def test_a_task_that_outlasts_the_grace_of_its_request(caplog: pytest.LogCaptureFixture) -> None:
    """The request ends without it, and the log names it."""

    async def main() -> None:
        go_on = asyncio.Event()
        futures: list[SyncFuture[str]] = []

        async def stubborn() -> str:
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                await go_on.wait()
            return "ended"

        async def app(scope: Any, receive: Any, send: Any) -> None:
            futures.append(scope["async.scope"].submit_task(stubborn()))
            await asyncio.sleep(0)

        await request(AsyncLoopMiddleware(app, grace=0.01))
        go_on.set()
        assert await futures[0] == "ended"

    asyncio.run(main())
    assert "stubborn (GET /) did not end within 0.01 s after its request" in caplog.text


def test_a_closed_loop_is_forgotten() -> None:
    """Where each request has a loop of its own, as in tests, none of them stays in memory."""
    app = AsyncLoopMiddleware(nothing)

    async def main() -> weakref.ref[object]:
        await request(app)
        return weakref.ref(asyncio.get_running_loop())

    loop = asyncio.run(main())
    gc.collect()
    assert loop() is None


def test_task_types_have_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    """With routes=, a view submits a function with a task type, which runs on the server's loop."""
    loops: list[object] = []

    @async_task("asgi")
    async def note() -> None:
        loops.append(asyncio.get_running_loop())

    def view() -> None:
        note.submit().result(20)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.to_thread(view)
        await note.submit()

    async def main() -> None:
        await request(AsyncLoopMiddleware(app, routes={"asgi": "thread"}))
        assert loops == [asyncio.get_running_loop()] * 2

    monkeypatch.setattr(table, "routes", {})  # so that they end with the test
    asyncio.run(main())


def test_a_resource_is_a_dependency_of_fastapi() -> None:
    """`Depends(resource)` gives an endpoint the loop's own instance, opened once."""
    fastapi = pytest.importorskip("fastapi", reason="fastapi is not installed")
    api = fastapi.FastAPI()
    opened, found = [], []

    @loop_resource
    async def client() -> AsyncIterator[str]:
        opened.append("client")
        yield "the client"

    its_instance: Any = fastapi.Depends(client)

    @api.get("/")
    async def index(given: Any = its_instance) -> None:
        found.append(given)

    async def main() -> None:
        for _ in range(2):
            await api(
                {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []},
                receive,
                send,
            )

    asyncio.run(main())
    assert found == ["the client"] * 2
    assert opened == ["client"]


def test_an_app_that_cannot_be_called() -> None:
    """A slip in the arguments is named where the middleware is made."""
    with pytest.raises(TypeError, match="cannot be called"):
        AsyncLoopMiddleware("myapp:app")  # type: ignore[arg-type]


def test_of_two_middlewares_the_outer_one_acts() -> None:
    """An app that is wrapped twice has one manager for a request."""
    found: list[object] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(scope["async.loop"].id)

    async def main() -> None:
        await request(AsyncLoopMiddleware(AsyncLoopMiddleware(app, id="inner"), id="outer"))

    asyncio.run(main())
    assert found == ["outer"]
