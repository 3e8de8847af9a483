"""Threads and who started them: `get_parent_thread()`, and lineages that stay whole and short."""

from __future__ import annotations

import _thread
import functools
import gc
import sys
import sysconfig
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import (
    LIMIT,
    Worker,
    ended,
    give,
    in_process,
    in_thread,
    on_worker,
    outcome,
    reached,
    run_code,
    say,
    wait_until,
)
from wsgi_async import (
    AsyncioLoopManager,
    ManagerNotFound,
    get_or_create_loop_manager,
    get_parent_thread,
    run,
)

if TYPE_CHECKING:
    from concurrent.futures import Future


# CPython 3.13t keeps a table of each loop with a replaced method whose thread has ended.
KEPT = 1.5 if sysconfig.get_config_var("Py_GIL_DISABLED") else 0.5


def get(id: Any = None) -> AsyncioLoopManager:
    return get_or_create_loop_manager(id, strictly_get=True)


@on_worker
def test_the_parent_is_who_called_start() -> None:
    """A thread's parent is the one that called `start()`, not the one that made it."""
    made = threading.Thread(target=int)

    def start() -> threading.Thread:
        made.start()
        made.join()
        return threading.current_thread()

    starter = in_thread(start)
    assert get_parent_thread(made) is starter
    assert in_thread(get_parent_thread) is threading.current_thread()


@on_worker
def test_asked_before_the_start() -> None:
    """A thread that was asked for its parent before its start has one, and finds its managers."""
    mine = get_or_create_loop_manager("mine")
    found: list[AsyncioLoopManager] = []
    thread = threading.Thread(target=lambda: found.append(get("mine")))
    assert get_parent_thread(thread) is None
    thread.start()
    assert ended(thread)
    assert found == [mine]
    assert get_parent_thread(thread) is threading.current_thread()


def test_the_main_thread_is_a_root() -> None:
    """The main thread has no parent."""
    assert get_parent_thread(threading.main_thread()) is None


def test_what_is_no_thread() -> None:
    """Only threads have parents."""
    with pytest.raises(TypeError, match="thread"):
        get_parent_thread("me")  # type: ignore[arg-type]


@on_worker
def test_the_kinds_of_thread() -> None:
    """Timers, threads of executors and subclasses with a `start()` of their own have parents."""
    me = threading.current_thread()
    parents: list[threading.Thread | None] = []

    class Own(threading.Thread):
        def start(self) -> None:
            super().start()

        def run(self) -> None:
            parents.append(get_parent_thread())

    own, timer = Own(), threading.Timer(0, lambda: parents.append(get_parent_thread()))
    for thread in (own, timer):
        thread.start()
        assert ended(thread)
    with ThreadPoolExecutor(1) as pool:
        parents.append(pool.submit(get_parent_thread).result(LIMIT))
    assert parents == [me, me, me]


@on_worker
def test_a_thread_without_threading_is_a_root() -> None:
    """A thread that `threading` did not start has no parent, and finds nobody's managers."""
    get_or_create_loop_manager("mine")
    done = threading.Event()
    found: list[Any] = []

    def look() -> None:
        try:
            found.append(get_parent_thread())
            try:
                get("mine")
            except ManagerNotFound as error:
                found.append(error.id)
            own = get_or_create_loop_manager("mine")
            own.start()
            found.append(own.run(give("page")))
            found.append(get_or_create_loop_manager("mine") is own)
            dummies = [t for t in threading.enumerate() if isinstance(t, threading._DummyThread)]
            found.append(dummies)
            manager.append(own)
        finally:
            done.set()

    manager: list[AsyncioLoopManager] = []
    _thread.start_new_thread(look, ())
    reached(done)
    assert found == [None, "mine", "page", True, []]
    wait_until(lambda: manager[0].state == "stopped", "it ends with its thread all the same")


def child_reuses_idents() -> None:
    """Start threads, one after the other, so that some have the ident of one before."""
    idents: list[int] = []

    def work() -> None:
        threading.current_thread()  # as each log call does
        idents.append(threading.get_ident())
        say(str(run(give("ran"))))

    for count in range(1, 21):
        _thread.start_new_thread(work, ())
        wait_until(lambda: len(idents) == count, "it runs")  # noqa: B023 - called at once
        wait_until(lambda: idents[-1] not in sys._current_frames(), "it ends")


def test_foreign_threads_with_the_ident_of_an_ended_one() -> None:
    """Each thread that `threading` has not started runs its coroutines, whoever ended before it."""
    assert set(in_process(child_reuses_idents).split()) == {"ran"}


BEFORE_THE_IMPORT = """
import threading
calls, results = [], []
go, done = threading.Event(), threading.Event()
original = threading.Thread.start
def outer_start(self):
    calls.append(self.name)
    original(self)
threading.Thread.start = outer_start

def early():
    go.wait(20)
    from wsgi_async import get_parent_thread
    child = threading.Thread(target=int, name="child")
    child.start(); child.join()
    results.append((get_parent_thread(), get_parent_thread(child) is threading.current_thread()))

thread = threading.Thread(target=early, name="early")
thread.start()
import wsgi_async
wrapped = threading.Thread.start
import importlib
for module in ("wsgi_async.core", "wsgi_async"):
    importlib.reload(__import__("sys").modules[module])
assert threading.Thread.start is wrapped, "wrapped twice"
assert wrapped is not outer_start
go.set()
thread.join()
assert results == [(None, True)], results
assert calls == ["early", "child"], calls
later = threading.Thread(target=int, name="later")
later.start(); later.join()
assert wsgi_async.get_parent_thread(later) is threading.main_thread()
assert wsgi_async.get_parent_thread(thread) is None
assert calls[-1] == "later"
"""


def test_around_the_import() -> None:
    """Who wrapped `Thread.start` before goes on being called; older threads are roots; one wrap."""
    run_code(BEFORE_THE_IMPORT)


def child_wrapped_after() -> None:
    """Another library wraps `Thread.start` after the import, and takes its wrap off again."""
    ours = threading.Thread.start
    calls: list[str] = []

    @functools.wraps(ours)
    def theirs(self: threading.Thread) -> None:
        calls.append(self.name)
        ours(self)

    threading.Thread.start = theirs  # type: ignore[method-assign]
    manager = get_or_create_loop_manager("mine")
    manager.start()
    assert in_thread(get, "mine") is manager
    assert calls
    threading.Thread.start = ours  # type: ignore[method-assign]
    assert in_thread(get, "mine") is manager
    manager.stop()


def test_wrapped_by_others_later() -> None:
    """Who wraps `Thread.start` after us is called too, and lineages stay right."""
    in_process(child_wrapped_after)


@on_worker
def test_a_start_that_fails() -> None:
    """A second `start()` of a thread is the error it always was, and changes no parent."""
    me = threading.current_thread()
    thread = threading.Thread(target=int)
    thread.start()
    assert ended(thread)
    with pytest.raises(RuntimeError, match="once"):
        in_thread(thread.start)
    assert get_parent_thread(thread) is me


@on_worker
def test_a_thread_in_the_middle_that_ended() -> None:
    """A lineage stays whole when a thread in the middle of it has ended."""
    manager = get_or_create_loop_manager("mine")
    go = threading.Event()
    parents: list[threading.Thread | None] = []

    def look() -> AsyncioLoopManager:
        reached(go)
        gc.collect()
        parents.append(get_parent_thread())
        return get("mine")

    def middle() -> tuple[threading.Thread, Future[AsyncioLoopManager], Any]:
        worker = Worker()
        return threading.current_thread(), worker.begin(look), worker

    parent, found, worker = in_thread(middle)
    assert ended(parent)
    go.set()
    assert outcome(found) is manager
    assert parents == [parent]
    worker.end()


@on_worker
def test_managers_of_a_thread_that_ended() -> None:
    """What a thread in the middle had is gone with it; the look-up goes on above."""
    manager = get_or_create_loop_manager("mine")
    go = threading.Event()

    def look() -> AsyncioLoopManager:
        reached(go)
        return get("mine")

    def middle() -> tuple[Any, Any, AsyncioLoopManager]:
        own = get_or_create_loop_manager("mine", force_create=True)
        own.start()
        worker = Worker()
        assert worker.call(get, "mine") is own
        return worker.begin(look), worker, own

    found, worker, own = in_thread(middle)
    wait_until(lambda: own.state == "stopped", "the middle thread's manager is stopped")
    go.set()
    assert outcome(found) is manager
    worker.end()


def child_endless_chain(kind: str, warm: int, more: int) -> None:
    """A thread starts the next one and ends, for ever; print the blocks that each of them keeps."""
    done = threading.Event()
    sizes: list[int] = []
    root = get_or_create_loop_manager("root")

    def measure() -> None:
        # The managers of ended threads stop in threads of their own.
        wait_until(lambda: len(threading.enumerate()) <= 2, "only the chain is left")
        gc.collect()
        sizes.append(sys.getallocatedblocks())

    def link(number: int) -> None:
        previous = get_parent_thread()
        if previous is not None and previous is not threading.main_thread():
            previous.join()
        if kind == "with managers":
            manager = get_or_create_loop_manager("mine", force_create=True)
            manager.start()
            manager.run(give(number))
        elif kind == "with look-ups":
            assert get("root") is root
        if number in (warm, warm + more):
            if kind == "with managers":
                manager.stop()
            measure()
        if number < warm + more:
            threading.Thread(target=link, args=(number + 1,)).start()
        else:
            done.set()

    thread = threading.Thread(target=link, args=(0,))
    thread.start()
    del thread
    reached(done)
    print((sizes[1] - sizes[0]) / more)


@pytest.mark.parametrize(
    ("kind", "warm", "more"),
    [("plain", 300, 1500), ("with look-ups", 300, 1500), ("with managers", 100, 200)],
)
def test_an_endless_chain_of_threads(kind: str, warm: int, more: int) -> None:
    """A thread that starts its successor and ends, for ever, does not fill the memory."""
    # A node alone takes several blocks. Bytes would not do: a table of the interpreter's own that
    # grows meanwhile, as that of its interned strings, is one block of up to a megabyte.
    limit = KEPT if kind == "with managers" else 0.5
    assert float(in_process(child_endless_chain, kind, warm, more)) < limit


def child_many_children(more: int) -> None:
    """One thread starts many that end; print the blocks of memory that each of them keeps."""

    def burst(count: int) -> int:
        for _ in range(count):
            in_thread(get_or_create_loop_manager, "mine")
        gc.collect()
        return sys.getallocatedblocks()

    before = burst(more)  # as many, since tables of the interpreter's own grow with them
    print((burst(more) - before) / more)


def test_many_children_of_one_thread() -> None:
    """A thread that starts one after the other keeps nothing of those that have ended."""
    assert float(in_process(child_many_children, 500)) < 0.5
