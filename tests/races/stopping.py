"""Threads that start and stop a manager, end, or fork, beside others that use it."""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

from .core import SharedGroup

if TYPE_CHECKING:
    from collections.abc import Callable

    from .world import World


def attempt(world: World, call: Callable[[], object], wanted: object) -> None:
    """A call that a stop may overtake."""
    try:
        world.expect(call(), wanted)
    except RuntimeError as error:
        world.expect("stopp" in str(error), True)


def stop(world: World) -> None:
    """A thread stops the manager. Needs a started one."""
    world.stopped = True

    def stopper() -> None:
        world.manager.stop()
        world.expect(world.manager.state, "stopped")

    world.thread("stopper", stopper)


def work(world: World) -> None:
    """The owner calls run() and another thread submits. Needs a started manager."""
    manager = world.manager

    def submitter() -> None:
        attempt(world, lambda: world.wait(manager.submit_task(world.steps("2"))), "2")

    world.thread("owner", lambda: attempt(world, lambda: manager.run(world.steps("1")), "1"))
    world.thread("submitter", submitter)


def stop_beside_work(world: World) -> None:
    """stop() comes as the owner calls run() and another thread submits."""
    world.start()
    work(world)
    stop(world)


def endless_work(world: World) -> None:
    """The same with coroutines that never end by themselves."""
    manager = world.manager

    async def endless() -> None:
        await asyncio.Event().wait()

    def never(call: Callable[[], object]) -> None:
        attempt(world, call, "an endless call has a result")

    def waiter() -> None:
        never(lambda: manager.submit_task(world.coroutine(endless())).result())

    world.thread("owner", lambda: never(lambda: manager.run(world.coroutine(endless()))))
    world.thread("waiter", waiter)


def stop_beside_endless_work(world: World) -> None:
    """stop() comes as two threads call what never ends by itself."""
    world.start()
    endless_work(world)
    stop(world)


def stop_twice(world: World) -> None:
    """Two threads stop the manager as the owner calls run()."""
    manager = world.start()
    world.thread("owner", lambda: attempt(world, lambda: manager.run(world.steps("1")), "1"))
    world.thread("second stopper", manager.stop)
    stop(world)


def stop_beside_tidying(world: World) -> None:
    """A stop comes as a coroutine runs: it is cancelled once, and cleans up to its end."""
    manager = world.start()
    world.stopped = True

    async def work() -> None:
        await world.tidy(asyncio.Event().wait())

    def owner() -> None:
        attempt(world, lambda: manager.run(world.coroutine(work())), "no result")

    world.thread("owner", owner)
    world.thread("stopper", manager.stop)


def stop_in_vain(world: World) -> None:
    """A stop gives up on a coroutine that blocks the loop, whose caller is woken all the same."""
    manager = world.start()
    world.patient = world.may_log = world.stopped = True
    wakeup = world.primitives.wakeup()

    async def block() -> str:
        wakeup.wait()
        return "blocked"

    def stopper() -> None:
        manager.stop(0)
        wakeup.set()

    owner = lambda: attempt(world, lambda: manager.run(world.coroutine(block())), "blocked")  # noqa: E731
    world.thread("owner", owner)
    world.thread("stopper", stopper)


def submit_after_stop(world: World) -> None:
    """A thread that has stopped the manager has its next call refused, whatever others do."""
    manager = world.start()
    world.stopped = True
    begun: list[int] = []

    async def begin() -> None:
        begun.append(1)

    def stopper() -> None:
        manager._life.request_stop()
        try:
            manager.submit_task(world.coroutine(begin()))
        except RuntimeError:
            pass
        else:
            world.expect("it was taken")

    world.thread("owner", lambda: attempt(world, lambda: manager.run(world.steps("1")), "1"))
    world.thread("stopper", stopper)
    world.at_end("nothing is begun after a stop", lambda: begun == [])


def end_group_beside_stop(world: World) -> None:
    """A group ends and gets another job as the manager is stopped."""
    manager = world.start()
    group = SharedGroup(manager._life.runner)

    def add() -> None:
        try:
            manager._submit(world.steps("added", turns=3), None, group)
        except RuntimeError:
            pass

    add()
    world.thread("owner", group.end)
    world.thread("adder", add)
    stop(world)


# -- three callers -----------------------------------------------------------------------------


def three_callers(world: World) -> None:
    """One is late, one perhaps canceled, and one cancels. Needs a started manager."""
    manager = world.manager
    future = manager.submit_task(world.steps("2"))

    def hurried() -> None:
        try:
            attempt(world, lambda: manager.run(world.steps("1"), timeout=0.5), "1")
        except TimeoutError:
            pass

    def waiter() -> None:
        try:
            attempt(world, future.result, "2")
        except CancelledError:
            world.expect(future.cancelled(), True)

    def canceler() -> None:
        future.cancel()
        attempt(world, lambda: manager.run(world.steps("3")), "3")

    world.thread("hurried", hurried)
    world.thread("waiter", waiter)
    world.thread("canceler", canceler)


def three_callers_beside_stop(world: World) -> None:
    """A fourth thread stops the manager of three that use it."""
    world.start()
    three_callers(world)
    stop(world)


def three_callers_beside_the_owners_end(world: World) -> None:
    """The thread that the manager belongs to ends, while three others use it."""
    manager = world.start()
    world.stopped = True
    three_callers(world)
    world.thread("owner", manager._life.owner_ended)


# -- start -------------------------------------------------------------------------------------


def start_twice(world: World) -> None:
    """Two threads start one manager: one of them does, and both can use it then."""
    manager = world.make_manager()
    started: list[str] = []

    def starter(name: str) -> None:
        try:
            manager._life.start(None)
            started.append(name)
        except RuntimeError as error:
            said = str(error)
            world.expect("already started" in said or "is being started" in said, True)
            manager._life.wait_started()
        world.expect(manager.run(world.steps(name)), name)

    world.thread("owner", lambda: starter("1"))
    world.thread("other", lambda: starter("2"))
    world.at_end("one start, no more,", lambda: len(started) == 1)


def restart_beside_work(world: World) -> None:
    """A thread stops the manager and starts it again, while another uses it."""
    manager = world.start()

    def restarter() -> None:
        manager.stop()
        manager._life.start(None)
        world.expect(manager.run(world.steps("new life")), "new life")

    def owner() -> None:
        try:
            world.expect(manager.run(world.steps("1")), "1")
        except RuntimeError as error:
            said = str(error)
            world.expect(any(word in said for word in ("stopp", "being started")), True)

    world.thread("owner", owner)
    world.thread("restarter", restarter)


# -- the ends of threads and processes ---------------------------------------------------------


def owner_ends_beside_work(world: World) -> None:
    """The owner thread ends after its call, while another thread submits."""
    manager = world.start()
    world.stopped = True

    def owner() -> None:
        world.expect(manager.run(world.steps("1")), "1")
        manager._life.owner_ended()

    def submitter() -> None:
        attempt(world, lambda: world.wait(manager.submit_task(world.steps("2"))), "2")

    world.thread("owner", owner)
    world.thread("submitter", submitter)


def owner_ends_beside_stop(world: World) -> None:
    """The owner thread ends while another one stops the manager, and a third one waits."""
    manager = world.start()

    async def endless() -> None:
        await asyncio.Event().wait()

    def waiter() -> None:
        attempt(world, lambda: manager.run(world.coroutine(endless())), "no result")

    world.thread("waiter", waiter)
    world.thread("ending", manager._life.owner_ended)
    stop(world)


def fork_beside_work(world: World) -> None:
    """A process forks at any moment: in the child every use is refused and none hangs."""
    manager = world.start()
    world.scheduler.may_fork = True
    group = SharedGroup(manager._life.runner)
    group_future = manager._submit(world.steps("in a group", turns=3), None, group)
    future = manager.submit_task(world.steps("before"))

    def refused(call: Callable[[], object]) -> None:
        try:
            call()
        except RuntimeError as error:
            world.expect("parent process" in str(error), True)
        else:
            world.expect("a child has used its parent's manager")

    def forker() -> None:
        world.fork()
        refused(lambda: manager.run(world.steps("1")))
        refused(lambda: manager.submit_task(world.steps("2")))
        refused(manager.get_event_loop)
        for each in (future, group_future):
            if not each._runner:
                world.expect(each.result(), "in a group", "before")
            else:
                refused(each.result)
                refused(each.exception)
                refused(each.wait)
                refused(each.cancel)
        group.end()
        manager.stop()
        world.expect(manager.state, "inherited")

    world.thread("owner", lambda: manager.run(world.steps("owner's")))
    world.thread("forker", forker)
