"""Where the driver touches threads and time: locks, wake-ups, the loop's entry, the clock.

All of it goes through one object, so that a test can put a scheduler of its own in its place and
try every order of the threads' steps.
"""

from __future__ import annotations

import select
import threading
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["MainThreadSignal", "Mutex", "Seam", "Signal"]


class Mutex(Protocol):
    """A lock that its thread may take again."""

    def __enter__(self) -> bool: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...


class Signal:
    """A wake-up call for one thread; set or not set, and lives as long as its user wants.

    `set()` takes no lock and never blocks, so it may be called from a destructor or a signal
    handler that interrupted anything, also from one that interrupted `set()` itself.
    A spurious return of `wait()` is possible; who waits looks again at what it waits for.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Wake the waiter, or let its next wait return at once. From any thread."""
        try:
            self._lock.release()
        except RuntimeError:
            pass  # it was set already: one wake-up serves both

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until set, and unset it again; False after `timeout` seconds."""
        if timeout is None:
            return self._lock.acquire()
        return self._lock.acquire(timeout=min(max(timeout, 0.0), threading.TIMEOUT_MAX))


_SLICE = 0.5  # seconds


class MainThreadSignal(Signal):
    """A wake-up call for the main thread, where signal handlers run.

    A signal that arrives between the interpreter's last look for one and the system call that
    blocks does not interrupt that call. So this one blocks for half a second at a time: the
    handler runs late then, but it runs.
    """

    __slots__ = ()

    def wait(self, timeout: float | None = None) -> bool:
        """As the base class."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = _SLICE if deadline is None else deadline - time.monotonic()
            if super().wait(min(left, _SLICE)):
                return True
            if deadline is not None and left <= _SLICE:
                return False


class Seam:
    """The real locks, wake-ups, loop entry and clock. One instance serves the whole process."""

    # Not wrapped in methods of our own: each call comes by several times.
    current: Callable[[], int] = staticmethod(threading.get_ident)
    """A name for the calling thread, unique among the threads that are alive."""
    clock: Callable[[], float] = staticmethod(time.monotonic)
    """Monotonic time in seconds."""

    def __init__(self) -> None:
        self._local = threading.local()

    def mutex(self) -> Mutex:
        """A lock for a driver's state.

        It can be taken again by the thread that has it: the garbage collector may run a
        destructor that submits work while this very thread holds the lock.
        """
        return threading.RLock()

    def signal(self) -> Signal:
        """A new wake-up call, not set."""
        return Signal()

    def borrow(self) -> Signal:
        """A wake-up call for a wait of the current thread; give it back after it.

        A thread keeps one between its waits. A signal handler that waits inside a wait finds
        none left and gets one of its own: it must not use up the outer wait's wake-up.
        """
        try:
            return self._local.signals.pop()  # type: ignore[no-any-return]
        except (AttributeError, IndexError):
            main = threading.get_ident() == threading.main_thread().ident
            return MainThreadSignal() if main else self.signal()

    def give_back(self, signal: Signal) -> None:
        """Keep a borrowed wake-up call for the current thread's next wait."""
        try:
            self._local.signals.append(signal)
        except AttributeError:
            self._local.signals = [signal]

    def entry(self, run_forever: Callable[[], None]) -> Callable[[], None]:
        """What a driver calls to enter the loop."""
        return run_forever

    def watch(self, fileno: int, timeout: float | None) -> None:
        """Block until a descriptor is readable, at most `timeout` seconds."""
        poll = select.poll()
        poll.register(fileno, select.POLLIN)
        poll.poll(None if timeout is None else max(0, -int(-timeout * 1000 // 1)))

    def start_thread(self, target: Callable[[], None], name: str) -> threading.Thread:
        """Start a daemon thread.

        Raises:
            RuntimeError: The process cannot start another thread.
        """
        thread = threading.Thread(target=target, name=name, daemon=True)
        thread.start()
        return thread
