"""Forks: what a child finds, and that it can work; `test_fork_parent.py` looks at the parent."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
import warnings

import pytest

from tests.core.forking import EXITS, fork, in_child, refused, started
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
)
from wsgi_async import (
    AsyncioLoopManager,
    ManagerNotFound,
    SyncFuture,
    get_or_create_loop_manager,
    get_parent_thread,
    run_in_calling_thread,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

LOOPS = ["asyncio", "uvloop"]


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    if request.param == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed")
    name: str = request.param
    return name


def child_empty_registry(loop: str) -> None:
    """The parent has managers in its main thread and in another one."""
    main = get_or_create_loop_manager("main")
    main.start()
    worker = Worker()
    theirs = worker.call(started, "theirs", loop)

    def check() -> None:
        assert AsyncioLoopManager.registry() == {}
        assert AsyncioLoopManager.all_instances() == []
        for name in ("main", "theirs"):
            with pytest.raises(ManagerNotFound):
                get_or_create_loop_manager(name, strictly_get=True)
        assert get_parent_thread() is None

    in_child(check)
    assert {main, theirs} <= set(AsyncioLoopManager.all_instances())


def test_the_registry_is_empty(loop: str) -> None:
    """The parent's managers are gone from the child's registry, and no look-up finds them."""
    in_process(child_empty_registry, loop)


def child_makes_its_own(loop: str, how: str) -> None:
    """The child makes managers of its own, under the parent's ids."""
    manager, task = started("mine", loop), Endless()
    manager.submit_task(task.wait())
    reached(task.began)
    began = threading.Event()

    async def clean_up() -> None:
        try:
            began.set()
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)
            say(f"cleaned up in {'the parent' if os.getpid() == parent else 'the child'}")

    def view() -> str:
        # In a worker thread of the child, which has its own manager.
        own = started("worker's", loop)
        assert own.run(where()).is_alive()  # a thread of the child's, the keeper
        assert own.submit_task(give("page")).result() == "page"
        assert get_or_create_loop_manager("mine") is mine
        late = Endless()
        own.submit_task(late.wait())
        reached(late.began)
        return own.submit_task(give("page")).result()

    mine: AsyncioLoopManager

    def use() -> None:
        nonlocal mine
        mine = get_or_create_loop_manager("mine")
        assert mine is not manager
        mine.start()
        assert mine.run(give("page")) == "page"
        assert in_thread(view) == "page"
        mine.submit_task(clean_up())
        reached(began)

    parent = os.getpid()
    in_child(use, how)
    assert manager.run(give("lives on")) == "lives on"


@pytest.mark.parametrize("how", EXITS)
def test_a_new_manager(loop: str, how: str) -> None:
    """A child can make managers and use them in full; its exit stops them, and only them."""
    expected = "" if how == "os._exit" else "cleaned up in the child\n"
    assert in_process(child_makes_its_own, loop, how) == expected


def child_from_a_worker_thread(loop: str, runner: str) -> None:
    """A worker thread forks, in the middle of its work."""
    main = started("main", loop)
    parent = os.getpid()

    async def tick() -> None:
        while True:
            began.set()
            await asyncio.sleep(0.001)
            if os.getpid() != parent:
                say("the child runs the parent's loop")

    began = threading.Event()

    def view() -> None:
        own = started("own", loop)
        own.run(give(1))
        own.submit_task(tick())
        reached(began)

        def use() -> None:
            assert AsyncioLoopManager.registry() == {}
            assert get_parent_thread() is None
            assert not SyncFuture[None]().wait(0.01)
            refused(own.run, give(1))
            again = get_or_create_loop_manager("own")
            assert again is not own
            again.start()
            assert again.run(give("page")) == "page"
            assert in_thread(again.run, give("page")) == "page"
            again.stop()

        in_child(use)
        assert own.run(give("lives on")) == "lives on"

    with Worker(resident=runner == "resident") as worker:
        worker.call(view)
    assert main.run(give("lives on")) == "lives on"


def test_from_a_worker_thread(loop: str, runner: str) -> None:
    """A thread that is not the main thread may fork as well, and is the child's main thread."""
    assert in_process(child_from_a_worker_thread, loop, runner) == ""


def child_of_a_child(loop: str) -> None:
    """The child forks again; its manager is inherited in turn."""
    first = started("first", loop)

    def fork_again() -> None:
        second = started("second", loop)

        def use() -> None:
            refused(first.run, give(1))
            refused(second.run, give(1))
            third = started("third", loop)
            assert third.run(give("page")) == "page"

        in_child(use)
        assert second.run(give("lives on")) == "lives on"

    in_child(fork_again)
    assert first.run(give("lives on")) == "lives on"


def test_a_fork_of_a_fork(loop: str) -> None:
    """Grandchildren are to their parents what those are to theirs."""
    in_process(child_of_a_child, loop)


def child_under_load(loop: str) -> None:
    """Other threads make, use, look up and stop managers at the moment of each fork."""
    over = threading.Event()

    def work() -> int:
        turns = 0
        while not over.is_set():
            own = get_or_create_loop_manager("own", force_create=True)
            own.start()
            assert own.run(give(turns)) == turns
            assert shared.submit_task(give(turns)).result() == turns
            AsyncioLoopManager.registry()
            own.stop()
            turns += 1
        return turns

    def use() -> None:
        own = started("shared", loop)
        assert own.run(give("page")) == "page"
        assert in_thread(lambda: get_or_create_loop_manager("shared")) is not shared
        assert own.submit_task(give("page")).result() == "page"

    shared = started("shared", loop)
    workers = [Worker() for _ in range(2)]
    working = [worker.begin(work) for worker in workers]
    for _ in range(25):
        in_child(use)
    over.set()
    assert all(future.result(LIMIT) for future in working)
    for worker in workers:
        worker.end()


@pytest.mark.slow
@pytest.mark.timeout(80)
def test_while_other_threads_work(loop: str) -> None:
    """No lock that another thread held at the fork keeps the child from its work."""
    in_process(child_under_load, loop, limit=60)


class SlowId:
    """An id whose hash takes its time: whoever looks it up may hold a lock that long."""

    def __init__(self, fast: int) -> None:
        self.left = fast  # so many times it does not
        self.asked = threading.Event()
        self.go_on = threading.Event()

    def __hash__(self) -> int:
        self.left -= 1
        if self.left < 0:
            self.asked.set()
            reached(self.go_on)
        return 1


def child_with_a_lock_held() -> None:
    """Another thread is in the middle of a look-up when the process is forked."""

    def use() -> None:
        own = get_or_create_loop_manager("own")
        own.start()
        assert own.run(give("page")) == "page"
        own.stop()

    for fast in range(6):  # it is hashed a few times in a look-up, with and without a lock
        slow = SlowId(fast)
        with Worker() as worker:
            looking = worker.begin(get_or_create_loop_manager, slow)
            wait_until(lambda: slow.asked.is_set() or looking.done(), "it is asked")  # noqa: B023
            in_child(use)
            slow.go_on.set()
            looking.result(LIMIT)


def test_while_another_thread_looks_up() -> None:
    """A thread that was in the middle of a look-up at the fork leaves no lock behind."""
    in_process(child_with_a_lock_held)


def serve_in_process(number: int) -> None:
    manager = get_or_create_loop_manager("mine")
    manager.start()
    say(f"{manager.run(give(number))}")


def child_multiprocessing() -> None:
    """`multiprocessing` with forks, from a process that has managers."""
    manager = started("mine")
    context = multiprocessing.get_context("fork")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        processes = [context.Process(target=serve_in_process, args=(one,)) for one in range(3)]
        for process in processes:
            process.start()
    for process in processes:
        process.join(LIMIT)
        assert process.exitcode == 0
    assert manager.run(give("lives on")) == "lives on"


def test_multiprocessing() -> None:
    """Processes that `multiprocessing` forks can use managers."""
    assert sorted(in_process(child_multiprocessing).split()) == ["0", "1", "2"]


def ask_to_fork() -> None:
    """A function that a coroutine has asked for forks."""
    with AsyncioLoopManager() as manager:

        async def ask() -> int:
            return await run_in_calling_thread(fork)

        try:
            pid = manager.run(ask())
        except RuntimeError as error:
            os._exit(0 if "after a fork" in str(error) else 1)
        _, status = os.waitpid(pid, 0)
        assert status == 0


def child_of_a_function(runner: str) -> None:
    with Worker(resident=runner == "resident") as worker:
        worker.call(ask_to_fork)


def test_a_function_that_a_coroutine_asks_for_may_fork(runner: str) -> None:
    """The child's `run()` raises, as the coroutine is the parent's; the parent's goes on."""
    in_process(child_of_a_function, runner)
