"""What the core uses of threads and time: locks, wake-ups, the loop's entry, the clock.

All of it goes through one object, so that a test can replace it with its own scheduler and try
every order of the threads' steps.
"""

from __future__ import annotations

import contextvars
import sys
import threading
import time
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = [
    "Condition",
    "Event",
    "MainThreadWakeup",
    "Mutex",
    "Primitives",
    "ThreadWakeup",
    "Wakeup",
    "new_mutex",
    "start_thread",
]


class Mutex(Protocol):
    """A lock that the thread that holds it may take again."""

    def __enter__(self) -> bool: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...


_SKIPS_EXIT = sys.version_info[:2] == (3, 14)
"""Whether a `with` statement may skip `__exit__()`, even that of a lock.

It does if a signal handler raises just after `__enter__()`: python/cpython#148874. Then the main
thread would hold the lock forever.
"""


def _enter(owner: Any) -> bool:
    """Take the `RLock` of a mutex or a condition; give it back if a signal handler raises here."""
    before = owner._lock._recursion_count()  # noqa: SLF001 - the two classes below
    try:
        return owner._lock.acquire()  # type: ignore[no-any-return] # noqa: SLF001
    except BaseException:
        if owner._lock._recursion_count() > before:  # noqa: SLF001
            owner._lock.release()  # noqa: SLF001
        raise


class _SignalSafeMutex:
    """An `RLock` that a signal handler cannot leave locked, where a plain one can be."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.RLock()

    __enter__ = _enter
    # The lock's own method, which is written in C: no signal handler runs before it has begun.
    __exit__ = property(attrgetter("_lock.__exit__"))


def new_mutex() -> Mutex:
    """A lock that its thread can take again, and that no signal handler can leave locked."""
    return cast("Mutex", _SignalSafeMutex() if _SKIPS_EXIT else threading.RLock())


class Condition(threading.Condition):
    """A condition that no signal handler can leave locked.

    The methods of its base class are written in Python, so a handler may raise in them, after the
    lock is taken and before the `with` block begins.
    """

    _lock: Any
    __enter__ = _enter if _SKIPS_EXIT else property(attrgetter("_lock.__enter__"))  # pyright: ignore[reportAssignmentType]
    __exit__ = property(attrgetter("_lock.__exit__"))  # pyright: ignore[reportAssignmentType]


class Event(threading.Event):
    """An event that no signal handler can leave locked; see `Condition`."""

    def __init__(self) -> None:
        super().__init__()
        self._cond = Condition()


class Wakeup(Protocol):
    """What one thread blocks on until another thread wakes it."""

    def set(self) -> None:
        """Wake the waiting thread, or let its next wait return at once.

        Takes no lock and never blocks. A destructor or a signal handler may call it, whatever
        code it has interrupted, `set()` itself included.
        """

    def nudge(self) -> None:
        """As `set()`. A thread that waits in its loop first lets the loop become idle."""

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the wake-up is set, and unset it again. False after `timeout` seconds.

        It may return too early, so the caller checks again whether its wait is over.
        """
        ...

    def end(self) -> None:
        """End the wait that the wake-up was made for. Called in the thread that has waited."""


class ThreadWakeup:
    """A wake-up for a thread that blocks in the operating system. For one wait."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """As the protocol says."""
        try:
            self._lock.release()
        except RuntimeError:
            pass  # it was set already: one wake-up serves both calls

    def nudge(self) -> None:
        """As the protocol says."""
        self.set()

    def wait(self, timeout: float | None = None) -> bool:
        """As the protocol says."""
        if timeout is None:
            return self._lock.acquire()
        return self._lock.acquire(timeout=min(max(timeout, 0.0), threading.TIMEOUT_MAX))

    def end(self) -> None:
        """As the protocol says."""


_SLICE = 0.5
"""Seconds. A signal handler in the main thread is delayed by at most this."""


class MainThreadWakeup(ThreadWakeup):
    """A wake-up for the main thread, where signal handlers run.

    A signal may arrive after the interpreter's last check for signals, but before the system call
    that blocks. It does not interrupt that call. So this class blocks for half a second at a time.
    """

    __slots__ = ()

    def wait(self, timeout: float | None = None) -> bool:
        """As the protocol says."""
        clock = Primitives.clock
        until = None if timeout is None else clock() + timeout
        while True:
            left = _SLICE if until is None else until - clock()
            if self._lock.acquire(timeout=min(max(left, 0.0), _SLICE)):
                return True
            if until is not None and left <= _SLICE:
                return False


class Primitives:
    """The real locks, wake-ups, loop entry and clock. One instance serves the whole process."""

    # Bound here once, so that a tool that freezes the clock in a program's modules does not freeze
    # our waits.
    current: ClassVar[staticmethod[[], int]] = staticmethod(threading.get_ident)
    """The ident of the calling thread, unique among the threads that are alive."""
    clock: ClassVar[staticmethod[[], float]] = staticmethod(time.monotonic)
    """Monotonic time in seconds."""

    def mutex(self) -> Mutex:
        """A lock for the state of one loop.

        The thread that holds it can take it again: the garbage collector may run a destructor
        that submits work on this very thread.
        """
        return new_mutex()

    def wakeup(self) -> Wakeup:
        """A wake-up for one wait of the current thread, not set."""
        main = threading.get_ident() == threading.main_thread().ident
        return MainThreadWakeup() if main else ThreadWakeup()

    def entry(self, run_forever: Callable[[], None]) -> Callable[[], None]:
        """The function that a thread calls to enter its loop."""
        return run_forever

    def start_thread(self, target: Callable[[], None], name: str) -> threading.Thread:
        """Start a daemon thread; see `start_thread()` below."""
        return start_thread(target, name)


def start_thread(target: Callable[[], None], name: str) -> threading.Thread:
    """Start a daemon thread in an empty context.

    In some builds of Python, a thread inherits the context of the thread that starts it. It would
    then keep the variables of the request that started it, for as long as it lives.

    Raises:
        RuntimeError: The process cannot start another thread.
    """
    thread = threading.Thread(target=target, name=name, daemon=True)
    contextvars.Context().run(thread.start)
    return thread
