"""Forks for the tests, in processes of their own (see `in_process`)."""

from __future__ import annotations

import gc
import os
import sys
import traceback
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from wsgi_async import AsyncioLoopManager

if TYPE_CHECKING:
    from collections.abc import Callable

EXITS = ["os._exit", "exit", "exception"]
"""How a child may end: at once, with a full interpreter shutdown, or that and an exception."""


def fork() -> int:
    """`os.fork()`, without the word that 3.12 and later have about other threads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def in_child(fn: Callable[[], object], how: str = "os._exit") -> None:
    """Run a function in a forked child, which must not fail or hang; return when it has ended.

    With another `how` than "os._exit" the child leaves through the frames of whoever called this.
    """
    sys.stdout.flush()
    pid = fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        expected = {"exception": 3}.get(how, 0)
        assert os.waitstatus_to_exitcode(status) == expected, f"the child ended with {status}"
        return
    try:
        fn()
        gc.collect()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    if how == "os._exit":
        os._exit(0)
    if how == "exception":
        sys.excepthook = lambda *_: None
        sys.exit(3)
    sys.exit(0)


def refused(fn: Callable[..., Any], *args: Any) -> None:
    """Check that a call is refused, because the manager is the parent process's."""
    with pytest.raises(RuntimeError, match=r"parent process.*fork"):
        fn(*args)


def started(id: Any = None, loop: str = "asyncio", **options: Any) -> AsyncioLoopManager:
    """A started manager on either loop."""
    if loop == "uvloop":
        import uvloop

        options["loop_factory"] = uvloop.new_event_loop
    manager = AsyncioLoopManager(id, **options)
    manager.start()
    return manager
