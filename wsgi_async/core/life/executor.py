"""A loop's default executor, which a stop can leave behind."""

from __future__ import annotations

import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

__all__ = ["LoopExecutor"]

P = ParamSpec("P")
T = TypeVar("T")


class LoopExecutor(ThreadPoolExecutor):
    """Runs the functions of `asyncio.to_thread()` and `run_in_executor(None, ...)`.

    It is our own, because up to Python 3.11 `loop.shutdown_default_executor()` has no timeout: it
    joins the threads. Lives as long as the loop.
    """

    def __init__(self) -> None:
        self._here = threading.local()
        super().__init__(thread_name_prefix="asyncio", initializer=self._mark)
        self.used = False
        self.waits_for_stop = False  # one of its threads is in stop(), so it cannot be joined
        # No lock: single operations on a set. The idents of the threads that have called stop().
        self.stopping: set[int] = set()

    def _mark(self) -> None:
        self._here.inside = True

    @property
    def is_current(self) -> bool:
        """Whether the current thread is one of this executor's."""
        return getattr(self._here, "inside", False)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As the base class. Its threads start in an empty context."""
        self.used = True
        return contextvars.Context().run(super().submit, fn, *args, **kwargs)
