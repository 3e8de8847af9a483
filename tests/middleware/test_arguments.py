from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.middleware.wsgi import answer_ok, serve
from wsgi_async import (
    AsyncioLoopManager,
    AsyncLoopMiddleware,
    UnknownAsyncTaskError,
    get_or_create_loop_manager,
    loop_from,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    def __call__(self, manager: AsyncioLoopManager) -> None:
        raise NotImplementedError


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    raise NotImplementedError


class AsgiApp:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"app": "myapp:app"}, TypeError, "app is 'myapp:app'"),
        ({"app": None}, TypeError, "app is None"),
        ({"id": ["list"]}, TypeError, "id is ['list']"),
        ({"task_type": {}}, TypeError, "task_type is {}"),
        ({"loop_factory": "uvloop"}, TypeError, "loop_factory is 'uvloop'"),
        ({"grace": float("inf")}, ValueError, "grace is inf"),
        ({"per": "request"}, ValueError, "per is 'request'"),
        ({"per": None}, ValueError, "per is None"),
        ({"timeout": "5"}, TypeError, "timeout is '5'"),
        ({"timeout": float("nan")}, ValueError, "timeout is not a number"),
        ({"reuse": "always"}, ValueError, "reuse is 'always'"),
        ({"reuse": 1}, ValueError, "reuse is 1"),
        ({"reuse": True, "force_create": False}, TypeError, "reuse and force_create=False"),
        ({"per": "process", "reuse": True}, TypeError, "cannot be combined with reuse"),
        ({"per": "process", "force_create": False}, TypeError, "with force_create=False"),
        ({"per": "process", "on_start": Unhashable()}, TypeError, "on_start is"),
        ({"app": asgi_app}, TypeError, "an ASGI application"),
        ({"app": AsgiApp()}, TypeError, "an ASGI application"),
    ],
)
def test_a_bad_argument_is_refused_when_the_application_is_wrapped(
    arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    """Not at the first request; one sentence says what is wrong, another one what to do."""
    with pytest.raises(error) as caught:
        AsyncLoopMiddleware(**{"app": answer_ok, **arguments})
    state, way_out = str(caught.value).split(". ", 1)
    assert says in state
    assert way_out


def test_wrapping_an_application_makes_no_manager() -> None:
    """The process that only imports the application, the master for one, gets no loop."""
    before = set(map(id, AsyncioLoopManager.all_instances()))
    AsyncLoopMiddleware(answer_ok, id="unused")
    assert set(map(id, AsyncioLoopManager.all_instances())) <= before


def test_the_options_reach_the_manager() -> None:
    """Id, task type, loop factory and debug mode are those that were asked for."""
    made: list[asyncio.AbstractEventLoop] = []

    def factory() -> asyncio.AbstractEventLoop:
        made.append(asyncio.new_event_loop())
        return made[0]

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        manager = loop_from(environ)
        assert manager.id == "options"
        assert manager is get_or_create_loop_manager("options", strictly_get=True)
        assert manager.get_event_loop() is made[0]
        assert made[0].get_debug()
        assert manager.run(asyncio.sleep(0, "done"), task_type="web") == "done"
        with pytest.raises(UnknownAsyncTaskError):
            manager.run(asyncio.sleep(0))
        manager.stop()
        return [b"ok"]

    middleware = AsyncLoopMiddleware(
        app, id="options", task_type="web", loop_factory=factory, debug=True
    )
    assert serve(middleware) == b"ok"
