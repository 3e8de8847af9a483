"""The part of the soak without a server: managers, pools and threads that come and go.

`python -m tests.soak.inside SECONDS SEED`, in a process of its own. It prints what it has found as
JSON.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import wsgi_async
from tests.soak import watch
from wsgi_async import AsyncioLoopManager, LoopThreadPoolExecutor, loop_resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

PATIENCE = 20.0
THREADS = 4
OPERATIONS = 25

_opened = Counter[str]()
_lock = threading.Lock()  # guards it


@contextmanager
def opened(name: str) -> Iterator[None]:
    with _lock:
        _opened[name] += 1
    try:
        yield
    finally:
        with _lock:
            _opened[name] -= 1


@loop_resource
async def thing() -> AsyncIterator[object]:
    with opened("resources"):
        await asyncio.sleep(0)
        yield object()


async def echo(value: int) -> int:
    await asyncio.sleep(0)
    await thing()
    return value


async def forever() -> None:
    with opened("tasks"):
        await asyncio.Event().wait()


async def count(limit: int) -> AsyncIterator[int]:
    with opened("streams"):
        for number in range(limit):
            await asyncio.sleep(0)
            yield number


class Operations:
    """What one thread does at random. Each raises AssertionError if it was answered wrongly."""

    def __init__(self, seed: str, shared: AsyncioLoopManager) -> None:
        self.random = random.Random(seed)
        self.shared = shared
        self.done = Counter[str]()

    def work(self) -> None:
        kinds: list[Callable[[], None]] = [
            *(self.call, self.call, self.submit, self.cancel, self.time_out, self.leave),
            *(self.manager, self.stopped_under, self.thread, self.pool),
        ]
        for _ in range(OPERATIONS):
            kind = self.random.choice(kinds)
            kind()
            self.done[kind.__name__] += 1

    def value(self) -> int:
        return self.random.randrange(1_000_000)

    def call(self) -> None:
        value = self.value()
        assert wsgi_async.run(echo(value)) == value

    def submit(self) -> None:
        values = [self.value() for _ in range(5)]
        futures = [self.shared.submit_task(echo(value)) for value in values]
        assert [future.result(PATIENCE) for future in futures] == values

    def cancel(self) -> None:
        future = self.shared.submit_task(forever())
        if self.random.random() < 0.5:
            future.wait(0.001)
        future.cancel()
        assert isinstance(_outcome(future), concurrent.futures.CancelledError)

    def time_out(self) -> None:
        try:
            self.shared.run(forever(), timeout=self.random.choice([0, 0.001, 0.005]))
        except TimeoutError:
            return
        raise AssertionError("it was not timed out")

    def leave(self) -> None:
        """Close a stream early."""
        left = self.random.randrange(1, 5)
        with self.shared.iterate(count(100), prefetch=self.random.choice([0, 3])) as numbers:
            assert [next(numbers) for _ in range(left)] == list(range(left))

    def manager(self) -> None:
        value = self.value()
        with AsyncioLoopManager(id=value) as one:
            assert one.run(echo(value)) == value
            future = one.submit_task(forever())
        assert isinstance(_outcome(future), RuntimeError | concurrent.futures.CancelledError)

    def stopped_under(self) -> None:
        """Another thread stops a manager while this one waits."""
        one = AsyncioLoopManager()
        one.start()
        future = one.submit_task(forever())
        stopping = threading.Thread(target=one.stop)
        stopping.start()
        error = _outcome(future)
        stopping.join(PATIENCE)
        assert isinstance(error, RuntimeError | concurrent.futures.CancelledError), error

    def thread(self) -> None:
        """A thread that ends with work on its loop."""
        value, found = self.value(), concurrent.futures.Future[int]()

        def work() -> None:
            one = wsgi_async.get_or_create_loop_manager(value)
            one.start()
            one.submit_task(forever())
            found.set_result(one.run(echo(value)))

        one = threading.Thread(target=work)
        one.start()
        assert found.result(PATIENCE) == value
        one.join(PATIENCE)

    def pool(self) -> None:
        values = [self.value() for _ in range(6)]
        with LoopThreadPoolExecutor(3) as threads:
            assert list(threads.map(lambda value: wsgi_async.run(echo(value)), values)) == values


def _outcome(future: concurrent.futures.Future[Any]) -> BaseException | None:
    try:
        future.result(PATIENCE)
    except (RuntimeError, concurrent.futures.CancelledError, TimeoutError) as error:
        return error
    return None


def one_round(seed: str, shared: AsyncioLoopManager) -> tuple[Counter[str], list[str]]:
    """What several threads have done, and what was wrong."""
    workers = [Operations(f"{seed}-{number}", shared) for number in range(THREADS)]
    with concurrent.futures.ThreadPoolExecutor(THREADS) as threads:
        errors = [threads.submit(worker.work).exception() for worker in workers]
    wrong = [f"inside {seed}: {error!r}" for error in errors if error is not None]
    done = sum((worker.done for worker in workers), Counter[str]())
    return done, wrong


def state() -> dict[str, int]:
    gc.collect()
    with _lock:
        left = {name: number for name, number in _opened.items() if number}
    return {
        **watch.of_process(os.getpid()),
        "managers": len(AsyncioLoopManager.all_instances()),
        **left,
    }


def settled(most: dict[str, int]) -> dict[str, int]:
    """Wait until there is no more of anything; what there is more in the end."""
    deadline = time.monotonic() + PATIENCE
    while True:
        more = {name: number for name, number in state().items() if number > most.get(name, 0)}
        if not more or time.monotonic() > deadline:
            return more
        time.sleep(0.05)


def at_rest() -> dict[str, int]:
    """What there is of everything, once that does not change any more."""
    before, now = dict[str, int](), state()
    while now != before:
        time.sleep(0.2)
        before, now = now, state()
    return now


def main(seconds: float, seed: str) -> None:
    os.nice(10)  # what the servers leave of the machine
    end = time.monotonic() + seconds
    blocks = list[int]()
    done, wrong, left, rounds = Counter[str](), list[str](), list[str](), 0
    with AsyncioLoopManager(id="shared") as shared:
        one_round(f"{seed}-warm", shared)
        most = at_rest()
        while time.monotonic() < end:
            more_done, more_wrong = one_round(f"{seed}-{rounds}", shared)
            done += more_done
            wrong += more_wrong
            rounds += 1
            if more := settled(most):
                left.append(f"inside, round {rounds}: {more} beside {most}")
            blocks.append(sys.getallocatedblocks())
    print(
        json.dumps(
            {
                "done": done,
                "rounds": rounds,
                "wrong": wrong[:50],
                "left": left[:50],
                "blocks": blocks,
            }
        )
    )


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2])
