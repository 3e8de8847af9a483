"""Every kind of server that the middleware is tested with: how to start it, and what it keeps."""

from __future__ import annotations

import importlib.util
import json
import shutil
import socket
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers.apache import apache, apache_missing
from tests.servers.process import LOOP_THREAD_WORKER, Server, free_port, gunicorn, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["KINDS", "Kind", "uwsgi", "uwsgi_without_threads", "wait_idle"]

APP = "tests.servers.apps:app"


@dataclass(frozen=True)
class Kind:
    """A server, as an operator would set it up. Lives as long as the tests."""

    name: str
    start: Callable[[Path], Server]
    """Starts it; the folder is for Apache, which may not read the checkout."""
    threads: int = 3
    """How many requests it serves at the same time."""
    keeps_threads: bool = True
    """Whether a thread serves one request after another."""
    missing: Callable[[], str] = str
    """Why it cannot be started here; nothing if it can."""


def uwsgi(module: str, *options: str) -> Server:
    """A uWSGI with a master and a worker, from the Python that runs the tests, and ready."""
    program = shutil.which("uwsgi", path=str(Path(sys.executable).parent))
    return _uwsgi(program, module, *options)


def uwsgi_without_threads(module: str, *options: str) -> Server:
    """Debian's uWSGI, which is so old that it has Python's threads only if it is told so."""
    return _uwsgi(shutil.which("uwsgi_python3"), module, *options)


def _uwsgi(program: str | None, module: str, *options: str) -> Server:
    stats = f"--stats=127.0.0.1:{free_port()}"
    always = ["--http-socket=127.0.0.1:0", "--master", "--disable-logging", stats]
    server = Server(*always, f"--module={module}", *options, program=program)
    server.ready(r"bound to TCP address 127\.0\.0\.1:(\d+)")
    server.ready("spawned uWSGI worker 1", port=server.port)
    # A worker may answer earlier, but before that the master loses signals.
    return server.ready("Stats server enabled", port=server.port)


def wait_idle(server: Server) -> None:
    """Wait until no worker is in a request, as uWSGI runs no exit hook in one that is.

    A client may have the whole answer a moment before the worker is done with the request. Other
    servers wait for it themselves.
    """
    for found in server.find(r"Stats server enabled on 127\.0\.0\.1:(\d+)"):
        wait_until(partial(_idle, int(found[1])), what="the workers are idle")


def _idle(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port)) as stats, stats.makefile() as text:
        workers = json.load(text)["workers"]
    return not any(core["in_request"] for worker in workers for core in worker["cores"])


def _uwsgi_missing() -> str:
    here = shutil.which("uwsgi", path=str(Path(sys.executable).parent))
    return "" if here else "uWSGI is not installed (pyuwsgi from the package index)"


def _waitress(_: Path) -> Server:
    server = Server("-m", "waitress", "--listen=127.0.0.1:0", "--threads=3", APP)
    return server.ready(r"Serving on http://127\.0\.0\.1:(\d+)")


_LOOP_THREADS = f"""
import logging
from {APP.partition(":")[0]} import app
from wsgi_async.integrations.waitress import serve
logging.getLogger("waitress").setLevel(logging.INFO)
serve(app, listen="127.0.0.1:0", threads=3)
"""


def _waitress_loop_threads(_: Path) -> Server:
    return Server("-c", _LOOP_THREADS).ready(r"Serving on http://127\.0\.0\.1:(\d+)")


def _werkzeug(_: Path) -> Server:
    server = Server("-m", "tests.servers.development", APP)
    return server.ready(r"Running on http://127\.0\.0\.1:(\d+)")


def _django(_: Path) -> Server:
    command = ("-m", "django", "runserver", "--noreload", "127.0.0.1:0")
    server = Server(*command, DJANGO_SETTINGS_MODULE="tests.servers.django_site")
    return server.ready(r"server at http://127\.0\.0\.1:(\d+)")


def _not_installed(module: str) -> str:
    return "" if importlib.util.find_spec(module) else f"{module} is not installed"


KINDS = {
    kind.name: kind
    for kind in (
        Kind("gunicorn gthread", lambda _: gunicorn(APP, "--threads", "3")),
        Kind(
            "gunicorn LoopThreadWorker",
            lambda _: gunicorn(APP, "--threads", "3", worker_class=LOOP_THREAD_WORKER),
        ),
        Kind("gunicorn sync", lambda _: gunicorn(APP, worker_class="sync"), threads=1),
        Kind("waitress", _waitress, missing=partial(_not_installed, "waitress")),
        Kind(
            "waitress loop threads",
            _waitress_loop_threads,
            missing=partial(_not_installed, "waitress"),
        ),
        Kind("Werkzeug", _werkzeug, keeps_threads=False),
        Kind("Django", _django, keeps_threads=False, missing=partial(_not_installed, "django")),
        Kind("uWSGI", lambda _: uwsgi(APP), threads=1, missing=_uwsgi_missing),
        Kind("uWSGI threads", lambda _: uwsgi(APP, "--threads=3"), missing=_uwsgi_missing),
        Kind("mod_wsgi", apache, missing=apache_missing),
        Kind(
            "mod_wsgi subinterpreter",
            partial(apache, group="%{RESOURCE}"),
            missing=apache_missing,
        ),
    )
}
