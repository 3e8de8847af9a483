"""`CeleryRoute`: functions with a task type, on Celery's workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from celery.result import AsyncResult
from kombu.exceptions import EncodeError

from tests.celery import routed
from tests.celery.worker import LIMIT, Worker
from wsgi_async.integrations.celery import AsyncLoop, CeleryRoute
from wsgi_async.routing import async_task, override_routes

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def app() -> Iterator[Celery]:
    """An app without a broker, which runs its tasks itself."""
    one = Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=False)
    one.conf.task_always_eager = True
    with one:
        yield one


@pytest.mark.parametrize("finalized", [False, True])
def test_a_function_becomes_a_task_under_its_name(app: Celery, finalized: bool) -> None:
    """Whether the app is complete already or not; it runs on an event loop that stays open."""
    AsyncLoop(app)
    if finalized:
        app.finalize()
    with override_routes({"celery": CeleryRoute(app, queue="slow")}):
        assert "tests.celery.routed.double" in app.tasks
        one, two = (routed.double.submit(number, plus=1).get() for number in (3, 4))
    assert (one[0], two[0]) == (7, 9)
    assert one[1] == two[1]


def test_an_app_without_a_loop_is_refused(app: Celery) -> None:
    """The error says which line is missing."""
    with pytest.raises(RuntimeError, match=r"Call AsyncLoop\(app\) before CeleryRoute\(app\)"):
        CeleryRoute(app)


def test_what_the_queue_cannot_carry(app: Celery) -> None:
    """Celery refuses arguments that it cannot write, and those that the function does not take."""
    app.conf.task_always_eager = False
    AsyncLoop(app)
    submit: Any = routed.double.submit
    with override_routes({"celery": CeleryRoute(app)}):
        with pytest.raises(EncodeError):
            submit(object())
        with pytest.raises(TypeError):
            submit()


def test_a_function_without_a_name_to_import(app: Celery) -> None:
    """A function inside another is refused where it is defined; the old routes stay."""
    AsyncLoop(app)
    with override_routes({"letters": CeleryRoute(app)}), pytest.raises(ValueError, match="import"):

        @async_task("letters")
        async def inner() -> None: ...


def test_its_name_in_errors(app: Celery) -> None:
    """The repr names the app."""
    AsyncLoop(app)
    assert repr(CeleryRoute(app)) == f"CeleryRoute({app!r})"


@pytest.mark.slow
def test_on_a_real_worker(redis_url: str) -> None:
    """The worker finds the function by its name, keeps its loop, and retries as it is told."""
    with Worker("prefork", redis_url, redis_url) as worker:
        client = worker.client
        AsyncLoop(client)
        with override_routes({"celery": CeleryRoute(client, queue=worker.queue)}):
            results = [routed.double.submit(number) for number in (3, 4)]
            assert isinstance(results[0], AsyncResult)
            worker.keep(*results)
            one, two = (result.get(timeout=LIMIT) for result in results)
            retried = worker.keep(routed.retried.submit())
            assert retried.get(timeout=LIMIT) == 1
    assert (one[0], two[0]) == (6, 8)
    assert one[1] == two[1]
