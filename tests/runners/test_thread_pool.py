"""`LoopThreadPoolExecutor` as an executor: who does what, and what becomes of work at its end."""

from __future__ import annotations

import concurrent.futures
import gc
import logging
import threading
import weakref
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from tests.core.support import give, our_log, wait_until
from tests.runners.parts import LIMIT, Plug
from wsgi_async import AsyncioLoopManager, LoopThreadPoolExecutor, current_manager
from wsgi_async.core.base.settings import primitives
from wsgi_async.core.managers.thread_pool import threads_of_pool

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pool() -> Iterator[LoopThreadPoolExecutor]:
    """A pool of three threads."""
    with LoopThreadPoolExecutor(3, "three") as made:
        yield made


def plugs(pool: LoopThreadPoolExecutor, count: int) -> list[Plug]:
    """Have so many threads of the pool blocked."""
    made = [Plug() for _ in range(count)]
    for plug in made:
        pool.submit(plug)
        plug.await_reached()
    return made


def all_idle(pool: LoopThreadPoolExecutor, count: int) -> None:
    """Wait until so many threads have nothing to do; a result comes a little before that."""
    wait_until(lambda: len(pool._crew._idle) == count, "they are not idle")


def test_outcomes_arrive(pool: LoopThreadPoolExecutor) -> None:
    """Results and exceptions of every kind come out of the futures, and map() works."""

    def leave() -> NoReturn:
        raise SystemExit(3)

    assert pool.submit(divmod, 7, 2).result(LIMIT) == (3, 1)
    assert isinstance(pool.submit(int, "x").exception(LIMIT), ValueError)
    assert isinstance(pool.submit(leave).exception(LIMIT), SystemExit)
    assert list(pool.map(abs, range(-20, 0), timeout=LIMIT)) == list(range(20, 0, -1))


def test_threads_start_when_they_are_needed(pool: LoopThreadPoolExecutor) -> None:
    """An idle thread is used before another one is started, and there are never too many."""
    for _ in range(9):
        assert pool.submit(lambda: threading.current_thread().name).result(LIMIT) == "three_0"
        all_idle(pool, 1)
    blocked = plugs(pool, 3)
    queued = pool.submit(int)
    assert len(threads_of_pool(pool)) == 3
    assert not queued.running()
    for plug in blocked:
        plug.pull()
    assert queued.result(LIMIT) == 0
    assert len(threads_of_pool(pool)) == 3


def test_the_thread_that_came_last_is_the_next_to_work(pool: LoopThreadPoolExecutor) -> None:
    """Little work keeps few threads awake; the others sleep on."""
    order: list[int] = []

    def note() -> None:
        order.append(threading.get_ident())

    for number, plug in enumerate(plugs(pool, 3)):
        plug.pull()
        all_idle(pool, number + 1)
    for _ in range(5):
        pool.submit(note).result(LIMIT)
        all_idle(pool, 3)
    last = [each for each in threads_of_pool(pool) if each.name == "three_2"]
    assert set(order) == {each.ident for each in last}


def test_work_that_is_cancelled_in_time_is_not_done(pool: LoopThreadPoolExecutor) -> None:
    """A future can be canceled as long as no thread has taken its work."""
    done: list[int] = []
    blocked = plugs(pool, 3)
    future = pool.submit(done.append, 1)
    assert future.cancel()
    for plug in blocked:
        plug.pull()
    assert pool.submit(int).result(LIMIT) == 0
    assert done == []


def test_an_async_function_is_refused(pool: LoopThreadPoolExecutor) -> None:
    """Nobody would run the coroutine that it returns."""
    with pytest.raises(TypeError, match=r"give.* is async\. Pass a sync function"):
        pool.submit(give, 1)


def test_an_idle_thread_keeps_nothing(pool: LoopThreadPoolExecutor) -> None:
    """Function, arguments and result of a piece of work are free when it is done."""

    class Argument:
        pass

    def give(argument: Argument) -> Argument:
        return argument

    argument = Argument()
    alive = weakref.ref(argument)
    assert pool.submit(give, argument).result(LIMIT) is argument
    del argument
    all_idle(pool, 1)
    gc.collect()
    assert alive() is None


# -- starting threads --------------------------------------------------------------------------


def test_each_thread_is_initialized() -> None:
    """The initializer runs first in each thread, and can use the thread's loop already."""
    seen: list[tuple[str, AsyncioLoopManager]] = []

    def initialize(name: str) -> None:
        seen.append((name, current_manager()))

    with LoopThreadPoolExecutor(2, initializer=initialize, initargs=("mine",)) as pool:
        for plug in plugs(pool, 2):
            plug.pull()
        assert pool.submit(current_manager).result(LIMIT) in [manager for _, manager in seen]
    assert [name for name, _ in seen] == ["mine", "mine"]
    assert len({manager for _, manager in seen}) == 2


def test_an_initializer_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """All who have submitted work learn of it, the log has why, and the next one tries again."""
    plug, failing = Plug(), [ValueError("of the initializer")]

    def initialize() -> None:
        if failing:
            plug()
            raise failing.pop()

    with LoopThreadPoolExecutor(1, "mine", initializer=initialize) as pool:
        with caplog.at_level(logging.ERROR, "wsgi_async"):
            futures = [pool.submit(int) for _ in range(3)]
            plug.pull()
            for future in futures:
                with pytest.raises(RuntimeError, match="last thread of this pool has failed"):
                    future.result(LIMIT)
        assert our_log(caplog) == ["the thread mine_0 of a pool has failed"]
        assert isinstance(caplog.records[0].exc_info[1], ValueError)  # type: ignore[index]
        assert pool.submit(int).result(LIMIT) == 0


def test_a_canceled_one_of_a_thread_that_fails() -> None:
    """What was canceled stays so when the pool's last thread fails."""
    plug = Plug()

    def initialize() -> NoReturn:
        plug()
        raise ValueError("of the initializer")

    with LoopThreadPoolExecutor(1, initializer=initialize) as pool:
        lost, canceled = pool.submit(int), pool.submit(int)
        assert canceled.cancel()
        plug.pull()
        assert isinstance(lost.exception(LIMIT), RuntimeError)
        assert canceled.cancelled()


def test_a_callback_that_exits(caplog: pytest.LogCaptureFixture) -> None:
    """A future's callback that raises SystemExit is logged, and its thread does more work."""

    def leave(_: object) -> NoReturn:
        raise SystemExit(3)

    plug = Plug()
    with (
        caplog.at_level(logging.ERROR, "wsgi_async"),
        LoopThreadPoolExecutor(1, "mine") as pool,
    ):
        future = pool.submit(plug)
        plug.await_reached()
        future.add_done_callback(leave)
        plug.pull()
        assert future.result(LIMIT) is None
        assert pool.submit(lambda: threading.current_thread().name).result(LIMIT) == "mine_0"
    assert any("was raised in the thread" in line for line in our_log(caplog))


def no_thread(target: object, name: str) -> NoReturn:
    raise RuntimeError("can't start new thread")


def test_a_first_thread_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """The submitter gets the error, nothing is left queued, and the next one tries again."""
    with LoopThreadPoolExecutor(2) as pool:
        with monkeypatch.context() as patch:
            patch.setattr(primitives, "start_thread", no_thread)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                pool.submit(int)
        assert pool.submit(int).result(LIMIT) == 0


def test_a_further_thread_that_cannot_be_started(
    pool: LoopThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that live do all the work."""
    (plug,) = plugs(pool, 1)
    with monkeypatch.context() as patch:
        patch.setattr(primitives, "start_thread", no_thread)
        future = pool.submit(int)
    plug.pull()
    assert future.result(LIMIT) == 0


def test_a_thread_whose_loop_breaks(caplog: pytest.LogCaptureFixture) -> None:
    """It ends, as nothing can go on there, and the next piece of work starts a new one."""

    def break_loop(pool: LoopThreadPoolExecutor) -> None:
        selector: Any = current_manager().get_event_loop()._selector  # type: ignore[attr-defined]
        select = selector.select

        def fail(timeout: float | None = None) -> Any:
            if pool._crew._workers:  # until it takes no work any more
                raise OSError("of the selector")
            return select(timeout)

        selector.select = fail

    with LoopThreadPoolExecutor(1, "broken") as pool:
        with caplog.at_level(logging.ERROR, "wsgi_async"):
            (thread,) = pool.submit(threads_of_pool, pool).result(LIMIT)
            pool.submit(break_loop, pool).result(LIMIT)
            thread.join(LIMIT)
        assert not thread.is_alive()
        assert "the thread broken_0 of a pool has failed" in our_log(caplog)
        assert pool.submit(lambda: current_manager().state).result(LIMIT) == "running"


# -- the end -----------------------------------------------------------------------------------


def test_a_shutdown_does_what_is_queued() -> None:
    """When it returns all work is done, the threads have ended, and their loops are closed."""
    done: list[int] = []
    pool = LoopThreadPoolExecutor(2)
    blocked = plugs(pool, 2)
    futures = [pool.submit(done.append, number) for number in range(20)]
    threads, managers = threads_of_pool(pool), [pool.submit(current_manager) for _ in range(2)]
    pulls = [threading.Timer(0.05, plug.pull) for plug in blocked]
    for pull in pulls:
        pull.start()
    pool.shutdown()
    assert sorted(done) == list(range(20))
    assert all(future.done() for future in futures)
    assert not any(thread.is_alive() for thread in threads)
    assert {future.result(0).state for future in managers} == {"stopped"}
    for pull in pulls:
        pull.join()


def test_a_shutdown_can_drop_what_is_queued() -> None:
    """What no thread has taken is canceled, and every thread that waits for it is told."""
    pool = LoopThreadPoolExecutor(1)
    (plug,) = plugs(pool, 1)
    futures = [pool.submit(int) for _ in range(3)]
    pool.shutdown(wait=False, cancel_futures=True)
    done, _ = concurrent.futures.wait(futures, LIMIT)
    assert done == set(futures)
    assert all(future.cancelled() for future in futures)
    plug.pull()
    pool.shutdown()


def test_a_shutdown_leaves_what_is_filled_by_hand() -> None:
    """A future that somebody has given a result keeps it, though its work is dropped."""
    pool = LoopThreadPoolExecutor(1)
    (plug,) = plugs(pool, 1)
    future = pool.submit(int)
    future.set_result(5)
    pool.shutdown(wait=False, cancel_futures=True)
    plug.pull()
    pool.shutdown()
    assert future.result(0) == 5


def test_a_pool_that_is_shut_down_takes_nothing(pool: LoopThreadPoolExecutor) -> None:
    """Whoever submits afterwards gets an error, and a second shutdown does no harm."""
    pool.submit(int).result(LIMIT)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        pool.submit(int)
    pool.shutdown(cancel_futures=True)
    assert threads_of_pool(pool) == []


def test_a_function_may_shut_its_pool_down() -> None:
    """It does not wait for itself; the others end, and what is queued is done."""
    pool = LoopThreadPoolExecutor(2)
    (plug,) = plugs(pool, 1)
    shut_down = pool.submit(pool.shutdown)
    plug.pull()
    assert shut_down.exception(LIMIT) is None
    pool.shutdown()
    with pytest.raises(RuntimeError):
        pool.submit(int)


def test_a_pool_needs_a_thread() -> None:
    """What cannot be a number of threads is refused."""
    with pytest.raises(ValueError, match="max_workers"):
        LoopThreadPoolExecutor(0)
    with pytest.raises(TypeError, match="max_workers"):
        LoopThreadPoolExecutor("two")  # type: ignore[arg-type]
