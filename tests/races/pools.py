"""Threads that use a pool whose threads have a loop each, and threads that use those loops."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from wsgi_async.core.managers import thread_pool
from wsgi_async.core.runners import resident

from .core import SharedFuture

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from wsgi_async import AsyncioLoopManager

    from .world import World


def here(world: World) -> AsyncioLoopManager:
    """The running thread's own manager."""
    seat: Any = resident.current_seat()
    return next(one for one in world.managers if one._life.runner is seat.runner)


def put(world: World, name: str, function: Callable[[], object] | None = None) -> None:
    """A thread has the pool call a function, and waits for it."""

    def submitter() -> None:
        future = world.pool.submit(function or (lambda: name))
        world.expect(world.wait(future), name)

    world.thread(name, submitter)


def submit_twice(world: World) -> None:
    """Two threads have a pool of one thread call a function."""
    world.start_pool(1)
    put(world, "1")
    put(world, "2")


def submit_twice_without_loops(world: World) -> None:
    """The same with threads that have no loop yet."""
    world.start_pool(1, own_managers=False)
    put(world, "1")
    put(world, "2")


def submit_three_to_two(world: World) -> None:
    """Three threads have a pool of two threads call a function."""
    world.start_pool(2, own_managers=False)
    for name in "123":
        put(world, name)


def submit_after_idleness(world: World) -> None:
    """Two threads wake the threads of a pool that are idle by then."""
    world.start_pool(2, own_managers=False)
    done: list[str] = []
    for name in "12":
        world.pool.submit(done.append, name)
    world.scheduler.settle()
    world.at_end("what came first", lambda: sorted(done) == ["1", "2"])
    put(world, "3")
    put(world, "4")


def meet(world: World) -> None:
    """Two functions wait for each other, so that each needs a thread of its own."""
    world.start_pool(2, own_managers=False)
    _meet(world)


def _meet(world: World) -> None:
    wakeups = [world.primitives.wakeup() for _ in range(2)]

    def meeting(mine: int) -> str:
        wakeups[mine].set()
        wakeups[1 - mine].wait()
        return f"{mine}"

    put(world, "0", lambda: meeting(0))
    put(world, "1", lambda: meeting(1))


def meet_after_idleness(world: World) -> None:
    """The same with threads that have been idle."""
    pool = world.start_pool(2, own_managers=False)
    for _ in range(2):
        pool.submit(int)
    world.scheduler.settle()
    _meet(world)


def run_inside(world: World) -> None:
    """A function calls run() on its thread's loop; a second one comes meanwhile."""
    world.start_pool(1)

    def function() -> object:
        return here(world).run(world.steps("inside"))

    put(world, "inside", function)
    put(world, "2")


def work_beside_a_wait(world: World) -> None:
    """A function waits for something of its own, and for the pool's next work beside that."""
    world.start_pool(1)
    crew = thread_pool.crew_of(world.pool)

    def function() -> str:
        wakeup = resident.wakeup_here(world.primitives)
        try:
            if crew.stand_by(wakeup):
                wakeup.wait()
                world.expect(crew.end_standing_by(wakeup), False)
        finally:
            wakeup.end()
        return "first"

    def submitter() -> None:
        first, second = world.pool.submit(function), world.pool.submit(str, "second")
        world.expect([world.wait(future) for future in (first, second)], ["first", "second"])

    world.thread("submitter", submitter)


def shut_down_beside_a_wait(world: World) -> None:
    """The same, where no work comes, but the end of the pool."""
    world.start_pool(1)
    crew = thread_pool.crew_of(world.pool)

    def function() -> str:
        wakeup = resident.wakeup_here(world.primitives)
        if crew.stand_by(wakeup):
            wakeup.wait()
            crew.end_standing_by(wakeup)
        wakeup.end()
        return "done"

    def submitter() -> None:
        future = world.pool.submit(function)
        world.pool.shutdown()
        world.expect(future.done() and future.result(), "done")
        world.stopped = True

    world.thread("submitter", submitter)


def submit_to_resident(world: World) -> None:
    """Another thread submits to the loop of a pool's thread, which is idle or at work."""
    world.start_pool(1)
    made: list[AsyncioLoopManager] = []
    world.pool.submit(lambda: made.append(here(world)))
    world.scheduler.settle()
    manager = made[0]

    def submitter() -> None:
        world.expect(manager.submit_task(world.steps("from outside")).result(), "from outside")

    world.thread("submitter", submitter)
    put(world, "inside", lambda: manager.run(world.steps("inside")))


def run_on_resident(world: World) -> None:
    """The same with run()."""
    world.start_pool(1)
    made: list[AsyncioLoopManager] = []
    world.pool.submit(lambda: made.append(here(world)))
    world.scheduler.settle()
    manager = made[0]
    run = lambda: manager.run(world.steps("from outside"))  # noqa: E731
    world.thread("caller", lambda: world.expect(run(), "from outside"))
    put(world, "inside", lambda: manager.run(world.steps("inside")))


def two_residents(world: World) -> None:
    """Two threads of a pool call run() on each other's loop."""
    world.start_pool(2)
    made: list[AsyncioLoopManager] = []
    wakeups = [world.primitives.wakeup() for _ in range(2)]

    def greet(mine: int) -> str:
        made.append(here(world))
        wakeups[mine].set()
        wakeups[1 - mine].wait()
        other = next(one for one in made if one is not here(world))
        return other.run(world.steps(f"{mine}"))

    put(world, "0", lambda: greet(0))
    put(world, "1", lambda: greet(1))


def wait_for_stranger(world: World) -> None:
    """A pool's thread waits for a future that another thread fills; its own loop goes on."""
    world.start_pool(1)
    future = SharedFuture()
    turned: list[str] = []

    def function() -> object:
        here(world).submit_task(world.steps("background", 3)).add_done_callback(
            lambda done: turned.append(done.result())
        )
        return future.result()

    put(world, "filled", function)
    world.thread("filler", lambda: future.set_result("filled"))
    world.at_end("the background task", lambda: turned == ["background"])


# -- ends --------------------------------------------------------------------------------------


def shut_down(world: World, *, cancel_futures: bool = False, own_managers: bool = False) -> None:
    """A pool is shut down as two threads submit to it: what it has taken, it does."""
    world.stopped = own_managers
    world.start_pool(2, own_managers=own_managers)
    taken: list[Future[str]] = []

    def submitter(name: str) -> None:
        try:
            taken.append(world.pool.submit(lambda: name))
        except RuntimeError as error:
            world.expect("shut down" in str(error), True)

    def stopper() -> None:
        world.pool.shutdown(cancel_futures=cancel_futures)
        for future in taken:
            if not (cancel_futures and future.cancelled()):
                world.expect(future.done() and not future.cancelled(), True)

    for name in "12":
        world.thread(name, lambda name=name: submitter(name))  # type: ignore[misc]
    world.thread("stopper", stopper)
    world.at_end("an outcome of each", lambda: all(one.done() for one in taken))


def shut_down_and_cancel(world: World) -> None:
    """The same, and what no thread has taken is cancelled."""
    shut_down(world, cancel_futures=True)


def shut_down_with_loops(world: World) -> None:
    """The same with threads that have loops."""
    shut_down(world, own_managers=True)


def no_threads(world: World) -> None:
    """Neither of two threads can be started: both submitters learn of it."""
    world.start_pool(2, own_managers=False)
    world.primitives.threads_to_fail = 2
    _submit_beside_failures(world, "12")


def one_thread_of_two(world: World) -> None:
    """One of two threads cannot be started: the other does all, or its submitter learns of it."""
    world.start_pool(2, own_managers=False)
    world.primitives.threads_to_fail = 1
    _submit_beside_failures(world, "12")


def fail_to_initialize(world: World) -> None:
    """The initializer fails in every thread: whoever submits learns of it."""
    world.may_log = True

    def fail() -> None:
        raise ValueError("of the initializer")

    world.start_pool(2, own_managers=False, initializer=fail)
    _submit_beside_failures(world, "12")


def _submit_beside_failures(world: World, names: str) -> None:
    def submitter(name: str) -> None:
        try:
            world.expect(world.wait(world.pool.submit(lambda: name)), name)
        except RuntimeError:
            pass

    for name in names:
        world.thread(name, lambda name=name: submitter(name))  # type: ignore[misc]


def stop_idle(world: World) -> None:
    """Another thread stops the manager of a pool's thread, which may be idle, or get work."""
    _stop(world, lambda: "2")


def stop_idle_beside_background(world: World) -> None:
    """The same with a task in the background, which is cancelled once and cleans up to its end."""

    async def endless() -> None:
        await world.tidy(asyncio.Event().wait())

    _stop(world, lambda: "2", lambda: here(world).submit_task(world.coroutine(endless())))
    world.at_end("the cleanup", lambda: world.tidied)


def stop_at_work(world: World) -> None:
    """The same as the thread calls run(): it gets its result, or an error that tells why."""

    def function() -> object:
        try:
            return world.manager.run(world.steps("2"))
        except RuntimeError as error:
            world.expect("stopp" in str(error), True)
            return "2"

    _stop(world, function)


def stop_at_endless_work(world: World) -> None:
    """The same as the thread waits for what never ends by itself."""

    async def endless() -> None:
        await world.tidy(asyncio.Event().wait())

    def function() -> object:
        try:
            world.manager.submit_task(world.coroutine(endless())).result()
        except RuntimeError as error:
            world.expect("stopp" in str(error), True)
        return "2"

    _stop(world, function)


def stop_beside_submitter(world: World) -> None:
    """The same as the thread waits for what another one submits."""
    passed_on = SharedFuture()

    async def endless() -> None:
        await asyncio.Event().wait()

    def function() -> object:
        future = passed_on.result()
        try:
            if future is not None:
                future.result()
        except RuntimeError as error:
            world.expect("stopp" in str(error), True)
        return "2"

    def submitter() -> None:
        future = None
        try:
            future = world.manager.submit_task(world.coroutine(endless()))
        except RuntimeError as error:
            world.expect("stopp" in str(error), True)
        passed_on.set_result(future)

    _stop(world, function)
    world.thread("submitter", submitter)


def _stop(world: World, function: Callable[[], object], before: Callable[[], object] = int) -> None:
    world.start_pool(1)
    world.stopped = True
    world.pool.submit(before)
    world.scheduler.settle()

    def stopper() -> None:
        world.manager.stop()
        world.expect(world.manager.state, "stopped")

    put(world, "2", function)
    world.thread("stopper", stopper)


def stop_by_itself(world: World) -> None:
    """A function stops its thread's own manager, as another thread uses it."""
    world.start_pool(1)
    world.stopped = True
    world.pool.submit(int)
    world.scheduler.settle()
    manager = world.manager

    def function() -> object:
        manager.stop()
        world.expect(manager.state, "stopped")
        return "2"

    def submitter() -> None:
        try:
            future = manager.submit_task(world.steps("from outside"))
            world.expect(future.result(), "from outside")
        except RuntimeError as error:
            world.expect("stopp" in str(error), True)

    put(world, "2", function)
    world.thread("submitter", submitter)


def fork_from_pool(world: World) -> None:
    """A function forks at any moment of the other threads'; its child enters no loop."""
    world.start_pool(1)
    world.scheduler.may_fork = True
    world.pool.submit(int)
    world.scheduler.settle()
    manager = world.manager

    def function() -> object:
        world.fork()
        world.expect(resident.current_seat(), None)
        for call in (
            lambda: manager.run(world.steps("1")),
            lambda: world.pool.submit(int),
        ):
            try:
                call()
            except RuntimeError as error:
                world.expect("parent process" in str(error), True)
            else:
                world.expect("a child has used its parent's threads")
        world.pool.shutdown()
        return "child"

    world.thread("forker", lambda: world.pool.submit(function))
    world.thread("other", lambda: manager.submit_task(world.steps("from outside")).result())
