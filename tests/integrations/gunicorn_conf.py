"""gunicorn's settings for the tests of its workers: our hook, and some of a project's own."""

import os
from typing import Any

from tests.servers.apps import running, say
from wsgi_async.integrations import gunicorn


def post_worker_init(worker: Any) -> None:
    gunicorn.post_worker_init(worker)
    assert worker.wsgi.app is not None  # what the application has is still there


def worker_int(worker: Any) -> None:
    say(f"worker_int of the project in {worker.pid}")


def worker_exit(server: Any, worker: Any) -> None:
    say(f"worker_exit pid={os.getpid()} managers={running()}")
