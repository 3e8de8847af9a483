"""Streams that run ahead of their consumer, on the keeper."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from .checks import refuse_in_event_loop, refuse_inherited, running_loop
from .deadlines import deadline, time_left
from .jobs import HostJob
from .moves import Closing
from .streaming import END, INSTEAD, Pump

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator

    from .driver import Driver
    from .jobs import Job
    from .seam import Signal

__all__ = ["PrefetchingPump"]

_NOTHING = object()


class PrefetchingPump(Pump):
    """Hosts an async iterable that fills a buffer, while the consumer takes from it.

    Each job fills the buffer, and the consumer asks for the next one when half of it is empty: so
    the threads meet once in many items, and the manager has no work in flight while the buffer is
    full.

    Args:
        driver: Whose loop it is on.
        iterable: The iterable.
        limit: How many items it may be ahead.
    """

    def __init__(self, driver: Driver, iterable: AsyncIterable[Any], limit: int) -> None:
        super().__init__(driver, iterable)
        self.on_keeper = True
        self._limit = limit
        # Guards all below. The consumer takes items, the keeper adds them, and whoever finds that
        # the other has stopped sets it going: that has to be seen and done in one.
        self._lock = threading.Lock()
        self._items: deque[Any] = deque()
        self._filling = False  # a job is under way that fills the buffer
        self._outcome: Any = _NOTHING  # END or an exception, after the last item
        self._waiter: Signal | None = None  # the consumer's, who has found nothing
        self._wake_due = False  # it will be woken in the loop's next turn

    # -- in the consumer's thread ----------------------------------------------------------------

    def next(self) -> Any:
        """The next item, or END."""
        # Before the look into the buffer: what is refused must not begin, and at a fork another
        # thread may have held the lock.
        if running_loop() is not None:
            refuse_in_event_loop(INSTEAD)
        if self.driver.inherited:
            refuse_inherited(self.driver)
        # Only this thread takes, so the look needs no lock: what comes meanwhile comes too late.
        if deadline.get() is not None and not self._items and self._outcome is _NOTHING:
            time_left(None)
        item = self._take()
        while item is _NOTHING:
            self._wait()
            item = self._take()
        if isinstance(item, _Failed):
            try:
                raise item.error
            finally:
                del item
        return item

    def close(self) -> None:
        """As the base class. A failure that nobody has come for is forgotten."""
        super().close()
        # Else it is the end of another thread's call, which is to get it.
        if not self._cut_short:
            with self._lock:
                self._outcome = END  # an exception's traceback leads here: no cycle

    def _take(self) -> Any:
        with self._lock:
            if self._items:
                item = self._items.popleft()
            else:
                item = self._outcome
                if item is not _NOTHING:
                    self._outcome = END  # a failure is raised once
            few = len(self._items) <= self._limit // 2
            ask = few and not self._filling and self._outcome is _NOTHING
            self._filling = self._filling or ask
        if ask:
            self._ask_for_more()
        return item

    def _ask_for_more(self) -> None:
        self.begun = True
        self.serve_sync_functions()
        job = HostJob(self, on_keeper=True)
        job.future = self
        try:
            self.driver.submit(job, linger=False)
        except Closing:
            self._end_with(_Failed(self.driver.stopped_error(None)))

    def _wait(self) -> None:
        limit = time_left(None)
        seam = self.driver.seam
        until = None if limit is None else seam.clock() + limit
        signal = seam.borrow()
        end_wait = None
        try:
            self._announce(signal)
            end_wait = self.calls.begin_wait(None)
            # Looked at after we can be woken, or what came in between would be slept over.
            while not self._items and self._outcome is _NOTHING:
                # With the time over no more of them: they may come without end.
                if self.calls.queue and (until is None or seam.clock() < until):
                    self.calls.serve_next()
                elif not signal.wait(None if until is None else until - seam.clock()):
                    raise TimeoutError(
                        f"{self.name} made no item before the request's deadline. "
                        "Give the request more time, or close the iterator."
                    )
        finally:
            if end_wait is not None:
                end_wait()
            with self._lock:
                if self._waiter is signal:
                    self._waiter = None
            seam.give_back(signal)

    def _announce(self, signal: Signal) -> None:
        """Have this thread woken; one at a time, or the other would not be."""
        with self._lock:
            busy = self._waiter is not None
            if not busy:
                self._waiter = signal
        if busy:
            raise self.busy_error()

    # -- in the keeper's thread, or where a job ends ---------------------------------------------

    ahead = True

    def wake_waiter(self) -> None:
        """As the base class: the consumer may wait for an item, or will."""
        with self._lock:
            waiter = self._waiter
        if waiter is not None:
            waiter.set()

    async def pass_on(self, iterator: AsyncIterator[Any]) -> None:
        """Fill the buffer, for each job once."""
        step = following = iterator.__anext__
        while not self.leaving:
            try:
                item = await step()
            except StopAsyncIteration:
                return
            finally:
                step = following
            if self.leaving:
                return  # who closes it wants no item, and would never ask for the next one
            if self._put(item):
                self.answer()
                try:
                    await self.park()
                except asyncio.CancelledError as error:
                    step = self.throws(iterator, error)
                    if step is None:
                        raise

    def _put(self, item: Any) -> bool:
        """Add an item; whether the buffer is full, and the job done with it."""
        with self._lock:
            self._items.append(item)
            full = len(self._items) >= self._limit
            if full:
                self._filling = False
            elif self._waiter is None or self._wake_due:
                return False
            self._wake_due = True
        self.driver.loop.raw.call_soon(self._wake)
        return full

    def _wake(self) -> None:
        with self._lock:
            self._wake_due = False
            waiter = self._waiter
        if waiter is not None:
            waiter.set()

    def end_unasked(self, end: Any) -> None:
        """As the base class; it comes after the last item."""
        self._end_with(end if end is END else _Failed(end))

    def settle(self, job: Job) -> None:
        """A job has ended; perhaps it was the last."""
        if job.exception is not None:
            self._end_with(_Failed(job.exception))
        elif job.result is END:
            self._end_with(END)

    def _end_with(self, outcome: Any) -> None:
        with self._lock:
            if self._outcome is _NOTHING:
                self._outcome = outcome
            waiter = self._waiter
        if waiter is not None:
            waiter.set()


class _Failed:
    """An exception that comes after the last item."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
