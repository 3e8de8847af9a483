"""Check gunicorn's settings: their effects on loops, streams and time limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_async.core.life.lifecycle import STOP_TIMEOUT
from wsgi_async.core.managers.manager import lifecycle_of

from .findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wsgi_async.core import AsyncioLoopManager
    from wsgi_async.wsgi.options import Options

    from .findings import Server, Severity, Subject

__all__ = ["check_managers", "check_server"]

_PAGE = "docs/servers.md#gunicorn"
_STOPPING = "docs/deployment.md#stopping"
_OURS = "wsgi_async.integrations.gunicorn.LoopThreadWorker"


def check_server(subject: Subject) -> Iterator[Finding]:
    """Check the worker class, its threads, and the server's timeouts."""
    server, options = subject.server, subject.options
    if server is None:
        return
    unusable = list(_worker_class(server))
    yield from unusable
    if options is not None and not unusable:
        yield from _threads(server, options)
        yield from _graceful_timeout(server, options)
        yield from _worker_timeout(server, options)


def _worker_class(server: Server) -> Iterator[Finding]:
    name = server.worker_class
    states = {
        "green": f"The worker class {name} runs requests in greenlets, which cannot have event "
        "loops of their own.",
        "asgi": f"The worker class {name} calls ASGI apps, and cannot call this one.",
        "tornado": f"The worker class {name} calls the app inside its own event loop, where no "
        "view can wait for async code.",
    }
    if server.kind in states:
        yield Finding(
            code="worker-class",
            severity="error",
            state=states[server.kind],
            remedy=f"Choose a worker class with threads: gthread, or {_OURS}.",
            page=_PAGE,
        )


def _threads(server: Server, options: Options) -> Iterator[Finding]:
    if server.kind == "sync":
        yield _sync()
    elif server.one_thread:
        yield _one_thread(server)
    elif server.kind == "resident" and options.per == "process":
        yield _resident_without_effect()
    elif server.kind == "gthread" and options.per == "thread":
        yield _gthread()
    if server.kind in ("sync", "gthread") and server.default_hook:
        yield _streams_hold()


def _sync() -> Finding:
    return Finding(
        code="sync-worker",
        severity="note",
        state="The worker class sync works, and serves one request at a time in each process. "
        "A stream occupies the process.",
        remedy=f"If your views wait, use {_OURS} with threads.",
        page="docs/deployment.md#threads-and-streams",
    )


def _one_thread(server: Server) -> Finding:
    return Finding(
        code="one-thread",
        severity="warning",
        state=f"The worker class {server.worker_class} has one thread, so one slow request or "
        "stream holds up all others of its process.",
        remedy="Set threads, for example to 8. There is one for each request and each open stream.",
        page="docs/deployment.md#threads-and-streams",
    )


def _resident_without_effect() -> Finding:
    return Finding(
        code="resident-per-process",
        severity="note",
        state='LoopThreadWorker has no effect on loops with per="process": the loop lives on a '
        "background thread.",
        remedy='You can use gthread, or leave per="process" out.',
        page="docs/global_clients.md#use-one-loop-for-the-process",
    )


def _gthread() -> Finding:
    return Finding(
        code="gthread-worker",
        severity="note",
        state="The worker class gthread works. On LoopThreadWorker a call to async code needs no "
        "second thread, which is faster for small calls.",
        remedy=f"Try worker_class = {_OURS!r}.",
        page="docs/loops.md#resident",
    )


def _streams_hold() -> Finding:
    return Finding(
        code="streams-hold-worker",
        severity="note",
        state="A stream without an end keeps the worker from stopping until gunicorn kills it.",
        remedy="If you have such streams, import post_worker_init from "
        "wsgi_async.integrations.gunicorn in gunicorn's configuration file.",
        page=_PAGE,
    )


def _graceful_timeout(server: Server, options: Options) -> Iterator[Finding]:
    have, limit = server.graceful_timeout, options.timeout or 0.0
    severity: Severity = "warning"
    if have < STOP_TIMEOUT:
        state = f"and closing the loops may take {STOP_TIMEOUT:g} s. The rest is not cleaned up."
    elif have < limit:
        state = f"and a request may take {limit:g} s. One that does is cut off at a stop."
    elif limit and have < limit + STOP_TIMEOUT:
        severity = "note"
        state = f"too short for a request of {limit:g} s and then the cleanup of the loops."
    else:
        return
    enough = limit + options.grace * bool(limit) + STOP_TIMEOUT
    yield Finding(
        code="graceful-timeout",
        severity=severity,
        state=f"gunicorn kills a stopping worker after {have:g} s (graceful_timeout), {state}",
        remedy=f"Set graceful_timeout to {enough:g} or more.",
        page=_STOPPING,
    )


def _worker_timeout(server: Server, options: Options) -> Iterator[Finding]:
    """Only for the sync worker: a worker with threads stays responsive during a slow request."""
    limit = options.timeout
    if server.kind == "sync" and limit is not None and 0 < server.timeout <= limit:
        yield Finding(
            code="worker-timeout",
            severity="warning",
            state=f"gunicorn kills a sync worker after {server.timeout:g} s in a request, so the "
            f"app's timeout of {limit:g} s has no effect.",
            remedy=f"Set gunicorn's timeout to more than {limit + options.grace:g}, or choose a "
            "worker class with threads.",
            page="docs/deployment.md#timeouts",
        )


def check_managers(subject: Subject) -> Iterator[Finding]:
    """Find managers that run before the server forks its workers."""
    server = subject.server
    for manager in _users_own(subject.started_by_config):
        yield _before_fork(manager, "warning", "gunicorn's settings are read")
    for manager in _users_own(subject.started_by_app):
        if server is None:
            yield _before_fork(manager, "note", "the app is imported")
        elif server.preload:
            yield _before_fork(manager, "warning", "the app is imported, before the fork")


def _users_own(managers: Sequence[AsyncioLoopManager]) -> list[AsyncioLoopManager]:
    """The managers that the app has started itself. After a fork, `run()` gets a new manager."""
    return [manager for manager in managers if not lifecycle_of(manager).lasting]


def _before_fork(manager: AsyncioLoopManager, severity: Severity, when: str) -> Finding:
    condition = " if your server forks after that" if severity == "note" else ""
    return Finding(
        code="manager-before-fork",
        severity=severity,
        state=f"{lifecycle_of(manager).label} is started when {when}. Worker processes cannot use "
        f"it{condition}.",
        remedy="Start it in the worker process: in gunicorn, in the hook post_worker_init.",
        page="docs/deployment.md#processes-and-preload",
    )
