"""The end of a `LoopThreadPoolExecutor`: what it waits for."""

from __future__ import annotations

import asyncio
import signal
import threading

from tests.core.support import LIMIT, in_process
from wsgi_async import LoopThreadPoolExecutor, get_or_create_loop_manager


class Slow:
    """A task that takes its time to clean up. Lives as long as the test."""

    def __init__(self) -> None:
        self.cleaning = threading.Event()
        self.may_end = threading.Event()
        self.ended = threading.Event()

    def begin(self) -> None:
        """In a thread of the pool: start it in the background."""
        manager = get_or_create_loop_manager()
        manager.submit_task(self._run())
        manager.run(asyncio.sleep(0))

    async def _run(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.cleaning.set()
            await asyncio.to_thread(self.may_end.wait, LIMIT)
            self.ended.set()


def test_a_shutdown_waits_for_loops_that_close_since_another_has_begun() -> None:
    """gunicorn shuts its pool down and does not wait; whoever does later, waits for all of it."""
    slow, pool = Slow(), LoopThreadPoolExecutor(1)
    pool.submit(slow.begin).result(LIMIT)
    pool.shutdown(wait=False)
    assert slow.cleaning.wait(LIMIT)
    timer = threading.Timer(0.1, slow.may_end.set)
    timer.start()
    pool.shutdown()
    assert slow.ended.is_set()
    timer.join()


def child_shut_down_by_a_signal() -> None:
    pool = LoopThreadPoolExecutor(1)
    signal.signal(signal.SIGUSR1, lambda *_: pool.shutdown(wait=False))
    with pool._crew._lock:  # as in the middle of a submit()
        signal.raise_signal(signal.SIGUSR1)
    pool.shutdown()


def test_a_signal_handler_may_shut_the_pool_down_in_the_middle_of_a_submit() -> None:
    """gunicorn does that on SIGQUIT, whatever its main thread is doing."""
    in_process(child_shut_down_by_a_signal)
