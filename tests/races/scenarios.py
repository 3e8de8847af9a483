"""What the threads do whose orders are tried. Each function makes the threads of one world."""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

from .core import SharedFuture, SharedGroup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .world import World


# -- calls and submissions ---------------------------------------------------------------------


def run(world: World, name: str) -> None:
    """Have a thread call it. Needs a started manager."""
    world.thread(name, lambda: world.expect(world.manager.run(world.steps(name)), name))


def submit(world: World) -> None:
    """A thread submits work and waits for it. Needs a started manager."""

    def submitter() -> None:
        future = world.manager.submit_task(world.steps("submitted"))
        world.expect(world.wait(future), "submitted")

    world.thread("submitter", submitter)


def result(world: World, name: str = "owner") -> None:
    """A thread submits, and waits with `result()`. Needs a started manager."""

    def wait() -> None:
        future = world.manager.submit_task(world.steps(name))
        world.expect(future.result(), name)

    world.thread(name, wait)


def run_twice(world: World) -> None:
    """The owner and a second thread call run()."""
    world.start()
    run(world, "owner")
    run(world, "other")


def run_beside_submitter(world: World) -> None:
    """The owner calls run(), another thread submits."""
    world.start()
    run(world, "owner")
    submit(world)


def run_twice_beside_submitter(world: World) -> None:
    """Two callers, the keeper and one submitter."""
    run_twice(world)
    submit(world)


def result_beside_submitter(world: World) -> None:
    """The owner waits for a future, another thread submits."""
    world.start()
    result(world)
    submit(world)


def submit_and_run(world: World) -> None:
    """The owner calls run() while work of its own is in flight."""
    manager = world.start()

    def owner() -> None:
        future = manager.submit_task(world.steps("submitted", turns=3))
        world.expect(manager.run(world.steps("run")), "run")
        world.expect(future.result(), "submitted")

    world.thread("owner", owner)


def run_two_that_meet(world: World) -> None:
    """Two threads call run() with coroutines that wait for each other, beside work in flight."""
    manager = world.start()
    one_came, two_came = asyncio.Event(), asyncio.Event()

    async def meet(mine: asyncio.Event, yours: asyncio.Event) -> None:
        mine.set()
        await yours.wait()

    def call(mine: asyncio.Event, yours: asyncio.Event) -> None:
        manager.run(world.coroutine(meet(mine, yours)))

    manager.submit_task(world.steps("submitted"))
    world.thread("one", lambda: call(one_came, two_came))
    world.thread("two", lambda: call(two_came, one_came))


# -- what comes in past the manager ------------------------------------------------------------


def call_from_outside(world: World) -> None:
    """Something comes onto the loop past the manager. Needs a started manager."""
    loop = world.manager.get_event_loop()
    came: list[int] = []
    world.thread("outsider", lambda: loop.call_soon_threadsafe(came.append, 1))
    world.promise("the callback from outside", lambda: came == [1])


def run_beside_outsider(world: World) -> None:
    """The owner calls run() as something comes onto the loop past the manager."""
    world.start()
    run(world, "owner")
    call_from_outside(world)


def result_beside_outsider(world: World) -> None:
    """The owner waits for a future as something comes onto the loop past the manager."""
    world.start()
    result(world)
    call_from_outside(world)


def run_beside_coroutine_from_outside(world: World) -> None:
    """The same with run_coroutine_threadsafe, which takes the loop several turns."""
    manager = world.start()
    loop = manager.get_event_loop()
    came: list[int] = []

    async def outside() -> None:
        await asyncio.sleep(0)
        came.append(1)

    def outsider() -> None:
        asyncio.run_coroutine_threadsafe(world.coroutine(outside()), loop)

    run(world, "owner")
    world.thread("outsider", outsider)
    world.promise("the coroutine from outside", lambda: came == [1])


# -- futures -----------------------------------------------------------------------------------


def two_waiters(world: World) -> None:
    """Two threads wait for one task, one of them perhaps not long enough at first."""
    manager = world.start()
    future = manager.submit_task(world.steps("done", turns=3))

    def impatient() -> None:
        try:
            world.expect(future.result(timeout=0.5), "done")
        except TimeoutError:
            world.expect(future.result(), "done")

    world.thread("owner", impatient)
    world.thread("other", lambda: world.expect(future.result(), "done"))


def fill_by_hand(world: World) -> None:
    """Two threads wait for a future that a third one fills."""
    world.start()
    future = SharedFuture()
    world.thread("owner", lambda: world.expect(future.result(), "filled"))
    world.thread("other", lambda: world.expect(future.wait(), True))
    world.thread("filler", lambda: future.set_result("filled"))


def cancel_beside_waiter(world: World) -> None:
    """A thread cancels what the owner submits and waits for."""
    manager = world.start()
    passed_on = SharedFuture()
    done: list[str] = []

    async def work() -> str:
        await world.steps("submitted")
        done.append("submitted")
        return "submitted"

    def owner() -> None:
        submitted = manager.submit_task(world.coroutine(work()))
        passed_on.set_result(submitted)
        try:
            world.expect(submitted.result(), "submitted")
        except CancelledError:
            world.expect(submitted.cancelled(), True)
            world.expect(done, [])  # no result is lost

    world.thread("owner", owner)
    world.thread("other", lambda: passed_on.result().cancel())


def cancel_beside_waiter_and_submitter(world: World) -> None:
    """The same, and another thread submits."""
    cancel_beside_waiter(world)
    submit(world)


# -- timeouts ----------------------------------------------------------------------------------


def run_with_timeout(world: World) -> None:
    """The owner's run() may be over at any moment; then it calls run() again."""
    manager = world.start()

    def owner() -> None:
        try:
            world.expect(manager.run(world.steps("1"), timeout=0.5), "1")
        except TimeoutError:
            pass
        world.expect(manager.run(world.steps("2")), "2")

    world.thread("owner", owner)


def run_with_timeout_beside_submitter(world: World) -> None:
    """The same, and another thread submits."""
    run_with_timeout(world)
    submit(world)


def run_with_timeout_that_tidies(world: World) -> None:
    """A caller may give up at any moment, and its coroutine cleans up; beside another caller."""
    manager = world.start()

    async def work() -> str:
        return await world.tidy(world.steps("1"))

    def impatient() -> None:
        try:
            world.expect(manager.run(world.coroutine(work()), timeout=0.5), "1")
        except TimeoutError:
            pass

    world.thread("impatient", impatient)
    run(world, "owner")


def run_that_resists(world: World) -> None:
    """A caller's time and grace are over at any moment, of a coroutine that ends all the same."""
    manager = world.start()
    world.may_log = True  # that it goes on without its caller

    async def resist() -> str:
        for _ in range(3):
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                pass
        return "resisted"

    def impatient() -> None:
        try:
            world.expect(manager.run(world.coroutine(resist()), timeout=0.5), "resisted")
        except TimeoutError:
            pass
        world.expect(manager.run(world.steps("next")), "next")

    world.thread("owner", impatient)


# -- groups ------------------------------------------------------------------------------------


def end_group(world: World) -> None:
    """The owner ends a group as another thread adds to it."""
    manager = world.start()
    runner = manager._life.runner
    group = SharedGroup(runner)
    ends: list[str] = []

    async def tidy(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ends.append(name)

    def add(name: str) -> None:
        try:
            manager._submit(world.coroutine(tidy(name)), None, group)
        except RuntimeError:
            return
        added.append(name)

    def end() -> None:
        group.end()
        over.append(len(added))
        world.expect(group.done, True)

    added: list[str] = []
    over: list[int] = []
    add("first")
    world.thread("owner", end)
    world.thread("adder", lambda: add("second"))
    world.at_end("the end of the group", lambda: over != [])


def end_group_beside_submitter(world: World) -> None:
    """The same, and another thread submits what is in no group."""
    end_group(world)
    submit(world)


# -- streams -----------------------------------------------------------------------------------


def stream(world: World, prefetch: int = 0) -> None:
    """The owner iterates over an async generator."""
    manager = world.start()

    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(0)
            yield number

    def owner() -> None:
        with manager.iterate(numbers(), prefetch=prefetch) as iterator:
            world.expect(list(iterator), [0, 1, 2])

    world.thread("owner", owner)


def stream_beside_submitter(world: World) -> None:
    """The owner iterates, another thread submits."""
    stream(world)
    submit(world)


def stream_ahead_beside_submitter(world: World) -> None:
    """The owner iterates over what runs ahead, another thread submits."""
    stream(world, prefetch=2)
    submit(world)


def stream_ahead_and_leave(world: World) -> None:
    """The owner leaves a generator early that runs ahead."""
    manager = world.start()
    closed: list[int] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            for number in range(5):
                await asyncio.sleep(0)
                yield number
        finally:
            closed.append(1)

    def owner() -> None:
        with manager.iterate(numbers(), prefetch=2) as iterator:
            world.expect(next(iterator), 0)
        world.expect(list(closed), [1])

    world.thread("owner", owner)
