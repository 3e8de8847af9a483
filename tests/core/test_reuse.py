"""Managers that outlive their thread: the next thread gets them, and nobody else."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import socket
import threading
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.forking import in_child, refused
from tests.core.support import (
    LIMIT,
    Endless,
    Worker,
    give,
    in_process,
    in_thread,
    reached,
    say,
    wait_until,
    where,
    with_the_ident_of,
)
from wsgi_async import AsyncioLoopManager, ManagerNotFound, get_or_create_loop_manager
from wsgi_async.core.managers.pool import ManagerPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.core.conftest import LoopFactory


class Threads:
    """Threads that each get a manager, taken or made, as the middleware's do."""

    def __init__(
        self, loop_factory: LoopFactory | None, max_idle: int = 8, max_idle_time: float = 60.0
    ) -> None:
        self._loop_factory = loop_factory
        self.pool = ManagerPool(max_idle=max_idle, max_idle_time=max_idle_time)
        self.made: list[AsyncioLoopManager] = []

    def manager(self) -> AsyncioLoopManager:
        """The current thread's."""
        taken = self.pool.take()
        if taken is not None:
            return taken
        manager = get_or_create_loop_manager(
            "pooled", force_create=True, loop_factory=self._loop_factory
        )
        manager.start()
        self.pool.keep(manager)
        self.made.append(manager)
        return manager

    def call(self, fn: Callable[[AsyncioLoopManager], Any]) -> Any:
        """Run a function in a thread of its own; what it returned once that thread has ended."""
        return in_thread(lambda: fn(self.manager()))

    @contextmanager
    def at_once(self, number: int) -> Iterator[list[AsyncioLoopManager]]:
        """The managers of so many threads, which end after the block, one after the other."""
        workers = [Worker() for _ in range(number)]
        yield [worker.call(self.manager) for worker in workers]
        for worker in workers:
            worker.end()


@pytest.fixture
def make_threads(loop_factory: LoopFactory | None) -> Iterator[Callable[..., Threads]]:
    """Makes a pool with its threads; all of its managers are stopped after the test."""
    all_made: list[Threads] = []

    def make(**options: Any) -> Threads:
        all_made.append(Threads(loop_factory, **options))
        return all_made[-1]

    yield make
    for threads in all_made:
        for manager in threads.made:
            manager.stop(LIMIT)


@pytest.fixture
def threads(make_threads: Callable[..., Threads]) -> Threads:
    return make_threads()


def itself(manager: AsyncioLoopManager) -> AsyncioLoopManager:
    manager.run(give(1))
    return manager


def is_stopped(manager: AsyncioLoopManager) -> None:
    wait_until(lambda: manager.state == "stopped", "the manager is stopped")


# -- the next thread -----------------------------------------------------------------------------


def test_the_next_thread_gets_the_manager_with_its_connections(threads: Threads) -> None:
    """What a thread has opened on its loop is open for the next one."""
    streams: list[Any] = []

    async def connect() -> None:
        streams.extend(await asyncio.open_connection(*listener.getsockname()))

    async def read() -> bytes:
        line: bytes = await streams[0].readline()
        return line

    async def close() -> None:
        streams[1].close()
        await streams[1].wait_closed()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads.call(lambda manager: manager.run(connect()))
        peer, _ = listener.accept()
    with peer:
        for line in (b"once\n", b"again\n"):
            peer.sendall(line)
            assert threads.call(lambda manager: manager.run(read(), timeout=LIMIT)) == line
        threads.call(lambda manager: manager.run(close()))
    assert len(threads.made) == 1


def test_threads_at_once_have_a_manager_each(threads: Threads) -> None:
    """There are as many managers as there were threads at once, and no thread shares its own."""
    for _ in range(3):
        with threads.at_once(4) as managers:
            assert len(set(managers)) == 4
    assert set(managers) == set(threads.made)
    assert len(threads.made) == 4


def test_its_loop_stays_on_its_thread(threads: Threads) -> None:
    """Whichever thread has the manager, its coroutines run on the one that they always ran on."""
    found = {threads.call(lambda manager: manager.run(where())) for _ in range(3)}
    assert len(found) == len(threads.made) == 1
    assert found.pop().is_alive()


def test_look_ups_find_it_in_the_new_thread_only(threads: Threads) -> None:
    """Registry, look-ups and the manager's name tell whose it is now; while idle, nobody's."""

    def look(manager: AsyncioLoopManager) -> None:
        assert get_or_create_loop_manager("pooled", strictly_get=True) is manager
        registry = AsyncioLoopManager.registry()
        assert registry[threading.get_ident()]["pooled"] is manager
        assert [ids for ids in registry.values() if manager in ids.values()] == [
            registry[threading.get_ident()]
        ]
        name = threading.current_thread().name
        assert repr(name) in repr(manager)
        with pytest.raises(RuntimeError, match=f"closed by .* of thread {name!r}"):
            manager.get_event_loop().close()

    for name in ("first", "second"):
        with Worker(name) as worker:
            worker.call(lambda: look(threads.manager()))
        [manager] = threads.made
        assert not any(manager in ids.values() for ids in AsyncioLoopManager.registry().values())
        assert manager in AsyncioLoopManager.all_instances()


def test_a_thread_below_the_ended_one_does_not_find_it(threads: Threads) -> None:
    """A thread that goes on after the one that started it does not use its manager by look-up."""
    with Worker() as above:
        above.call(threads.manager)
        below = above.call(Worker)

    def look() -> None:
        with pytest.raises(ManagerNotFound):
            get_or_create_loop_manager("pooled", strictly_get=True)

    below.call(look)
    threads.call(lambda _: below.call(look))
    below.end()


def test_the_main_thread_takes_none(threads: Threads) -> None:
    """The main thread, which never gives one back, leaves them to others."""
    threads.call(itself)
    assert threads.pool.take() is None
    assert threads.call(itself) is threads.made[0]


def test_one_whose_thread_has_not_ended_is_not_waited_for(threads: Threads) -> None:
    """A thread that comes while all managers have theirs gets a new one, at once."""
    with Worker() as before, Worker() as new:
        manager = before.call(threads.manager)
        assert new.call(threads.pool.take) is None
        assert new.call(threads.manager) is not manager


def test_a_loop_that_lives_on_its_thread_ends_with_it(threads: Threads) -> None:
    """On a thread of a `LoopThreadPoolExecutor` there is nothing to hand on."""
    with Worker(resident=True) as owner:
        manager = owner.call(threads.manager)
    is_stopped(manager)
    assert threads.call(itself) is not manager


# -- never two at once ----------------------------------------------------------------------------


def test_a_thread_with_the_ended_ones_ident_is_a_stranger(threads: Threads) -> None:
    """While a manager waits it is nobody's, whatever ident the system gives to a new thread."""

    def look() -> dict[Any, AsyncioLoopManager]:
        with pytest.raises(ManagerNotFound):
            get_or_create_loop_manager("pooled", strictly_get=True)
        return AsyncioLoopManager.registry().get(threading.get_ident(), {})

    ident, manager = threads.call(lambda manager: (threading.get_ident(), itself(manager)))
    assert with_the_ident_of(ident, look) == {}
    assert threads.call(itself) is manager


@pytest.mark.stress
@pytest.mark.parametrize(("max_idle", "max_idle_time"), [(8, 60.0), (2, 60.0), (8, 0.0)])
def test_many_short_threads_never_meet_in_one_manager(
    make_threads: Callable[..., Threads], max_idle: int, max_idle_time: float
) -> None:
    """However threads come and go, a manager has one at a time, and none gets a stopped one."""
    threads = make_threads(max_idle=max_idle, max_idle_time=max_idle_time)
    mutex = threading.Lock()
    in_use: set[AsyncioLoopManager] = set()
    failures: list[BaseException] = []

    def short() -> None:
        try:
            manager = threads.manager()
            with mutex:
                assert manager not in in_use
                in_use.add(manager)
            assert manager.run(give("page")) == "page"
            with mutex:
                in_use.remove(manager)
        except BaseException as error:
            failures.append(error)

    def spawn() -> None:
        for _ in range(40):
            thread = threading.Thread(target=short)
            thread.start()
            thread.join(LIMIT)

    spawners = [threading.Thread(target=spawn) for _ in range(6)]
    for spawner in spawners:
        spawner.start()
    for spawner in spawners:
        spawner.join(2 * LIMIT)
    assert not failures
    if max_idle >= len(spawners) and max_idle_time:
        assert len(threads.made) <= len(spawners)


# -- waiting ---------------------------------------------------------------------------------------


def test_background_work_goes_on_without_a_thread(threads: Threads) -> None:
    """A submitted coroutine outlives its thread and the next, and can be waited for by it."""
    go_on = asyncio.Event()

    async def work() -> str:
        await go_on.wait()
        return "done"

    future = threads.call(lambda manager: manager.submit_task(work()))
    assert not threads.call(lambda manager: (itself(manager), future.done())[1])

    async def release() -> None:
        go_on.set()

    assert threads.call(lambda manager: (manager.run(release()), future.result(LIMIT))[1]) == "done"
    assert len(threads.made) == 1


def test_too_many_that_wait_are_stopped(make_threads: Callable[..., Threads]) -> None:
    """No more than `max_idle` wait; those that have waited longest are stopped, with cleanup."""
    threads, task = make_threads(max_idle=2), Endless()
    with threads.at_once(4) as managers:
        managers[0].submit_task(task.wait())
        reached(task.began)
    is_stopped(managers[0])
    is_stopped(managers[1])
    assert task.cleaned.is_set()
    with threads.at_once(2) as again:
        assert again == [managers[3], managers[2]]  # the freshest first


def test_one_that_waits_too_long_is_stopped(make_threads: Callable[..., Threads]) -> None:
    """After the idle time the loop is closed, the work on it cleaned up, and memory given back."""
    threads, task = make_threads(max_idle_time=0.05), Endless()

    def use(manager: AsyncioLoopManager) -> asyncio.AbstractEventLoop:
        manager.submit_task(task.wait())
        reached(task.began)
        return manager.get_event_loop()

    loop = threads.call(use)
    is_stopped(threads.made[0])
    assert task.cleaned.is_set()
    assert loop.is_closed()
    gone = weakref.ref(threads.made.pop())
    wait_until(lambda: (gc.collect(), gone())[1] is None, "the manager is collected")


def test_the_idle_time_starts_anew(make_threads: Callable[..., Threads]) -> None:
    """The end of an earlier wait does not stop a manager that has a thread again."""
    threads = make_threads(max_idle_time=0.3)
    manager = threads.call(itself)
    manager.run(give(1))  # behind what the thread's end has put on the loop: the timer is set
    # The timer's moment comes first on the very loop that this sleeps on.
    assert threads.call(lambda taken: taken.run(asyncio.sleep(0.6, taken))) is manager
    assert manager.running
    is_stopped(manager)


def test_one_that_is_stopped_by_hand_is_not_handed_out(threads: Threads) -> None:
    """`stop()` works while a manager waits, and the next thread gets another one."""
    with threads.at_once(2) as managers:
        pass
    managers[1].stop(LIMIT)
    assert managers[1].state == "stopped"
    assert threads.call(itself) is managers[0]


def test_one_that_its_thread_starts_again_is_kept_as_well(
    make_threads: Callable[..., Threads],
) -> None:
    """A manager that was stopped and started in a request waits, and ends, as any other."""
    threads = make_threads(max_idle_time=0.05)

    def restart(manager: AsyncioLoopManager) -> asyncio.AbstractEventLoop:
        manager.stop(LIMIT)
        manager.start()
        return manager.get_event_loop()

    threads.call(itself)
    loop = threads.call(restart)
    is_stopped(threads.made[-1])
    assert loop.is_closed()


def test_a_waiting_manager_keeps_nothing_of_the_request(threads: Threads) -> None:
    """What the last thread's context held is let go while its manager waits."""
    variable: contextvars.ContextVar[object] = contextvars.ContextVar("request")

    class Request:
        pass

    def use(manager: AsyncioLoopManager) -> weakref.ref[Request]:
        request = Request()
        variable.set(request)
        itself(manager)
        return weakref.ref(request)

    request = threads.call(use)
    wait_until(lambda: (gc.collect(), request())[1] is None, "the request is let go")
    assert threads.made[0].running


# -- the process -----------------------------------------------------------------------------------


def child_exits(loop: str) -> None:
    """A process ends while a manager waits that has work in flight."""
    threads, began = Threads(factory_of(loop)), threading.Event()

    async def work() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            say("cleaned up")

    threads.call(lambda manager: manager.submit_task(work()))
    reached(began)


def factory_of(loop: str) -> LoopFactory | None:
    if loop == "asyncio":
        return None
    import uvloop

    return uvloop.new_event_loop


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_exit_of_the_process_stops_those_that_wait(loop: str) -> None:
    """A waiting manager's work is cleaned up when the process ends, without a word of warning."""
    if loop == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed")
    assert in_process(child_exits, loop) == "cleaned up\n"


def child_exits_with_a_thread(ended: bool) -> None:
    """A process ends whose waiting manager has something open with a thread of its own.

    Args:
        ended: Whether the manager waits already when the main thread ends.
    """
    threads, began, closed = Threads(None), threading.Event(), threading.Event()

    async def work() -> None:
        threading.Thread(target=closed.wait).start()  # not a daemon: the process waits for it
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            closed.set()
            say("closed")

    def serve() -> None:
        threads.call(lambda manager: manager.submit_task(work()))

    if ended:
        serve()
        reached(began)
        return

    def late() -> None:
        manager = threads.manager()
        manager.submit_task(work())
        reached(began)
        threading.main_thread().join()

    threading.Thread(target=late).start()
    reached(began)


@pytest.mark.parametrize("ended", [True, False])
def test_the_exit_does_not_wait_for_what_is_open(ended: bool) -> None:
    """What a waiting manager has open, threads too, is closed as soon as the main thread ends."""
    assert in_process(child_exits_with_a_thread, ended) == "closed\n"


def child_forks(loop: str) -> None:
    """A process with a waiting manager forks; child and parent serve on."""
    threads = Threads(factory_of(loop))
    inherited = threads.call(itself)

    def serve() -> None:
        made = threads.call(itself)
        assert made is not inherited
        assert threads.call(itself) is made
        coro = give(1)
        refused(inherited.run, coro)

    in_child(serve)
    in_child(serve, "exit")
    assert threads.call(itself) is inherited
    assert len(threads.made) == 1
    say("served")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_forked_child_gets_none_of_the_parents(loop: str) -> None:
    """The child's threads get managers of their own, and the parent's go on."""
    if loop == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed")
    assert in_process(child_forks, loop) == "served\n"


def test_a_thread_whose_end_is_noticed_twice_gives_its_manager_once(threads: Threads) -> None:
    """Another manager belongs to the same thread, and was made before the thread had one."""
    go_on = threading.Event()

    def body() -> None:
        assert go_on.wait(LIMIT)
        threads.manager()

    thread = threading.Thread(target=body)
    thread.start()
    before = set(threading.enumerate())
    with AsyncioLoopManager("other", creator_thread=thread):
        joins = [one for one in threading.enumerate() if one not in before and "join" in one.name]
        go_on.set()
        for each in (thread, *joins):
            each.join(LIMIT)
    with Worker() as one, Worker() as two:
        assert one.call(threads.manager) is not two.call(threads.manager)
