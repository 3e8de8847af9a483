"""The lifespan of a mounted app: once on each loop, from the first request to the stop."""

from __future__ import annotations

import asyncio
import gc
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.asgi.mounting import answers, ask, start
from tests.servers.process import wait_until
from wsgi_async import current_manager, loop_resource
from wsgi_async.asgi import AsgiMount
from wsgi_async.asgi import AsyncLoopMiddleware as AsgiMiddleware

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from concurrent.futures import Executor


class App:
    """An app with a lifespan, whose steps it tells."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.states: list[dict[str, Any]] = []
        self.fails: Exception | None = None
        self.says = "complete"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.live(scope, receive, send)
            return
        self.states.append(scope["state"])
        await send(start())
        await send(answers(b"ok"))

    async def live(self, scope: Any, receive: Any, send: Any) -> None:
        assert (await receive()) == {"type": "lifespan.startup"}
        await asyncio.sleep(0)
        if self.fails is not None:
            raise self.fails
        scope["state"]["since"] = len(self.steps)
        self.steps.append(f"started on {id(asyncio.get_running_loop())}")
        await send({"type": f"lifespan.startup.{self.says}", "message": "no database"})
        assert (await receive()) == {"type": "lifespan.shutdown"}
        await asyncio.sleep(0)
        self.steps.append(f"stopped on {id(asyncio.get_running_loop())}")
        await send({"type": "lifespan.shutdown.complete"})


def end(worker: Executor) -> None:
    """End the thread, and wait until its loop has ended with it."""
    manager = worker.submit(current_manager).result(20)
    worker.shutdown()
    wait_until(lambda: manager.state == "stopped", what="the manager is stopped")


def test_it_begins_once_and_ends_with_the_manager(worker: Executor) -> None:
    """The first request waits for the startup, and the thread's end for the shutdown."""
    app = App()
    mount = AsgiMount(app)
    for _ in range(3):
        assert ask(worker, mount).body == b"ok"
    assert [step.split()[0] for step in app.steps] == ["started"]
    end(worker)
    assert [step.split()[0] for step in app.steps] == ["started", "stopped"]
    assert len({step.split()[-1] for step in app.steps}) == 1


def test_each_request_has_a_copy_of_the_state(worker: Executor) -> None:
    """What a request puts there is not in the next one's."""
    app = App()
    mount = AsgiMount(app)
    ask(worker, mount)
    app.states[0]["mine"] = True
    ask(worker, mount)
    assert app.states[1] == {"since": 0}


def test_each_loop_has_its_own() -> None:
    """Two threads are two lifespans; with one manager for the process it is one."""
    app, shared = App(), App()
    mounts = [AsgiMount(app), AsgiMount(shared, per="process")]
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as two:
        for mount in mounts:
            for worker in (one, two):
                ask(worker, mount)
    assert len({step for step in app.steps if "started" in step}) == 2
    assert [step.split()[0] for step in shared.steps] == ["started"]


def test_two_first_requests_at_once() -> None:
    """Both wait for the same startup."""
    app = App()
    mount = AsgiMount(app, per="process", id="two at once")
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, pool_of_one, mount) for pool_of_one in [pool] * 2]
        assert [each.result(20).body for each in asked] == [b"ok"] * 2
    assert len(app.steps) == 1


def test_a_failed_startup_fails_the_request_and_the_next_one_tries_again(
    worker: Executor,
) -> None:
    """The server answers 500 to it, with what the app says in its log."""
    app = App()
    mount = AsgiMount(app)
    app.fails = LookupError("of the startup")
    with pytest.raises(LookupError, match="of the startup"):
        ask(worker, mount)
    app.fails, app.says = None, "failed"
    with pytest.raises(RuntimeError, match="startup of the ASGI app's lifespan failed: no data"):
        ask(worker, mount)
    app.says = "complete"
    assert ask(worker, mount).body == b"ok"


def test_a_failed_shutdown_is_logged(worker: Executor, caplog: pytest.LogCaptureFixture) -> None:
    """The log names the app."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await App()({**scope, "state": {}}, receive, send)
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "still busy"})

    ask(worker, AsgiMount(app))
    end(worker)
    assert (
        "lifespan of ASGI app test_a_failed_shutdown_is_logged.<locals>.app failed" in caplog.text
    )
    assert "still busy" in caplog.text


def test_a_shutdown_that_raises_is_logged(
    worker: Executor, caplog: pytest.LogCaptureFixture
) -> None:
    """What an app's cleanup raises is not lost."""

    class Failing(App):
        async def live(self, scope: Any, receive: Any, send: Any) -> None:
            await super().live(scope, receive, send)
            raise LookupError("of the shutdown")

    ask(worker, AsgiMount(Failing()))
    end(worker)
    assert "LookupError: of the shutdown" in caplog.text


def test_an_app_that_raises_after_it_has_told_of_its_failed_startup(
    worker: Executor, caplog: pytest.LogCaptureFixture
) -> None:
    """Frameworks do so; the request has the app's own words, and nothing else is logged."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        raise LookupError("of the startup")

    with pytest.raises(RuntimeError, match="lifespan failed: no database"):
        ask(worker, AsgiMount(app))
    end(worker)
    gc.collect()  # asyncio tells of a task's error when the task goes
    assert not [record for record in caplog.records if record.levelname != "DEBUG"]


def test_nothing_comes_after_the_shutdown(worker: Executor) -> None:
    """An app that waits for another message gets none, and can give up."""
    steps = []

    class Waiting(App):
        async def live(self, scope: Any, receive: Any, send: Any) -> None:
            await super().live(scope, receive, send)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(receive(), 0.01)
            steps.append("nothing came")

    ask(worker, AsgiMount(Waiting()))
    end(worker)
    assert steps == ["nothing came"]


async def refuses(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise ValueError("only HTTP")
    await plain(scope, receive, send)


async def returns(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await plain(scope, receive, send)


async def answers_anything(scope: Any, receive: Any, send: Any) -> None:
    await plain(scope, receive, send)


async def reads_anything(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body", True):
        pass
    await plain(scope, receive, send)


async def plain(scope: Any, receive: Any, send: Any) -> None:
    assert "state" not in scope or scope["type"] == "lifespan"
    await send(start())
    await send(answers(b"ok"))


@pytest.mark.parametrize("app", [refuses, returns, answers_anything, reads_anything])
def test_an_app_without_a_lifespan(
    worker: Executor, app: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it makes of the message, its requests are answered and nothing is logged."""
    mount = AsgiMount(app)
    for _ in range(2):
        assert ask(worker, mount).body == b"ok"
    end(worker)
    assert not [record for record in caplog.records if record.levelname != "DEBUG"]


def test_what_the_lifespan_uses_is_closed_after_it(worker: Executor) -> None:
    """A loop resource that the startup opens is open in the shutdown."""
    steps = []

    @loop_resource
    async def client() -> AsyncIterator[str]:
        yield "client"
        steps.append("client closed")

    class Using(App):
        async def live(self, scope: Any, receive: Any, send: Any) -> None:
            await client()
            await super().live(scope, receive, send)
            steps.append("lifespan over")

    ask(worker, AsgiMount(Using()))
    end(worker)
    assert steps == ["lifespan over", "client closed"]


def test_the_asgi_middleware_within_passes_everything_through(worker: Executor) -> None:
    """The same app may be wrapped for ASGI servers too; the thread's manager runs it here."""
    app = App()
    ask(worker, AsgiMount(AsgiMiddleware(app, id="of an ASGI server")))
    end(worker)
    assert [step.split()[0] for step in app.steps] == ["started", "stopped"]


@pytest.mark.parametrize("error", [SystemExit("no DATABASE_URL"), asyncio.CancelledError("gone")])
def test_a_startup_that_ends_in_what_is_not_an_exception(
    worker: Executor, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    """The request fails at once, and the next one tries again."""
    errors = [error]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan" and errors:
            await receive()
            raise errors.pop()
        await App()(scope, receive, send)

    mount = AsgiMount(app)
    with pytest.raises(RuntimeError, match="startup of the ASGI app's lifespan failed") as caught:
        ask(worker, mount)
    assert str(error) in str(caught.value)
    assert ask(worker, mount).body == b"ok"
