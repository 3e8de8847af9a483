from __future__ import annotations

import asyncio
import json
import queue
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from example_app.checker import Checker, start_checker, stop_checker
from example_app.lease import Lease
from example_app.rounds import MANAGER_ID, TASK_TYPE
from example_app.settings import Settings
from example_app.store import Store
from tests.example.local import LIMIT, LocalServer
from wsgi_async import AsyncioLoopManager, get_or_create_loop_manager
from wsgi_async.routing import AsyncTask, Route, override_routes


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def leases(store: Store, *owners: str, ttl: float = 10.0) -> tuple[Clock, list[Lease]]:
    clock = Clock()
    made = [Lease(database=store.database, ttl=ttl, owner=owner, clock=clock) for owner in owners]
    return clock, made


@contextmanager
def checking(settings: Settings, lease: Lease) -> Iterator[queue.SimpleQueue[bool]]:
    """A checker on a manager of its own, as each worker process has one; its turns."""
    turns: queue.SimpleQueue[bool] = queue.SimpleQueue()
    manager = AsyncioLoopManager(MANAGER_ID)
    manager.start()
    manager.submit_task(Checker(settings, lease=lease, on_turn=turns.put).run())
    try:
        yield turns
    finally:
        manager.stop()


def until(turns: queue.SimpleQueue[bool], ours: bool) -> None:
    """Wait for a turn that was ours, or was not."""
    while turns.get(timeout=LIMIT) is not ours:
        pass


def history(manager: AsyncioLoopManager, store: Store) -> list[int]:
    snapshot = manager.run(store.snapshot(checks=100))
    return [len(snapshot.history[one.id]) for one in snapshot.watched]


def test_one_of_many_gets_the_lease(manager: AsyncioLoopManager, store: Store) -> None:
    """However many claim it at the same moment, one has it, and keeps it when it asks again."""
    _, claims = leases(store, *"abcdefgh")

    async def claim() -> list[bool]:
        return list(await asyncio.gather(*(one.take() for one in claims)))

    taken = manager.run(claim())
    assert taken.count(True) == 1
    assert manager.run(claim()) == taken


def test_a_lease_is_taken_over_when_its_time_has_come(
    manager: AsyncioLoopManager, store: Store
) -> None:
    """The owner who was killed loses it, not a moment early; one who renews does not."""
    clock, (first, second) = leases(store, "first", "second", ttl=10)
    assert manager.run(first.take())
    clock.now += 9
    assert manager.run(first.take())
    clock.now += 9.9
    assert not manager.run(second.take())
    clock.now += 0.1
    assert manager.run(second.take())
    assert not manager.run(first.take())


def test_a_released_lease_is_free_at_once(manager: AsyncioLoopManager, store: Store) -> None:
    """Who ends in good order leaves nobody waiting, and cannot give away what is another's."""
    _, (first, second) = leases(store, "first", "second")
    assert manager.run(first.take())
    manager.run(second.release())
    assert not manager.run(second.take())
    manager.run(first.release())
    assert manager.run(second.take())


def test_a_clock_that_was_put_back_holds_nobody_up(
    manager: AsyncioLoopManager, store: Store
) -> None:
    """A lease that ends in the far future comes from a wrong clock, and is free."""
    clock, (first, second) = leases(store, "first", "second", ttl=10)
    assert manager.run(first.take())
    clock.now -= 3600
    assert manager.run(second.take())


def test_the_checker_goes_on_checking(
    manager: AsyncioLoopManager, store: Store, settings: Settings, local: LocalServer
) -> None:
    """History grows while nobody asks for anything, over one connection."""
    manager.run(store.add(local.url("/"), limit=5))
    with checking(settings, Lease(database=store.database, ttl=60)) as turns:
        for _ in range(3):
            until(turns, ours=True)
        assert history(manager, store)[0] >= 3
    assert local.connections == 1


def test_another_checker_takes_over_when_one_ends(
    manager: AsyncioLoopManager, store: Store, settings: Settings, local: LocalServer
) -> None:
    """Two processes on one database: one checks, and when it ends the other goes on at once."""
    manager.run(store.add(local.url("/"), limit=5))
    first, second = (
        Lease(database=store.database, ttl=3600, owner=name) for name in ("first", "second")
    )
    with checking(settings, second) as second_turns:
        until(second_turns, ours=True)
        with checking(settings, first) as first_turns:
            until(first_turns, ours=False)
            assert manager.run(store.snapshot(checks=1)).checker == "second"
        # Ending without the lease takes it from nobody.
        assert manager.run(store.snapshot(checks=1)).checker == "second"
    assert manager.run(store.snapshot(checks=1)).checker is None
    with checking(settings, first) as first_turns:
        until(first_turns, ours=True)
        assert manager.run(store.snapshot(checks=1)).checker == "first"


def test_a_waiting_checker_takes_over(
    manager: AsyncioLoopManager, store: Store, settings: Settings
) -> None:
    """The one that has waited all along notices that the lease was given back."""
    first, second = (
        Lease(database=store.database, ttl=3600, owner=name) for name in ("first", "second")
    )
    manager.run(first.take())
    with checking(settings, second) as turns:
        until(turns, ours=False)
        manager.run(first.release())
        until(turns, ours=True)


def test_one_that_lost_the_lease_writes_nothing(
    manager: AsyncioLoopManager, store: Store, settings: Settings, local: LocalServer
) -> None:
    """Results that come in after somebody else has taken over are dropped."""
    manager.run(store.add(local.url("/hang"), limit=5))
    clock, (slow, other) = leases(store, "slow", "other", ttl=10)
    with checking(replace(settings, check_timeout=LIMIT), slow) as turns:
        local.wait_asked()
        clock.now += 11
        assert manager.run(other.take())
        local.release.set()
        assert turns.get(timeout=LIMIT) is False
        assert history(manager, store) == [0]


def test_results_of_a_process_that_ends_are_dropped(
    manager: AsyncioLoopManager, store: Store, settings: Settings, local: LocalServer
) -> None:
    """A server that shuts down does not write that its own endpoints are down."""
    manager.run(store.add(local.url("/hang"), limit=5))
    going_on = threading.Event()
    going_on.set()
    checker = Checker(replace(settings, check_timeout=LIMIT), keep_going=going_on.is_set)
    with AsyncioLoopManager(MANAGER_ID) as ending:
        running = ending.submit_task(checker.run())
        local.wait_asked()
        going_on.clear()
        local.release.set()
        running.result(LIMIT)
    assert history(manager, store) == [0]
    assert manager.run(store.snapshot(checks=1)).checker is None


def test_a_database_in_trouble_does_not_end_the_checker(
    manager: AsyncioLoopManager,
    store: Store,
    settings: Settings,
    local: LocalServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It logs the trouble, and continues when that is over."""
    manager.run(store.add(local.url("/"), limit=5))
    with closing(sqlite3.connect(store.database)) as db:
        db.execute("ALTER TABLE checks RENAME TO elsewhere")
        with checking(settings, Lease(database=store.database, ttl=60)) as turns:
            until(turns, ours=False)
            db.execute("ALTER TABLE elsewhere RENAME TO checks")
            until(turns, ours=True)
    assert "The database cannot be used; trying again" in caplog.text


def test_a_queue_in_trouble_does_not_end_the_checker(
    manager: AsyncioLoopManager,
    store: Store,
    settings: Settings,
    local: LocalServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While the queue cannot be used, the checker logs it; afterwards the queue's results count."""

    class Queue(Route):
        """Refuses the first round. Gives its results as a queue does, by `get()`."""

        asked = 0

        def submit(self, task: AsyncTask, args: tuple, kwargs: dict) -> object:
            self.asked += 1
            if self.asked == 1:
                raise OSError("no connection to the queue")
            return Done(asyncio.run(task(*args, **kwargs)))

    class Done:
        def __init__(self, result: object) -> None:
            self._result = result

        def get(self, timeout: float) -> object:
            return json.loads(json.dumps(self._result))

    manager.run(store.add(local.url("/"), limit=5))
    lease = Lease(database=store.database, ttl=60)
    with override_routes({TASK_TYPE: Queue()}), checking(settings, lease) as turns:
        until(turns, ours=False)
        until(turns, ours=True)
        assert history(manager, store)[0] >= 1
    assert "no connection to the queue" in caplog.text


def test_start_and_stop_for_a_process(
    manager: AsyncioLoopManager, store: Store, settings: Settings, local: LocalServer
) -> None:
    """Starting twice starts one; it has its own manager, found by its id; stopping ends it all."""
    manager.run(store.add(local.url("/"), limit=5))
    start_checker(settings)
    start_checker(settings)
    try:
        found = get_or_create_loop_manager(id=MANAGER_ID, strictly_get=True)
        local.wait_asked()
        local.wait_asked()
        owner = manager.run(store.snapshot(checks=1)).checker
        assert owner is not None
        assert found.get_event_loop().is_running()
    finally:
        stop_checker()
    stop_checker()
    with pytest.raises(RuntimeError):
        found.get_event_loop()
    assert manager.run(store.snapshot(checks=1)).checker is None
