"""One notion of this request's manager, whoever asks for it and however."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import wsgi_async
from tests.core.support import LIMIT, on_worker
from tests.middleware.wsgi import answer_ok, ignore_start, make_environ, running_loop, serve
from tests.resources.parts import Diary
from wsgi_async import (
    AsyncLoopMiddleware,
    async_to_sync,
    current_manager,
    get_or_create_loop_manager,
    loop_from,
    scope_from,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIEnvironment

    from wsgi_async import AsyncioLoopManager, LoopResource


class Client:
    """A loop resource, and what of it each way to get a loop leads to."""

    def __init__(self) -> None:
        self.diary = Diary()
        self.resource: LoopResource[Any] = self.diary.resource("client")

    def by_every_way(self, environ: WSGIEnvironment) -> set[object]:
        """The instances that sync code gets in a request; the managers are compared."""
        manager = loop_from(environ)
        assert current_manager() is manager is scope_from(environ).manager
        loops = {
            manager.get_event_loop(),
            manager.run(running_loop(), task_type=manager.task_type),
            wsgi_async.run(running_loop()),
            async_to_sync(running_loop)(),
        }
        assert len(loops) == 1
        task = scope_from(environ).submit_task(self.resource(), task_type=manager.task_type)
        return {
            self.resource.get(),
            self.resource.get(manager),
            manager.run(self.resource(), task_type=manager.task_type),
            wsgi_async.run(self.resource()),
            async_to_sync(self.resource)(),
            task.result(LIMIT),
        }


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"id": "web"},
        {"id": "typed", "task_type": "pages"},
        {"id": "debugged", "debug": True},
        {"id": "one for all", "per": "process"},
        {"id": "reused", "reuse": True},
        {"id": "inherited", "force_create": False},
    ],
    ids=lambda options: "-".join(options) or "plain",
)
@on_worker
def test_a_request_opens_a_resource_once(options: dict[str, Any]) -> None:
    """Whatever the middleware's options, and whichever function asks for the loop."""
    client = Client()
    instances: set[object] = set()

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        instances.update(client.by_every_way(environ))
        start_response("200 OK", [])
        return body(environ)

    def body(environ: WSGIEnvironment) -> Iterator[bytes]:
        try:
            instances.update(client.by_every_way(environ))
            yield b"ok"
        finally:
            instances.update(client.by_every_way(environ))

    middleware = AsyncLoopMiddleware(app, **options)
    for _ in range(2):
        assert serve(middleware) == b"ok"
    assert len(instances) == 1
    assert client.diary.lines == ["open client"]


@on_worker
def test_two_middlewares_in_a_thread_have_a_manager_each() -> None:
    """A request finds that of its own application, also when the thread has another."""
    found: list[AsyncioLoopManager] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        assert wsgi_async.run(running_loop()) is loop_from(environ).get_event_loop()
        found.append(current_manager())
        return answer_ok(environ, start_response)

    one, two = AsyncLoopMiddleware(app, id="one"), AsyncLoopMiddleware(app, id="two")
    for middleware in (one, two, one, two):
        serve(middleware)
    assert [manager.id for manager in found] == ["one", "two"] * 2
    assert len(set(found)) == 2


@on_worker
def test_a_request_within_a_request_has_its_own() -> None:
    """An application that asks another in process finds its own manager again after that."""

    def inner(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        assert current_manager().id == "inner"
        return answer_ok(environ, start_response)

    def outer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        assert serve(AsyncLoopMiddleware(inner, id="inner")) == b"ok"
        assert current_manager().id == "outer"
        return answer_ok(environ, start_response)

    assert serve(AsyncLoopMiddleware(outer, id="outer")) == b"ok"


@on_worker
def test_outside_of_requests_it_is_the_threads() -> None:
    """A request that is over leaves nothing in the thread's context, nor does a pending stream."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        assert current_manager().id == "request's"
        yield b"ok"

    own = get_or_create_loop_manager(force_create=True)
    own.start()
    middleware = AsyncLoopMiddleware(app, id="request's")
    assert serve(middleware) == b"ok"
    assert current_manager() is own
    stream: Any = middleware(make_environ(), ignore_start)
    assert next(stream) == b"ok"
    assert current_manager() is own
    stream.close()


@on_worker
def test_the_thread_of_a_coroutines_function_can_ask_too() -> None:
    """A function in `asyncio.to_thread()` gets a loop on which it opens what it needs."""
    client = Client()

    async def in_another_thread() -> list[Any]:
        return await asyncio.to_thread(lambda: [client.resource.get() for _ in range(2)])

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        first, second = loop_from(environ).run(in_another_thread(), timeout=LIMIT)
        assert first is second
        return answer_ok(environ, start_response)

    assert serve(AsyncLoopMiddleware(app, id="web")) == b"ok"


@on_worker
def test_a_manager_that_was_stopped_in_the_request_is_not_found() -> None:
    """What asks after that gets another one, which works."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        stopped = loop_from(environ)
        stopped.stop()
        assert current_manager() is not stopped
        assert wsgi_async.run(running_loop()) is current_manager().get_event_loop()
        return answer_ok(environ, start_response)

    assert serve(AsyncLoopMiddleware(app, id="stopped early")) == b"ok"
