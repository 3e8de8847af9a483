"""gunicorn's settings for the tests of connections: say what the main thread hands to a thread."""

from __future__ import annotations

from typing import Any

from tests.servers.apps import say


def post_worker_init(worker: Any) -> None:
    submit = worker.tpool.submit

    def submit_and_say(*args: Any) -> Any:
        say("handed to a thread")
        return submit(*args)

    worker.tpool.submit = submit_and_say
