"""gunicorn's settings for the tests of connections: say what the worker's threads do."""

from __future__ import annotations

from typing import Any

from tests.servers.apps import say
from wsgi_async.integrations.gunicorn_connections import Requests


def post_worker_init(worker: Any) -> None:
    submit, wait = worker.tpool.submit, Requests._wait

    def submit_and_say(*args: Any) -> Any:
        say("handed to a thread")
        return submit(*args)

    def wait_and_say(self: Requests, timeout: float) -> bool | None:
        comes = wait(self, timeout)
        say("a thread has waited")
        return comes

    worker.tpool.submit = submit_and_say
    Requests._wait = wait_and_say  # type: ignore[method-assign]
