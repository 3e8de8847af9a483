"""The threads of a pool on which loops can live, and the work that waits for them."""

from __future__ import annotations

import itertools
import logging
import threading
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from wsgi_async.core.base.log import report

from .resident import LoopWakeup, Seat, take_seat, wakeup_here

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_async.core.base.primitives import Primitives, Wakeup

    from .resident import Resident

__all__ = ["Crew", "Work", "Worker"]

_TOO_OFTEN = 3


class Crew:
    """The threads of one pool. Lives as long as the pool, or as its threads.

    Callable from any thread.

    Args:
        size: The maximum number of threads.
        prefix: The prefix of the threads' names.
        begin: Called at the start of each thread. If it raises, the thread ends.
        primitives: Locks, wake-ups and threads.
    """

    def __init__(
        self, size: int, prefix: str, begin: Callable[[], object], primitives: Primitives
    ) -> None:
        # Never changes:
        self._size = size
        self._prefix = prefix
        self._numbers = itertools.count()
        self._primitives = primitives
        self.begin = begin
        # The thread that holds it can take it again: a destructor may submit work anywhere.
        self._lock = primitives.mutex()
        # Guarded by `Crew._lock`:
        self._queue: deque[Work] = deque()  # work that no thread has taken yet
        # Idle threads, and what each waits with. The thread that became idle last is woken first:
        # its caches are warm, and the other threads can stay asleep.
        self._idle: dict[Worker, Wakeup] = {}
        # The wake-ups of threads that stand by: they are busy, but only wait, and can take work.
        self._standing_by: dict[Wakeup, Wakeup] = {}
        self._workers: set[Worker] = set()
        self._leaving: set[Worker] = set()  # these take no work, and close their loops
        self._shut_down = False
        # No lock: written in a forked child, where there is one thread.
        self._inherited = False

    def submit(self, work: Work) -> None:
        """Have a thread do a piece of work.

        Raises:
            RuntimeError: The pool is shut down or belongs to the parent process, or its first
                thread cannot be started.
        """
        if self._inherited:
            raise RuntimeError(
                "This pool belongs to the parent process. Make a new one in this process."
            )
        with self._lock:
            if self._shut_down:
                raise RuntimeError("This pool is shut down. Make a new one.")
            self._queue.append(work)
            if self._idle:
                _wake_one(self._idle)
            elif len(self._workers) < self._size:
                self._add_worker(work)
            elif self._standing_by:
                _wake_one(self._standing_by)

    def _add_worker(self, work: Work) -> None:
        """Start a thread for a piece of work. The lock is held, so that close() sees it."""
        worker = Worker(self, f"{self._prefix}_{next(self._numbers)}", self._primitives)
        self._workers.add(worker)
        try:
            worker.thread = self._primitives.start_thread(worker.run, worker.name)
        except BaseException as error:
            self._workers.discard(worker)
            if self._workers and isinstance(error, RuntimeError):
                return  # no further thread can be started, but an existing one will do the work
            if work in self._queue:  # pragma: no branch - a destructor here may have closed us
                self._queue.remove(work)
            raise

    def close(self, *, cancel_futures: bool) -> list[Worker]:
        """Refuse new work, and have the threads end. Return those that have not ended.

        Args:
            cancel_futures: Cancel work that no thread has taken yet; else it is done first.
        """
        if self._inherited:
            return []
        with self._lock:
            self._shut_down = True
            dropped: list[Work] = []
            while cancel_futures and self._queue:
                dropped.append(self._queue.popleft())
            for wakeup in (*self._idle.values(), *self._standing_by.values()):
                wakeup.set()
            workers = [*self._workers, *self._leaving]
        for work in dropped:
            work.drop()
        return workers

    def threads(self) -> list[threading.Thread]:
        """The threads that have not ended; none once the crew is closed."""
        with self._lock:
            workers = () if self._shut_down else (*self._workers, *self._leaving)
        return [worker.thread for worker in workers if worker.thread is not None]

    def inherit(self) -> None:
        """In a forked child: the threads belong to the parent."""
        self._inherited = True

    # -- for the workers -----------------------------------------------------------------------

    def next_work(self, worker: Worker) -> Work | Wakeup | None:
        """What a thread does next: a piece of work, or wait with this wake-up, or end.

        The check for work and the entry on the idle list are one step, under the lock. So an idle
        thread is woken for work that comes after its check.
        """
        if self._inherited:
            return None
        with self._lock:
            # The thread is not idle now. It may still be listed, if no other thread has woken it.
            self._idle.pop(worker, None)
            if self._queue:
                return self._queue.popleft()
            if self._shut_down:
                return None
            wakeup = self._idle[worker] = wakeup_here(self._primitives)
            return wakeup

    def stand_by(self, wakeup: Wakeup) -> bool:
        """Have a busy thread, which begins a wait, woken for work that no other thread can take.

        Returns:
            False if there is work now, or the pool is shut down.
        """
        with self._lock:
            if self._inherited or self._queue or self._shut_down:
                return False
            self._standing_by[wakeup] = wakeup
            return True

    def end_standing_by(self, wakeup: Wakeup) -> bool:
        """The thread's wait is over. False if the thread was woken to take work."""
        with self._lock:
            return self._standing_by.pop(wakeup, None) is not None

    def leave(self, worker: Worker, *, failed: bool) -> None:
        """Record that a thread takes no more work."""
        if self._inherited:
            return
        lost: list[Work] = []
        with self._lock:
            self._workers.discard(worker)
            self._idle.pop(worker, None)
            self._leaving.add(worker)
            while failed and self._queue and not self._workers:
                lost.append(self._queue.popleft())
        for work in lost:
            work.fail(
                RuntimeError("The last thread of this pool has failed. The log has the reason.")
            )

    def forget(self, worker: Worker) -> None:
        """Remove a thread that is about to end, and whose loop is closed."""
        if not self._inherited:
            with self._lock:
                self._leaving.discard(worker)


def _wake_one(waiting: dict[Any, Wakeup]) -> None:
    last = next(reversed(waiting))
    # Wake, then remove: a signal handler that raises in between must not lose the wake-up.
    waiting[last].set()
    waiting.pop(last, None)


class Work:
    """One call of a function. Lives until it has an outcome."""

    def __init__(self, fn: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self.future: Future[Any] = Future()
        self._call = (fn, args, kwargs)

    def run(self) -> None:
        """In a thread of the pool: call the function."""
        if not self.future.set_running_or_notify_cancel():
            return
        fn, args, kwargs = self._call
        try:
            self.future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            if self.future.done():
                raise  # it comes from a callback of the future, or from another thread
            self.future.set_exception(error)
            del self  # the traceback holds this frame: avoid a cycle

    def drop(self) -> None:
        """Cancel the work, which no thread will take, and tell all waiters."""
        if self.future.cancel():
            self.future.set_running_or_notify_cancel()

    def fail(self, error: BaseException) -> None:
        """Fail the work, which no thread will take, with this error."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


class Worker:
    """One thread of the pool, and its loop. Lives as long as the thread."""

    def __init__(self, crew: Crew, name: str, primitives: Primitives) -> None:
        # Never changes:
        self._crew = crew
        self._primitives = primitives
        self.name = name
        self.thread: threading.Thread | None = None  # set before other threads see us
        # One thread, its own:
        self._seat: Seat | None = None
        self._disturbed = 0  # how many errors came from outside of functions, in a row

    def join(self, timeout: float | None) -> None:
        """Wait for the thread's end, at most `timeout` seconds."""
        if self.thread is not None and self.thread is not threading.current_thread():
            self.thread.join(timeout)

    @property
    def alive(self) -> bool:
        """Whether the thread has been started and has not ended."""
        return self.thread is not None and self.thread.is_alive()

    # -- in the thread -------------------------------------------------------------------------

    def run(self) -> None:
        """Do the pool's work until it is shut down; the thread's main function."""
        self._seat = take_seat()
        failed = True
        try:
            self._crew.begin()
            while self._go_on():
                pass
            failed = False
        except BaseException as error:
            report(logging.CRITICAL, "the thread %s of a pool has failed", self.name, error=error)
        finally:
            self._crew.leave(self, failed=failed)
            self._close_loop()
            self._crew.forget(self)

    def _go_on(self) -> bool:
        """Run one piece of work, or wait for one. Return whether to continue.

        Raises:
            BaseException: The thread is of no use any more, because its loop is broken.
        """
        try:
            going_on = self._do_next()
        except BaseException as error:
            # Other code has raised it in this thread, most likely to end a function that had just
            # ended. If it comes again and again, the loop itself is broken.
            self._disturbed += 1
            if self._disturbed > _TOO_OFTEN:
                raise
            report(
                logging.ERROR,
                "an exception was raised in the thread %s of a pool, outside of a function; the "
                "thread continues",
                self.name,
                error=error,
            )
            return True
        self._disturbed = 0
        return going_on

    def _do_next(self) -> bool:
        found = self._crew.next_work(self)
        if found is None:
            return False
        if isinstance(found, Work):
            found.run()
            del found  # it holds a function and a result that may be needed no more
            self._give_loop_a_turn()
        else:
            self._rest(found)
        # Checked after the loop has run, because that may have used up the wake-up of a stop().
        self._close_if_stopped()
        return True

    def _rest(self, wakeup: Wakeup) -> None:
        try:
            if isinstance(wakeup, LoopWakeup):
                wakeup.rest()
            else:
                wakeup.wait()
        finally:
            wakeup.end()

    @property
    def _runner(self) -> Resident | None:
        return None if self._seat is None else self._seat.runner

    def _give_loop_a_turn(self) -> None:
        """Let background tasks continue between two pieces of work, even if work never ends."""
        runner = self._runner
        if runner is not None and not runner.live.closing:
            runner.turn()

    def _close_if_stopped(self) -> None:
        runner = self._runner
        if runner is not None and runner.live.closing:
            runner.close()

    def _close_loop(self) -> None:
        runner = self._runner
        if runner is not None:
            runner.live.closing = True
            runner.close()
