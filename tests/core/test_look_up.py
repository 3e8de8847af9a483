"""`get_or_create_loop_manager()`: which manager a thread finds, and when one is made."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.core.support import (
    Endless,
    Worker,
    give,
    in_process,
    in_thread,
    on_worker,
    reached,
    wait_until,
    with_the_ident_of,
)
from wsgi_async import AsyncioLoopManager, ManagerNotFound, get_or_create_loop_manager


def get(id: Any = None) -> AsyncioLoopManager:
    return get_or_create_loop_manager(id, strictly_get=True)


@on_worker
def test_the_first_call_makes_one() -> None:
    """Where there is none, one is made for the current thread; it is not started yet."""
    manager = get_or_create_loop_manager("mine")
    assert isinstance(manager, AsyncioLoopManager)
    assert manager.id == "mine"
    with pytest.raises(RuntimeError, match="not started"):
        manager.run(give(1))


@on_worker
def test_the_next_call_finds_it() -> None:
    """The same thread gets the same manager, started or not."""
    manager = get_or_create_loop_manager("mine")
    assert get_or_create_loop_manager("mine") is manager
    manager.start()
    assert get_or_create_loop_manager("mine") is manager
    assert get("mine") is manager
    assert manager.run(give(1)) == 1


@on_worker
def test_ids_are_apart() -> None:
    """Each id has a manager of its own; any hashable will do, None among them."""
    ids: list[Any] = [None, "mine", 7, ("a", 1)]
    managers = [get_or_create_loop_manager(one) for one in ids]
    assert len(set(managers)) == 4
    assert [get(one) for one in ids] == managers
    with pytest.raises(TypeError, match="unhashable"):
        get_or_create_loop_manager([])  # type: ignore[arg-type]


@on_worker
def test_the_ancestors_are_asked() -> None:
    """A thread finds its parent's manager, and that one's parent's; the nearest one counts."""
    mine, other = get_or_create_loop_manager("mine"), get_or_create_loop_manager("other")

    def child() -> tuple[Any, ...]:
        own = get_or_create_loop_manager("other", force_create=True)
        return own, get("mine"), get("other"), *in_thread(grandchild)

    def grandchild() -> tuple[Any, ...]:
        return get("mine"), get("other"), get_or_create_loop_manager("mine")

    own, *found = in_thread(child)
    assert own is not other
    assert found == [mine, own, mine, own, mine]
    assert get("other") is other


def test_a_loop_that_lives_on_an_ancestor_is_passed_over() -> None:
    """A thread of a pool may be busy, or wait for the very thread that asks; those above count."""
    above = get_or_create_loop_manager("above a pool")

    def view() -> None:
        mine = get_or_create_loop_manager("mine")
        assert in_thread(get, "mine") is mine  # not started, so it does not live here yet
        mine.start()
        assert get("mine") is mine
        with pytest.raises(ManagerNotFound):
            in_thread(get, "mine")
        other = get_or_create_loop_manager("other")
        other.start()  # the second one has a keeper
        assert in_thread(get, "other") is other
        assert in_thread(get, "above a pool") is above

    with Worker(resident=True) as owner:
        owner.call(view)


@on_worker
def test_siblings_and_children_are_not_asked() -> None:
    """A thread's managers are no business of the thread that started it, nor of its siblings."""
    with Worker() as one, Worker() as two:
        manager = one.call(get_or_create_loop_manager, "mine")
        for ask in (get, lambda name: two.call(get, name)):
            with pytest.raises(ManagerNotFound):
                ask("mine")
        assert two.call(get_or_create_loop_manager, "mine") is not manager
        assert one.call(get, "mine") is manager


@on_worker
def test_one_is_made_for_the_current_thread() -> None:
    """What is made belongs to the thread that asked, and is stopped when that one ends."""

    def child() -> AsyncioLoopManager:
        manager = get_or_create_loop_manager("mine")
        manager.start()
        return manager

    manager = in_thread(child)
    wait_until(lambda: manager.state == "stopped", "the manager ends with its thread")
    with pytest.raises(ManagerNotFound):
        get("mine")


@on_worker
def test_strictly_get() -> None:
    """With `strictly_get` none is made; the error is a LookupError and names the id."""
    with pytest.raises(ManagerNotFound) as caught:
        get_or_create_loop_manager("missing", strictly_get=True)
    assert isinstance(caught.value, LookupError)
    assert caught.value.id == "missing"
    assert "'missing'" in str(caught.value)
    with pytest.raises(ManagerNotFound):
        get("missing")


@on_worker
def test_force_create() -> None:
    """With `force_create` there is always a new one, which look-ups find from then on."""
    first = get_or_create_loop_manager("mine")
    second = get_or_create_loop_manager("mine", force_create=True)
    assert second is not first
    assert get("mine") is second
    assert in_thread(get, "mine") is second


@on_worker
def test_the_displaced_one_is_still_stopped() -> None:
    """A manager that another has taken the place of lives on, and ends with its thread."""

    def displace() -> tuple[AsyncioLoopManager, Endless]:
        task = Endless()
        first = get_or_create_loop_manager("mine")
        first.start()
        first.submit_task(task.wait())
        reached(task.began)
        get_or_create_loop_manager("mine", force_create=True).start()
        assert first.run(give("lives on")) == "lives on"
        return first, task

    first, task = in_thread(displace)
    reached(task.cleaned)
    wait_until(lambda: first.state == "stopped", "the displaced manager is stopped")


@on_worker
def test_force_create_leaves_the_parents_alone() -> None:
    """A thread that makes its own does not take its parent's place."""
    mine = get_or_create_loop_manager("mine")
    own = in_thread(lambda: get_or_create_loop_manager("mine", force_create=True))
    assert own is not mine
    assert get("mine") is mine


def test_both_flags() -> None:
    """To force and to forbid making one at once is a contradiction, and told so."""
    with pytest.raises(TypeError, match="force_create"):
        get_or_create_loop_manager(force_create=True, strictly_get=True)


@on_worker
def test_a_stopped_one_is_not_found() -> None:
    """After `stop()` a look-up makes a new manager, unless the old one is started again."""
    first = get_or_create_loop_manager("mine")
    first.start()
    first.stop()
    with pytest.raises(ManagerNotFound):
        get("mine")
    first.start()
    assert get("mine") is first
    first.stop()
    second = get_or_create_loop_manager("mine")
    assert second is not first
    second.start()
    assert get("mine") is second


def child_managers_of_the_main_thread() -> None:
    """A manager of the main thread is found by every thread below it."""
    mine = get_or_create_loop_manager("one for the process")
    mine.start()

    def use() -> tuple[AsyncioLoopManager, str]:
        found = get("one for the process")
        return found, found.run(give("page"))

    assert in_thread(use) == (mine, "page")
    assert in_thread(in_thread, use) == (mine, "page")


def test_one_manager_per_process() -> None:
    """A manager made in the main thread is the whole process's, where that is wanted."""
    in_process(child_managers_of_the_main_thread)


@on_worker
def test_a_reused_ident_finds_nothing() -> None:
    """Keys are threads, not idents: a new thread with an ended one's ident starts afresh."""

    def first() -> tuple[int, AsyncioLoopManager]:
        return threading.get_ident(), get_or_create_loop_manager("mine")

    def second() -> tuple[bool, AsyncioLoopManager, dict[Any, Any]]:
        with pytest.raises(ManagerNotFound):
            get("mine")
        unknown = "mine" not in AsyncioLoopManager.registry().get(threading.get_ident(), {})
        return unknown, get_or_create_loop_manager("mine"), AsyncioLoopManager.registry()

    ident, manager = in_thread(first)  # we hold it: it is neither stopped nor collected
    unknown, other, registry = with_the_ident_of(ident, second)
    assert unknown
    assert other is not manager
    assert registry[ident]["mine"] is other
