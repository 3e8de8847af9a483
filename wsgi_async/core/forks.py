"""Forks, those too that Python is not told of.

`os.fork()` runs the hooks that `os.register_at_fork()` was given. A server that embeds Python may
fork in C instead: uWSGI does, unless it is told to call them. So whoever hands out managers
compares the process's id first.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["install_fork_hook", "notice_fork"]


class _State:
    """What is known of this process. Lives as long as the process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.in_child: Callable[[], None] = _nothing
        # Guards all above. In a child it is new: another thread may have held it at the fork.
        self.lock = threading.Lock()


def _nothing() -> None:
    pass


_state = _State()


def install_fork_hook(in_child: Callable[[], None]) -> None:
    """Have this called once in every forked child, before it gets a manager. Called at import."""
    _state.in_child = in_child
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_after_fork)


def notice_fork() -> None:
    """Do what the hook does if this is a child in which nobody has called it."""
    if os.getpid() == _state.pid:
        return
    # Several threads may come first; the others wait until the parent's managers are gone.
    with _state.lock:
        if os.getpid() != _state.pid:
            _forget_parent()


def _after_fork() -> None:
    _state.lock = threading.Lock()
    _forget_parent()


def _forget_parent() -> None:
    _state.in_child()
    _state.pid = os.getpid()  # last, as it lets the other threads pass
