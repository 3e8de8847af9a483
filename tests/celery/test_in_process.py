"""Async tasks that a process carries out itself, without a worker."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery, Task, chain, chord, current_task, group, shared_task
from celery.signals import worker_process_init

from tests.core.support import in_process, say
from tests.middleware.wsgi import serve
from wsgi_async import (
    AsyncioLoopManager,
    AsyncLoopMiddleware,
    RunningLoopError,
    WaitTimeoutError,
    async_to_sync,
    current_manager,
    loop_from,
    run,
)
from wsgi_async.integrations.celery import AsyncLoop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel


@pytest.fixture
def app() -> Iterator[Any]:
    """An app that carries out its tasks at once."""
    app = Celery("tests.celery.test_in_process", set_as_current=False)
    app.conf.update(
        task_always_eager=True, broker_url="memory://", result_backend="cache+memory://"
    )
    yield app
    for manager in AsyncioLoopManager.all_instances():
        manager.stop()


async def add(one: int, other: int) -> int:
    return one + other


async def total(numbers: list[int]) -> int:
    return sum(numbers)


def test_a_task_of_an_app_that_is_not_finalized(app: Any) -> None:
    """The first task that is called returns its result, as do those that are made after it."""
    first = app.task(add)
    AsyncLoop(app)
    assert first.delay(1, 2).get() == 3
    assert first(1, 2) == 3
    assert first.apply((1, 2)).get() == 3
    app.finalize()
    assert app.task(total).delay([1, 2]).get() == 3

    @shared_task
    async def shared() -> str:
        return "shared"

    assert app.tasks[f"{__name__}.shared"].delay().get() == "shared"


def test_an_app_whose_tasks_were_looked_at_before(app: Any) -> None:
    """A task that is made after `AsyncLoop(app)` is found by its name."""

    class First(Task):
        name = "first"

        async def run(self) -> int:
            return 1

    app.register_task(First())
    AsyncLoop(app)
    app.task(add, name="second", shared=False)
    assert app.tasks["first"].delay().get() == 1
    assert app.tasks["second"].delay(1, 2).get() == 3


def test_the_function_of_a_task(app: Any) -> None:
    """`task.run()` calls it without a task or a request of Celery's, on the same loop."""
    AsyncLoop(app)

    @app.task
    async def in_task() -> bool:
        return bool(current_task)

    assert in_task.delay().get()
    assert not in_task.run()
    assert len(AsyncioLoopManager.all_instances()) == 1


def test_a_task_that_comes_after_the_deadline_of_a_request(app: Any) -> None:
    """It is not begun, and no coroutine is left that nobody awaits."""
    AsyncLoop(app)
    task = app.task(add)

    def view(environ: Any, start_response: Any) -> list[bytes]:
        with pytest.raises(WaitTimeoutError):
            task.run(1, 2)
        return [b"late"]

    assert serve(AsyncLoopMiddleware(view, timeout=0)) == b"late"
    gc.collect()


def child_is_terminated() -> None:
    """A process of the prefork pool that gets a SIGTERM."""
    AsyncLoop(Celery(set_as_current=False))
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    worker_process_init.send(None)
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(20)
    except SystemExit as error:
        say(str(error.code))
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no prefork pool here")
def test_a_sigterm_ends_the_task_of_a_process() -> None:
    """It unwinds the task as an exception does, and a second one kills."""
    assert in_process(child_is_terminated).split() == [str(128 + signal.SIGTERM)]


@pytest.mark.parametrize("options", [{}, {"id": "celery"}, {"debug": True}], ids=str)
@pytest.mark.parametrize("sync_first", [True, False])
def test_sync_tasks_use_the_same_loop(app: Any, options: Any, sync_first: bool) -> None:
    """Whichever comes first, with the options of `AsyncLoop`; so a resource is opened once."""
    AsyncLoop(app, **options)

    async def look() -> tuple[int, bool]:
        loop = asyncio.get_running_loop()
        return id(loop), loop.get_debug()

    def wait() -> tuple[int, bool]:
        return run(look())

    waiting, working = app.task(wait, shared=False), app.task(look, shared=False)
    tasks = [waiting, working, waiting] if sync_first else [working, waiting, working]
    found = {task.delay().get() for task in tasks}
    assert len(found) == 1
    (manager,) = AsyncioLoopManager.all_instances()
    assert found == {(id(manager.get_event_loop()), manager.get_event_loop().get_debug())}
    assert not options.get("debug") or found.pop()[1]


def test_a_sync_task_that_a_request_calls(app: Any) -> None:
    """It uses the request's loop, as its other code does."""
    AsyncLoop(app)

    def find() -> AsyncioLoopManager:
        return current_manager()

    task = app.task(find, shared=False)

    def view(environ: Any, start_response: Any) -> list[bytes]:
        assert task() is loop_from(environ)
        start_response("200 OK", [])
        return [b"compared"]

    assert serve(AsyncLoopMiddleware(view)) == b"compared"


def test_a_sync_task_makes_no_loop_for_nothing(app: Any) -> None:
    """It has one when it asks; a thread that it starts then finds the same."""
    AsyncLoop(app)

    def plain() -> int:
        return 1

    assert app.task(plain, shared=False).delay().get() == 1
    assert AsyncioLoopManager.all_instances() == []

    def both() -> bool:
        with ThreadPoolExecutor(1) as pool:
            mine = current_manager()
            return pool.submit(copy_context().run, current_manager).result() is mine

    assert app.task(both, shared=False).delay().get()


def test_a_second_extension_leaves_the_tasks_as_they_are(app: Any) -> None:
    """They are not wrapped twice, and run on the first one's loops."""
    task = app.task(add, shared=False)
    AsyncLoop(app, id="first")
    app.finalize()
    AsyncLoop(app, id="second")
    assert task.delay(1, 2).get() == 3
    assert [manager.id for manager in AsyncioLoopManager.all_instances()] == ["first"]


def test_workflows(app: Any) -> None:
    """Chains, groups and chords of async tasks."""
    AsyncLoop(app)
    adding, summing = app.task(add), app.task(total)
    canvas: Any = chain(adding.s(1, 2), adding.s(3), app=app)
    assert canvas().get() == 6
    assert group((adding.s(i, i) for i in range(3)), app=app)().get() == [0, 2, 4]
    canvas = chord((adding.s(i, i) for i in range(3)), summing.s(), app=app)
    assert canvas().get() == 6


def test_a_task_that_retries_by_itself(app: Any) -> None:
    """autoretry_for sees what the coroutine raises, in a task that is made late too."""
    AsyncLoop(app)
    app.finalize()
    calls: list[int] = []

    @app.task(autoretry_for=(LookupError,), max_retries=2, default_retry_delay=0)
    async def retried() -> int:
        calls.append(1)
        if len(calls) < 3:
            raise LookupError("not yet")
        return len(calls)

    assert retried.delay().get() == 3


def test_a_pydantic_task(app: Any) -> None:
    """With pydantic=True the coroutine takes and returns models, and the result is plain data."""
    pydantic = pytest.importorskip("pydantic", reason="pydantic is not installed")
    model: type[BaseModel] = pydantic.create_model("Model", number=int)

    async def double(of: Any) -> Any:
        return model(number=of.number * 2)

    double.__annotations__.update({"of": model, "return": model})
    AsyncLoop(app)
    assert app.task(pydantic=True)(double).delay({"number": 2}).get() == {"number": 4}


def test_a_task_that_runs_its_async_function_itself(app: Any) -> None:
    """A sync wrapper around an async function works as it does without `AsyncLoop(app)`."""
    AsyncLoop(app)

    @functools.wraps(add)
    def add_and_wait(*args: int) -> int:
        return asyncio.run(add(*args))

    async def add_in_task(_: Task, *args: int) -> int:
        return await add(*args)

    class Adding(Task):
        name = "adding"
        run: Any = async_to_sync(add_in_task)

    assert app.task(add_and_wait, name="waiting", shared=False).delay(1, 2).get() == 3
    assert app.register_task(Adding()).delay(1, 2).get() == 3


def test_a_task_that_a_coroutine_calls(app: Any) -> None:
    """An eager task that is called in a coroutine is refused, and makes no other loop."""
    AsyncLoop(app)
    task = app.task(add)

    @app.task
    async def outer() -> Any:
        return task.delay(1, 2).get(disable_sync_subtasks=False)

    with pytest.raises(RunningLoopError, match="calls the sync function"):
        outer.delay().get()
    assert run(add(1, 2)) == 3
    assert len(AsyncioLoopManager.all_instances()) <= 2
