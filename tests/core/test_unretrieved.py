"""Exceptions of submitted tasks that nobody asks for: in the log, once, with the traceback."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import (
    LIMIT,
    Endless,
    Worker,
    give,
    on_worker,
    outcome,
    reached,
    throw,
    wait_until,
)
from wsgi_async import async_to_sync_future

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.core.conftest import MakeManager
    from wsgi_async import SyncFuture


def finish(manager: Any) -> None:
    """Let everything on the loop that can end come to its end, and be collected."""
    for _ in range(3):
        manager.run(asyncio.sleep(0.01))
    gc.collect()


def errors(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.ERROR]


@on_worker
def test_is_logged_once_with_its_traceback(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """A background task that fails unseen leaves its traceback in the log, one time."""
    manager = make_manager()
    manager.submit_task(throw(LookupError("lost")))
    finish(manager)
    manager.stop()
    gc.collect()
    (record,) = errors(caplog)
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)
    assert "in throw" in (record.exc_text or caplog.text)
    assert record.name.startswith("wsgi_async")


@on_worker
def test_of_a_future_that_is_held_and_dropped(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """A future that somebody held, and let go of without a look, is logged like any other."""
    manager = make_manager()
    future = manager.submit_task(throw(LookupError("lost")))
    while not future.done():
        manager.run(asyncio.sleep(0))
    assert errors(caplog) == []
    del future
    finish(manager)
    assert len(errors(caplog)) == 1


@on_worker
def test_of_a_future_that_is_dropped_in_another_request(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """A log filter sees the variables of the task, not of the code that drops the future."""
    manager = make_manager()
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="")
    seen: list[str] = []

    def note(record: logging.LogRecord) -> bool:
        seen.append(request.get())
        return True

    def submit() -> SyncFuture[Any]:
        request.set("its own")
        return manager.submit_task(throw(LookupError("lost")))

    def drop() -> None:
        request.set("another")
        held.clear()
        finish(manager)

    held = [contextvars.copy_context().run(submit)]
    wait_until(held[0].done, "the task fails")
    caplog.handler.addFilter(note)
    try:
        contextvars.copy_context().run(drop)
    finally:
        caplog.handler.removeFilter(note)
    assert seen == ["its own"]


def _result(future: SyncFuture[Any]) -> None:
    with pytest.raises(LookupError):
        future.result(20)


def _exception(future: SyncFuture[Any]) -> None:
    assert isinstance(future.exception(20), LookupError)


def _callback(future: SyncFuture[Any]) -> None:
    seen: concurrent.futures.Future[Any] = concurrent.futures.Future()
    future.add_done_callback(lambda done: seen.set_result(done.exception()))
    assert isinstance(outcome(seen), LookupError)


@pytest.mark.parametrize("look", [_result, _exception, _callback])
@on_worker
def test_one_that_was_seen_is_never_logged(
    make_manager: MakeManager,
    look: Callable[[SyncFuture[Any]], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever has had the exception, however he asked for it, does not find it in the log too."""
    manager = make_manager()
    future = manager.submit_task(throw(LookupError("seen")))
    look(future)
    del future
    finish(manager)
    assert errors(caplog) == []


@on_worker
def test_one_that_another_loop_awaited(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Awaiting the future on another thread's loop counts as having seen it."""
    manager = make_manager()

    async def elsewhere() -> None:
        with pytest.raises(LookupError):
            await asyncio.wrap_future(manager.submit_task(throw(LookupError("seen"))))

    with Worker() as other:
        outcome(other.begin(asyncio.run, elsewhere()))
    finish(manager)
    assert errors(caplog) == []


@on_worker
def test_results_and_cancellations_are_not_logged(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """A task that ends well, or is cancelled, is nobody's error."""
    manager = make_manager()
    manager.submit_task(give(1))
    endless = Endless()
    future = manager.submit_task(endless.wait())
    reached(endless.began)
    future.cancel()
    del future
    finish(manager)
    assert errors(caplog) == []


@on_worker
def test_a_stop_is_not_an_error(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Background tasks that `stop()` ends do not fill the log."""
    manager = make_manager()
    endless = Endless()
    manager.submit_task(endless.wait())
    reached(endless.began)
    manager.stop()
    gc.collect()
    assert endless.cleaned.is_set()
    assert errors(caplog) == []


@on_worker
def test_an_error_during_a_stop_is_logged(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """A task whose cleanup fails when it is stopped is logged."""
    manager = make_manager()
    endless = Endless()

    async def fails() -> None:
        try:
            await endless.wait()
        finally:
            raise LookupError("in the cleanup")

    manager.submit_task(fails())
    reached(endless.began)
    manager.stop()
    gc.collect()
    assert [record.exc_info and record.exc_info[0] for record in errors(caplog)] == [LookupError]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
@on_worker
def test_system_exit_of_a_task_that_nobody_waits_for(
    make_manager: MakeManager,
    kind: type[BaseException],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A background task's SystemExit ends neither the keeper nor the loop, and is in the log."""
    manager = make_manager()
    manager.submit_task(throw(kind()))
    finish(manager)
    assert manager.run(give("lives on")) == "lives on"
    assert [record.exc_info and record.exc_info[0] for record in errors(caplog)] == [kind]


@on_worker
def test_a_wrapped_future_does_not_hide_it(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception that `async_to_sync_future()` takes over is logged where nobody asks for it."""
    manager = make_manager()
    asked = async_to_sync_future(manager.submit_task(throw(LookupError("asked for"))))
    assert isinstance(asked.exception(LIMIT), LookupError)
    unasked = async_to_sync_future(manager.submit_task(throw(LookupError("lost"))))
    unasked.wait(LIMIT)
    del asked, unasked
    finish(manager)
    (record,) = errors(caplog)
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "lost"
    assert "throw" in record.getMessage()
