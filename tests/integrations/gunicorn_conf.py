"""gunicorn's settings for the tests of its workers: our hook, and some of a project's own."""

import os
from typing import Any

from tests.servers.apps import running, say
from wsgi_async.integrations.gunicorn import post_worker_init

__all__ = ["post_worker_init", "worker_exit", "worker_int"]


def worker_int(worker: Any) -> None:
    say(f"worker_int of the project in {worker.pid}")


def worker_exit(server: Any, worker: Any) -> None:
    say(f"worker_exit pid={os.getpid()} managers={running()}")
