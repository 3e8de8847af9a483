"""Serve the status board: `gunicorn --config example_app/gunicorn.conf.py`.

HOST, PORT, WORKERS, THREADS and what else `settings.py` lists come from the environment.
"""
# ruff: noqa: N999 - gunicorn looks for this name

import os
import sys
from pathlib import Path
from typing import Any

_CHECKOUT = str(Path(__file__).resolve().parent.parent)
if _CHECKOUT not in sys.path:  # gunicorn reads this file before it looks at `chdir`
    sys.path.insert(0, _CHECKOUT)

from example_app.checker import start_checker, stop_checker  # noqa: E402
from example_app.database import seed, set_up  # noqa: E402
from example_app.settings import Settings, SettingsError, host_in_url  # noqa: E402
from wsgi_async.integrations import gunicorn  # noqa: E402

try:
    _settings = Settings.from_environ(os.environ)
except SettingsError as error:
    sys.exit(f"The status board cannot start: {error}.")

wsgi_app = "example_app.app:app"
chdir = _CHECKOUT
bind = _settings.bind
workers = _settings.workers
# gunicorn's threaded worker, whose threads run the event loops themselves.
worker_class = "wsgi_async.integrations.gunicorn.LoopThreadWorker"
threads = _settings.threads
# The board checks itself over connections that stay open: longer than its own client keeps them,
# so that it is the client that closes first.
keepalive = 310
graceful_timeout = 10
# A control socket has one path per user, which two services would fight over.
control_socket_disable = True


def _url(listener: Any) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{host_in_url(host)}:{port}"


def on_starting(server: Any) -> None:  # noqa: ARG001
    # Once here, where an error ends the server with one line. Nothing stays open over the fork.
    try:
        set_up(_settings)
    except SettingsError as problem:
        sys.exit(f"The status board cannot start: {problem}.")


def when_ready(server: Any) -> None:
    server.log.info("Listening: the status board is at %s/", _url(server.LISTENERS[0].sock))


def post_worker_init(worker: Any) -> None:
    gunicorn.post_worker_init(worker)  # for `--worker-class gthread`: streams end in time
    # In the worker, after the fork: threads and loops do not survive one.
    if _settings.port == 0:
        seed(_settings.database, _url(worker.sockets[0]))
    start_checker(_settings, keep_going=lambda: worker.alive)


def worker_exit(server: Any, worker: Any) -> None:  # noqa: ARG001
    # The manager is stopped anyway. But with `--worker-class gthread` that is at the interpreter's
    # exit, where a first look into the database, to give the lease back, gets no thread any more.
    stop_checker()
