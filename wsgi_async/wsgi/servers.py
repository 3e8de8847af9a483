"""Known limits of servers: what they lack, what they run out of, and what to do about it."""

from __future__ import annotations

import errno
import re
import sys
import threading
from typing import TYPE_CHECKING, Any

from wsgi_async.core.base.log import logger

try:
    # Imported at once: a process that is out of file descriptors cannot import it any more.
    import resource
except ImportError:  # pragma: no cover - Windows only
    resource = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "refuse_greenlets",
    "refuse_uwsgi_without_threads",
    "starts_thread_per_request",
    "warn_of_subinterpreter",
    "what_ran_out",
]

_warned: list[str] = []
"""The subinterpreter that has imported this module, once the warning about it is given."""


_THREAD_PER_REQUEST = re.compile(r"(Werkzeug|WSGIServer)([/ ]|$)")
"""The names of the development servers of Flask and Werkzeug, and of wsgiref and Django.

Since Python 3.15, the name of wsgiref's server contains no version.
"""


def starts_thread_per_request(environ: Mapping[str, Any]) -> bool:
    """Whether the server is known to start a thread for each request."""
    return _THREAD_PER_REQUEST.match(str(environ.get("SERVER_SOFTWARE", ""))) is not None


def refuse_greenlets() -> None:
    """Raise if gevent or eventlet has turned threads into greenlets."""
    gevent = sys.modules.get("gevent.monkey")
    eventlet = sys.modules.get("eventlet.patcher")
    if gevent is not None and gevent.is_module_patched("threading"):
        name = "gevent"
    elif eventlet is not None and eventlet.is_monkey_patched("thread"):
        name = "eventlet"
    else:
        return
    raise RuntimeError(
        f"{name} has patched threading, so a thread is a greenlet here and cannot have an event "
        f"loop of its own. Serve the application with threads (gunicorn --worker-class gthread), "
        f"or keep {name} from patching."
    )


def refuse_uwsgi_without_threads() -> None:
    """Raise if uWSGI keeps Python's lock (GIL) between requests."""
    # Only uWSGI has this module. Do not look at its `opt`: since 2.0.27 threads are on by default.
    if getattr(sys.modules.get("uwsgi"), "has_threads", True):
        return
    raise RuntimeError(
        "uWSGI runs without Python threads, so background work would stand still between the "
        "requests. Start it with --enable-threads (enable-threads = true), or with --threads."
    )


def warn_of_subinterpreter(environ: Mapping[str, Any]) -> None:
    """Warn once that mod_wsgi will not shut down this application in an orderly way."""
    group = environ.get("mod_wsgi.application_group", "")
    if not group or _warned:
        return
    _warned.append(group)
    logger.warning(
        "mod_wsgi runs this application in the subinterpreter %r, which it takes down without "
        "waiting for its threads: loops are not closed, and no cleanup runs. Set "
        "WSGIApplicationGroup %%{GLOBAL}.",
        group,
    )


def what_ran_out(error: OSError | RuntimeError) -> str | None:
    """The resource that the process has run out of, and advice; None for any other error."""
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EMFILE:
        return (
            "the process is out of file descriptors"
            f"{_limit('RLIMIT_NOFILE')}. Raise the limit (ulimit -n), use fewer threads, or "
            "close what is left open."
        )
    if number == errno.ENFILE:
        return (
            "the machine is out of file descriptors. Raise its limit (sysctl fs.file-max), or "
            "close what is left open."
        )
    if "can't start new thread" in str(error):
        return (
            f"the process cannot start a thread beside its {threading.active_count()}"
            f"{_limit('RLIMIT_NPROC')}. Raise the limit (ulimit -u, or the container's limit of "
            "processes or memory), or use fewer threads."
        )
    return None


def _limit(name: str) -> str:
    """The soft limit as a remark in brackets; an empty string if the platform has no limits."""
    if resource is None:  # pragma: no cover - Windows only
        return ""
    soft, _ = resource.getrlimit(getattr(resource, name))
    return f" ({name} is {'unlimited' if soft == resource.RLIM_INFINITY else soft})"
