"""`all_instances()`, `registry()` and `repr`: what there is, and who holds it."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

from tests.core.support import (
    LIMIT,
    Endless,
    Worker,
    give,
    in_thread,
    on_worker,
    reached,
    wait_until,
)
from wsgi_async import AsyncioLoopManager, get_or_create_loop_manager


def get(id: Any = None) -> AsyncioLoopManager:
    return get_or_create_loop_manager(id, strictly_get=True)


@on_worker
def test_the_registry() -> None:
    """`registry()` has each live thread's managers by their ids."""
    mine, other = get_or_create_loop_manager("mine"), get_or_create_loop_manager("other")
    with Worker() as worker:
        theirs = worker.call(get_or_create_loop_manager, "mine", force_create=True)
        registry = AsyncioLoopManager.registry()
        assert registry[threading.get_ident()] == {"mine": mine, "other": other}
        assert registry[worker.thread.ident or 0] == {"mine": theirs}
        registry.clear()
        assert AsyncioLoopManager.registry()[threading.get_ident()]["mine"] is mine


@on_worker
def test_the_registry_follows_a_look_up() -> None:
    """A displaced manager and a stopped one are not in the registry: no look-up finds them."""
    first = get_or_create_loop_manager("mine")
    second = get_or_create_loop_manager("mine", force_create=True)
    assert first in AsyncioLoopManager.all_instances()
    assert AsyncioLoopManager.registry()[threading.get_ident()] == {"mine": second}
    second.start()
    second.stop()
    assert "mine" not in AsyncioLoopManager.registry().get(threading.get_ident(), {})


@on_worker
def test_all_instances() -> None:
    """`all_instances()` has the managers that are not stopped, however they were made."""
    made = [AsyncioLoopManager("by hand"), get_or_create_loop_manager("found")]
    made[0].start()
    assert set(made) <= set(AsyncioLoopManager.all_instances())
    made[0].stop()
    assert made[0] not in AsyncioLoopManager.all_instances()
    made[0].start()
    assert made[0] in AsyncioLoopManager.all_instances()


@on_worker
def test_instances_are_held_weakly() -> None:
    """A manager that nobody holds and nobody has started is gone."""
    manager = AsyncioLoopManager("by hand")
    seen = weakref.ref(manager)
    del manager
    gc.collect()
    assert seen() is None
    assert [one.id for one in AsyncioLoopManager.all_instances() if one.id == "by hand"] == []


def test_an_ended_threads_managers_are_let_go() -> None:
    """When a thread has ended and its manager has stopped, nothing holds the manager any more."""

    def use() -> weakref.ref[AsyncioLoopManager]:
        manager = get_or_create_loop_manager("mine")
        manager.start()
        manager.run(give(1))
        return weakref.ref(manager)

    seen = in_thread(use)

    def gone() -> bool:
        gc.collect()
        return seen() is None

    wait_until(gone, "the manager is collected")


@on_worker
def test_a_started_one_is_held() -> None:
    """A manager that was started and let go of runs on: its thread holds it."""
    AsyncioLoopManager("by hand").start()
    gc.collect()
    (manager,) = [one for one in AsyncioLoopManager.all_instances() if one.id == "by hand"]
    assert manager.run(give(1)) == 1
    assert get("by hand") is manager


@on_worker
def test_from_many_threads_at_once() -> None:
    """Look-ups, new managers and ends of threads at the same time get in nobody's way."""
    get_or_create_loop_manager("ours").start()

    def work(number: int) -> list[int]:
        results = []
        for turn in range(20):
            own = get_or_create_loop_manager(("mine", turn), force_create=True)
            own.start()
            results.append(own.run(give(number)))
            results.append(get("ours").run(give(number)))
            own.stop()
            AsyncioLoopManager.all_instances()
            AsyncioLoopManager.registry()
        return results

    workers = [Worker() for _ in range(4)]
    futures = [worker.begin(work, number) for number, worker in enumerate(workers)]
    for number, future in enumerate(futures):
        assert future.result(LIMIT) == [number] * 40
    for worker in workers:
        worker.end()


@on_worker
def test_repr() -> None:
    """`repr()` tells the id, the owner, the state, the task type and the tasks in flight."""
    manager = AsyncioLoopManager("checker")
    owner = threading.current_thread().name
    assert "'checker'" in repr(manager)
    assert owner in repr(manager)
    assert "new" in repr(manager)
    manager.start("mail")
    for word in ("'checker'", owner, "running", "'mail'", "=0"):
        assert word in repr(manager)
    tasks = [Endless(), Endless()]
    for task in tasks:
        manager.submit_task(task.wait(), task_type="mail")
        reached(task.began)
    assert "=2" in repr(manager)
    manager.stop()
    assert "stopped" in repr(manager)
    assert "'checker'" in repr(manager)


def test_repr_of_an_ended_threads_manager() -> None:
    """A manager outlives its thread, and can still be shown."""
    manager = in_thread(get_or_create_loop_manager, "late")
    gc.collect()
    assert "'late'" in repr(manager)
