"""What the threads do whose orders are tried. Each function makes the threads of one world."""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

from wsgi_async import SyncFuture

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from .world import World


def run_twice(world: World) -> None:
    """The owner and a second thread call run()."""
    manager = world.start()

    def owner() -> None:
        world.expect(manager.run(world.steps("first", own=True)), "first")

    def other() -> None:
        world.expect(manager.run(world.steps("second")), "second")

    world.thread("owner", owner)
    world.thread("other", other)


def run_two_that_meet(world: World) -> None:
    """Two threads call run() with coroutines that wait for each other, beside work in flight."""
    manager = world.start()
    one_came, two_came = asyncio.Event(), asyncio.Event()

    async def meet(mine: asyncio.Event, yours: asyncio.Event) -> None:
        mine.set()
        await yours.wait()

    def run(mine: asyncio.Event, yours: asyncio.Event) -> None:
        manager.run(world.coroutine(meet(mine, yours)))

    manager.submit_task(world.steps("submitted"))
    world.thread("one", lambda: run(one_came, two_came))
    world.thread("two", lambda: run(two_came, one_came))


def submit(world: World) -> None:
    """A thread submits work and waits for it. Needs a started manager."""

    def submitter() -> None:
        future = world.manager.submit_task(world.steps("submitted"))
        world.expect(world.wait(future), "submitted")

    world.thread("submitter", submitter)


def run_beside_submitter(world: World) -> None:
    """The owner calls run(), another thread submits."""
    manager = world.start()
    world.thread("owner", lambda: world.expect(manager.run(world.steps("1", own=True)), "1"))
    submit(world)


def run_twice_beside_submitter(world: World) -> None:
    """Two callers, the keeper and one submitter."""
    run_twice(world)
    submit(world)


def help_out(world: World) -> None:
    """The owner submits, and waits with a SyncFuture; the linger timer may be first."""
    manager = world.start()
    world.patient = True

    def owner() -> None:
        future = manager.submit_task(world.steps("helped"), True)
        world.expect(future.result(), "helped")

    world.thread("owner", owner)


def call_from_outside(world: World) -> None:
    """Something comes onto the loop past the manager. Needs a started manager."""
    loop = world.manager.get_event_loop()
    came: list[int] = []
    world.thread("outsider", lambda: loop.call_soon_threadsafe(came.append, 1))
    world.promise("the callback from outside", lambda: came == [1])


def help_out_beside_outsider(world: World) -> None:
    """The same, and something comes onto the loop past the manager."""
    help_out(world)
    call_from_outside(world)


def help_out_beside_submitter(world: World) -> None:
    """The same, and another thread submits."""
    help_out(world)
    submit(world)


def submit_and_run(world: World) -> None:
    """The owner calls run() while work of its own is in flight on the keeper."""
    manager = world.start()

    def owner() -> None:
        future = manager.submit_task(world.steps("submitted", turns=3))
        world.expect(manager.run(world.steps("run", own=True)), "run")
        world.expect(world.wait(future), "submitted")

    world.thread("owner", owner)


def cancel_beside_waiter(world: World) -> None:
    """A thread cancels what the owner submits and waits for."""
    manager = world.start()
    world.patient = True
    future = SyncFuture[SyncFuture[str]]()

    def owner() -> None:
        submitted = manager.submit_task(world.steps("submitted", turns=3), True)
        future.set_result(submitted)
        try:
            world.expect(submitted.result(), "submitted")
        except CancelledError:
            world.expect(submitted.cancelled(), True)

    world.thread("owner", owner)
    world.thread("other", lambda: future.result().cancel())


def leave_to_timer(world: World) -> None:
    """The owner submits for a waiter that does not come, and calls run()."""
    manager = world.start()
    world.patient = True
    done: list[str] = []

    def owner() -> None:
        future = manager.submit_task(world.steps("left alone"), True)
        future.add_done_callback(lambda future: done.append(future.result()))
        world.expect(manager.run(world.steps("second")), "second")

    world.thread("owner", owner)
    world.at_end("the job that nobody waits for", lambda: done == ["left alone"])


def run_beside_outsider(world: World) -> None:
    """The owner calls run() as something comes onto the loop past the manager."""
    manager = world.start()
    world.thread("owner", lambda: world.expect(manager.run(world.steps("1", own=True)), "1"))
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

    world.thread("owner", lambda: world.expect(manager.run(world.steps("1", own=True)), "1"))
    world.thread("outsider", outsider)
    world.promise("the coroutine from outside", lambda: came == [1])


def run_with_timeout(world: World) -> None:
    """The owner's run() may be over at any moment; then it calls run() again."""
    manager = world.start()
    world.patient = True

    def owner() -> None:
        try:
            world.expect(manager.run(world.steps("1", own=True), timeout=0.5), "1")
        except TimeoutError:
            pass
        world.expect(manager.run(world.steps("2", own=True)), "2")

    world.thread("owner", owner)
    submit(world)


def result_with_timeout(world: World) -> None:
    """The owner's result() may be over at any moment; then it waits once more."""
    manager = world.start()
    world.patient = True

    def owner() -> None:
        future = manager.submit_task(world.steps("1"), True)
        try:
            world.expect(future.result(timeout=0.5), "1")
        except TimeoutError:
            pass
        world.expect(future.result(), "1")

    world.thread("owner", owner)
    world.thread("other", lambda: world.expect(manager.run(world.steps("2")), "2"))


def run_with_timeout_behind(world: World) -> None:
    """Two callers, of which the second may give up as its turn comes, and then cleans up."""
    manager = world.start()
    world.patient = True
    open_: list[str] = []

    async def tidy() -> str:
        open_.append("2")
        try:
            return await world.steps("2")
        finally:
            try:
                await asyncio.sleep(0)
            finally:
                open_.clear()

    def impatient() -> None:
        try:
            world.expect(manager.run(world.coroutine(tidy()), timeout=0.5), "2")
        except TimeoutError:
            pass
        world.expect(list(open_), [])

    world.thread("owner", lambda: world.expect(manager.run(world.steps("1", own=True)), "1"))
    world.thread("impatient", impatient)


def run_with_timeout_between(world: World) -> None:
    """The same, and a third caller after them."""
    run_with_timeout_behind(world)
    run_third(world)


def run_third(world: World) -> None:
    """A thread calls run(). Needs a started manager."""
    world.thread("other", lambda: world.expect(world.manager.run(world.steps("3")), "3"))


def stop(world: World) -> None:
    """A thread stops the manager. Needs a started one."""
    world.thread("stopper", world.manager.stop)
    world.stopped = True


def stop_beside_work(world: World) -> None:
    """stop() comes as the owner calls run() and another thread submits."""
    manager = world.start()

    def owner() -> None:
        try:
            world.expect(manager.run(world.steps("1", own=True)), "1")
        except RuntimeError:
            pass

    def submitter() -> None:
        try:
            world.expect(world.wait(manager.submit_task(world.steps("2"))), "2")
        except RuntimeError:
            pass

    world.thread("owner", owner)
    world.thread("submitter", submitter)
    stop(world)


def stop_beside_endless_work(world: World) -> None:
    """The same with coroutines that never end by themselves."""
    manager = world.start()

    async def endless() -> None:
        await asyncio.Event().wait()

    def attempt(call: Callable[[], object]) -> None:
        try:
            call()
        except RuntimeError:
            pass
        else:
            world.expect("an endless call has a result")

    def owner() -> None:
        attempt(lambda: manager.run(world.coroutine(endless())))

    def submitter() -> None:
        attempt(lambda: world.wait(manager.submit_task(world.coroutine(endless()))))

    world.thread("owner", owner)
    world.thread("submitter", submitter)
    stop(world)


def stop_twice(world: World) -> None:
    """Two threads stop the manager as the owner calls run()."""
    manager = world.start()

    def owner() -> None:
        try:
            world.expect(manager.run(world.steps("1", own=True)), "1")
        except RuntimeError:
            pass

    world.thread("owner", owner)
    world.thread("second stopper", manager.stop)
    stop(world)


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


def stream_ahead(world: World) -> None:
    """The same, and the generator runs ahead."""
    stream(world, prefetch=2)


def stream_beside_submitter(world: World) -> None:
    """The owner iterates, another thread submits."""
    stream(world)
    submit(world)


def stream_ahead_beside_submitter(world: World) -> None:
    """The owner iterates over what runs ahead, another thread submits."""
    stream_ahead(world)
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
