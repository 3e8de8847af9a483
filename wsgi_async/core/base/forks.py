"""Forks, those too that Python is not told of.

`os.fork()` runs the hooks that `os.register_at_fork()` was given. A server that embeds Python may
fork in C instead: uWSGI does, unless it is told to call them. So whoever hands out managers
compares the process's id first.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from wsgi_async.core.base.primitives import new_mutex

from .log import logger

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["imported", "install_fork_hook", "notice_fork", "warn_of_silent_forks"]

_UWSGI_OPTIONS = {"lazy", "lazy-apps", "py-call-uwsgi-fork-hooks"}
"""With any of these a worker does not inherit threads that Python believes to be alive."""


class _State:
    """What is known of this process. Lives as long as the process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.in_child: Callable[[], None] = _nothing
        self.warned = False
        # Guards all above. In a child it is new: another thread may have held it at the fork.
        self.lock = new_mutex()


def _nothing() -> None:  # pragma: no cover - replaced when the package is imported
    pass


_state = _State()


def install_fork_hook(in_child: Callable[[], None]) -> None:
    """Have this called once in every forked child, before it gets a manager. Called at import."""
    _state.in_child = in_child
    if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
        os.register_at_fork(after_in_child=_after_fork)


def notice_fork() -> None:
    """Do what the hook does if this is a child in which nobody has called it."""
    if os.getpid() == _state.pid:
        return
    # Several threads may come first; the others wait until the parent's managers are gone.
    with _state.lock:
        if os.getpid() != _state.pid:  # pragma: no branch - another thread was faster
            _forget_parent()


def imported(name: str) -> Any:
    """A module, None if nobody has imported it. For what each start of a manager looks at.

    A free-threaded build may fork while another thread has just been given the lock inside a dict,
    which is then never released in the child. `dict.get()` takes that lock, a subscript does not.
    """
    try:
        return sys.modules[name]
    except KeyError:
        return None


def warn_of_silent_forks(label: Callable[[], str]) -> None:
    """Say once what to set where a fork that Python is not told of is still to come.

    Called when a manager has been started. Its threads are gone in the child, and what one of them
    held in that moment is held forever, CPython's own locks too: nothing of ours runs there then
    that could say so.
    """
    if _state.warned or not _forks_silently(imported("uwsgi")):
        return
    _state.warned = True
    logger.warning(
        "%s was started in uWSGI's master, whose workers are forked without Python's fork hooks "
        "and may hang at their start. Set py-call-uwsgi-fork-hooks = true, or load the app in the "
        "workers (lazy-apps = true).",
        label(),
    )


def _forks_silently(uwsgi: Any) -> bool:
    """Whether this process forks uWSGI's workers; the module is there in uWSGI alone."""
    if not hasattr(uwsgi, "masterpid"):
        return False  # or it is somebody's stand-in
    if uwsgi.worker_id() or _UWSGI_OPTIONS.intersection(uwsgi.opt):
        return False
    master: int = uwsgi.masterpid()
    return master == os.getpid() or (not master and uwsgi.numproc > 1)


def _after_fork() -> None:
    _state.lock = new_mutex()
    _forget_parent()


def _forget_parent() -> None:
    _state.in_child()
    _state.pid = os.getpid()  # last, as it lets the other threads pass
