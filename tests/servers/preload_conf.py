"""gunicorn's settings for `preload.py`: the master uses its manager whenever a worker has ended."""

import os
from typing import Any

from tests.servers import apps, preload

preload_app = True


def child_exit(server: Any, worker: Any) -> None:
    answer = preload.master.run(preload.answer(), timeout=apps.LIMIT)
    apps.say(f"master {os.getpid()} runs on in {answer} without {worker.pid}")


def post_worker_init(worker: Any) -> None:
    # Only now a signal reaches it: one that comes sooner finds the master's handlers, and is lost.
    apps.say(f"worker {worker.pid} is ready")
