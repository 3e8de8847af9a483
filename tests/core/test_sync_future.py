"""`SyncFuture` by hand: what has a name of `concurrent.futures.Future`'s means the same.

Each test but the last few runs with both classes, so that the standard library says what is right.
"""

from __future__ import annotations

import concurrent.futures
import gc
import logging
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import Endless, Worker, in_thread, on_worker, our_log, outcome, throw
from wsgi_async import SyncFuture

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.core.conftest import MakeManager

    Future = SyncFuture[Any] | concurrent.futures.Future[Any]
    Make = Callable[[], Future]

CancelledError = concurrent.futures.CancelledError
InvalidStateError = concurrent.futures.InvalidStateError


@pytest.fixture(params=[SyncFuture, concurrent.futures.Future], ids=lambda kind: kind.__name__)
def make(request: pytest.FixtureRequest) -> Make:
    kind: Make = request.param
    return kind


def test_a_new_one(make: Make) -> None:
    """A new future has no outcome, and waiting for one ends with the timeout."""
    future = make()
    assert (future.done(), future.cancelled()) == (False, False)
    for ask in (future.result, future.exception):
        for timeout in (0, 0.001, -1):
            with pytest.raises(TimeoutError):
                ask(timeout)
    assert not future.done()


def test_a_result(make: Make) -> None:
    """What was set is what everybody gets, as often as he asks."""
    future = make()
    future.set_result("page")
    assert (future.done(), future.cancelled()) == (True, False)
    assert [future.result(), future.result(0), future.exception(), future.exception(0)] == [
        "page",
        "page",
        None,
        None,
    ]


def test_an_exception(make: Make) -> None:
    """The very exception is raised, and returned by `exception()`."""
    future = make()
    error = LookupError("no such page")
    future.set_exception(error)
    assert (future.done(), future.cancelled()) == (True, False)
    for _ in range(2):
        with pytest.raises(LookupError) as caught:
            future.result()
        assert caught.value is error
    assert future.exception() is error


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=["exit", "interrupt"])
def test_a_base_exception(make: Make, error: BaseException) -> None:
    """SystemExit and KeyboardInterrupt arrive like every other exception."""
    future = make()
    future.set_exception(error)
    with pytest.raises(type(error)) as caught:
        future.result()
    assert caught.value is error


def test_a_cancellation(make: Make) -> None:
    """A future filled by hand is canceled at once; a second `cancel()` agrees."""
    future = make()
    assert future.cancel()
    assert (future.done(), future.cancelled()) == (True, True)
    for ask in (future.result, future.exception):
        with pytest.raises(CancelledError):
            ask()
    assert future.cancel()


def test_cancel_comes_too_late(make: Make) -> None:
    """Where there is a result already, `cancel()` returns False and changes nothing."""
    future = make()
    future.set_result("page")
    assert not future.cancel()
    assert not future.cancelled()
    assert future.result() == "page"


def _cancel(future: Future) -> None:
    future.cancel()


def _result(future: Future) -> None:
    future.set_result(1)


def _exception(future: Future) -> None:
    future.set_exception(LookupError())


every_outcome = pytest.mark.parametrize("first", [_cancel, _result, _exception])


@every_outcome
def test_there_is_one_outcome(make: Make, first: Callable[[Future], None]) -> None:
    """A second outcome is refused, and the first one stays."""
    future = make()
    first(future)
    with pytest.raises(InvalidStateError):
        future.set_result(2)
    with pytest.raises(InvalidStateError):
        future.set_exception(ValueError())
    assert future.cancelled() == (first is _cancel)
    if first is _result:
        assert future.result() == 1


@every_outcome
def test_wakes_who_waits(make: Make, first: Callable[[Future], None]) -> None:
    """All threads that wait are woken by whatever outcome."""
    future = make()
    workers = [Worker() for _ in range(3)]
    results = [workers[0].begin(future.result), workers[1].begin(future.exception)]
    results.append(workers[2].begin(future.result, 20))
    first(future)
    for result in results:
        concurrent.futures.wait([result], 20)
        assert result.done()
        assert not isinstance(result.exception(), TimeoutError)
    for worker in workers:
        worker.end()


@every_outcome
def test_callbacks(make: Make, first: Callable[[Future], None]) -> None:
    """Callbacks get the future, in the order in which they were added, once each."""
    future = make()
    called: list[tuple[int, object]] = []
    for number in range(3):
        future.add_done_callback(lambda done, number=number: called.append((number, done)))  # type: ignore[misc]
    assert called == []
    first(future)
    assert called == [(0, future), (1, future), (2, future)]
    future.add_done_callback(lambda done: called.append((3, done)))
    assert called[3:] == [(3, future)]


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_a_callback_that_fails(make: Make, late: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A callback that raises is logged, and neither the others nor the caller suffer."""
    future = make()
    called: list[object] = []

    def fail(_: object) -> None:
        raise LookupError("in a callback")

    if late:
        future.set_result(1)
    future.add_done_callback(fail)
    future.add_done_callback(called.append)
    if not late:
        future.set_result(1)
    assert called == [future]
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)


def test_a_callback_runs_where_the_outcome_comes_from(make: Make) -> None:
    """The callback runs in the thread that sets the result."""
    future = make()
    threads: list[threading.Thread] = []
    future.add_done_callback(lambda _: threads.append(threading.current_thread()))
    with Worker() as worker:
        worker.call(future.set_result, 1)
        assert threads == [worker.thread]


def test_a_callback_may_use_the_future(make: Make) -> None:
    """In a callback the future is done, and takes further callbacks."""
    future = make()
    called: list[object] = []

    def callback(done: Any) -> None:
        called.append(done.result(0))
        done.add_done_callback(lambda same: called.append(same.done()))

    future.add_done_callback(callback)
    future.set_result("page")
    assert called == ["page", True]


def test_frees_what_it_no_longer_needs(make: Make) -> None:
    """A future that is let go of frees its result at once, without the collector."""

    class Page:
        pass

    gc.disable()
    try:
        page = Page()
        seen = weakref.ref(page)
        future = make()
        future.set_result(page)
        future.result()
        del page, future
        assert seen() is None
    finally:
        gc.enable()


# -- what only SyncFuture has --------------------------------------------------------------------


def test_wait_tells_whether_there_is_an_outcome() -> None:
    """`wait()` returns whether the future is done, and raises nothing of the outcome's."""
    future: SyncFuture[int] = SyncFuture()
    assert future.wait(0) is False
    assert future.wait(0.001) is False
    future.set_exception(LookupError())
    assert future.wait(0) is True
    assert future.wait() is True


@every_outcome
def test_wait_in_another_thread(first: Callable[[Future], None]) -> None:
    """A thread in `wait()` is woken by whatever outcome."""
    future: SyncFuture[int] = SyncFuture()
    with Worker() as worker:
        waiting = worker.begin(future.wait)
        first(future)
        assert outcome(waiting) is True


def test_a_wait_that_gives_up_leaves_nothing() -> None:
    """After a timeout the future can be waited for again, by the same thread and by others."""
    future: SyncFuture[str] = SyncFuture()
    for _ in range(3):
        assert not future.wait(0.001)
    with Worker() as worker:
        waiting = worker.begin(future.result)
        assert not future.wait(0.001)
        future.set_result("page")
        assert outcome(waiting) == future.result() == "page"


def test_a_timeout_that_is_no_number() -> None:
    """A slip in the timeout is told at once."""
    with pytest.raises(TypeError, match="timeout"):
        SyncFuture[int]().wait("soon")  # type: ignore[arg-type]


def test_repr() -> None:
    """Its state can be seen in a debugger."""
    futures: list[SyncFuture[int]] = [SyncFuture() for _ in range(4)]
    futures[1].set_result(1)
    futures[2].set_exception(LookupError())
    futures[3].cancel()
    words = ["pending", "finished", "LookupError", "cancelled"]
    assert [word in repr(future) for word, future in zip(words, futures, strict=True)] == [True] * 4


@on_worker
def test_repr_of_a_task(make_manager: MakeManager) -> None:
    """And whose outcome it is."""
    manager = make_manager()
    assert "pending of Endless.wait" in repr(manager.submit_task(Endless().wait()))
    future = manager.submit_task(throw(LookupError()))
    assert isinstance(future.exception(), LookupError)
    assert "raised LookupError of throw" in repr(future)


def test_filled_by_hand_is_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Who fills a future himself decides what becomes of the exception."""
    future: SyncFuture[int] = SyncFuture()
    future.set_exception(LookupError())
    del future
    gc.collect()
    assert our_log(caplog) == []


def test_can_be_used_from_any_thread() -> None:
    """No thread owns a future that was made by hand."""
    future = in_thread(SyncFuture[str])
    in_thread(future.set_result, "page")
    assert in_thread(future.result) == "page"
