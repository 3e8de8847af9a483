"""gunicorn's settings, and what they do to loops, streams and time limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_async.core.life.lifecycle import STOP_TIMEOUT

from .findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_async.core import AsyncioLoopManager
    from wsgi_async.wsgi.options import Options

    from .findings import Server, Subject

__all__ = ["check_managers", "check_server"]

_PAGE = "docs/servers.md#gunicorn"
_STOPPING = "docs/deployment.md#stopping"
_OURS = "wsgi_async.integrations.gunicorn.LoopThreadWorker"


def check_server(subject: Subject) -> Iterator[Finding]:
    """The worker class, its threads, and the times of the server."""
    server, options = subject.server, subject.options
    if server is None:
        return
    yield from _worker_class(server)
    if options is not None:
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
    elif server.kind == "resident" and server.one_thread:
        yield _one_thread()
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


def _one_thread() -> Finding:
    return Finding(
        code="one-thread",
        severity="warning",
        state="LoopThreadWorker has one thread, so one slow request or stream holds up all others "
        "of its process.",
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
    enough = limit + options.grace * bool(limit) + STOP_TIMEOUT
    remedy = f"Set graceful_timeout to {enough:g} or more."
    if have < STOP_TIMEOUT:
        state = (
            f"graceful_timeout is {have:g} s, and closing the loops may take {STOP_TIMEOUT:g} s. "
            "What is not closed by then is killed."
        )
        yield Finding(
            code="graceful-timeout", severity="warning", state=state, remedy=remedy, page=_STOPPING
        )
    elif have < limit:
        state = (
            f"graceful_timeout is {have:g} s, and a request may take {limit:g} s. A worker that "
            "stops is killed under such a request."
        )
        yield Finding(
            code="graceful-timeout", severity="warning", state=state, remedy=remedy, page=_STOPPING
        )
    elif limit and have < limit + STOP_TIMEOUT:
        state = (
            f"graceful_timeout is {have:g} s. After a request that takes its {limit:g} s, there is "
            f"too little time to close the loops, which may take {STOP_TIMEOUT:g} s."
        )
        yield Finding(
            code="graceful-timeout", severity="note", state=state, remedy=remedy, page=_STOPPING
        )


def _worker_timeout(server: Server, options: Options) -> Iterator[Finding]:
    """Only of the sync worker: one with threads is alive while a request is slow."""
    limit = options.timeout
    if server.kind == "sync" and limit is not None and 0 < server.timeout <= limit:
        yield Finding(
            code="worker-timeout",
            severity="warning",
            state=f"gunicorn kills a sync worker after {server.timeout:g} s in a request, so the "
            f"app's timeout of {limit:g} s has no effect.",
            remedy=f"Set gunicorn's timeout to more than {limit + options.grace:g}, or use a worker "
            "class with threads.",
            page="docs/deployment.md#timeouts",
        )


def check_managers(subject: Subject) -> Iterator[Finding]:
    """Managers that run before the server forks its workers."""
    server = subject.server
    for manager in subject.started_by_config:
        yield _before_fork(manager, "warning", "gunicorn's configuration is read")
    for manager in subject.started_by_app:
        if server is None:
            yield _before_fork(manager, "note", "the app is imported")
        elif server.preload:
            yield _before_fork(manager, "error", "the app is imported, which preload_app does")


def _before_fork(manager: AsyncioLoopManager, severity: str, when: str) -> Finding:
    consequence = {
        "note": "If your server forks after that, the worker processes cannot use it.",
    }.get(severity, "The worker processes cannot use it.")
    return Finding(
        code="manager-before-fork",
        severity="error" if severity == "error" else "warning" if severity == "warning" else "note",
        state=f"{manager!r} starts when {when}. {consequence}",
        remedy="Start it in the worker process: in gunicorn, in the hook post_worker_init.",
        page="docs/deployment.md#processes-and-preload",
    )
