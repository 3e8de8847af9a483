"""An application that has used a manager in uWSGI's master, and makes one when a worker begins."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from tests.servers import apps
from wsgi_async import (
    AsyncioLoopManager,
    AsyncLoopMiddleware,
    get_or_create_loop_manager,
    loop_from,
)

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

uwsgi: Any = importlib.import_module("uwsgi")  # in a process of uWSGI alone
of_master = get_or_create_loop_manager("master")
of_worker: list[AsyncioLoopManager] = []


async def process() -> int:
    return os.getpid()


def begin_worker() -> None:
    of_worker.append(get_or_create_loop_manager("worker"))
    of_worker[0].start()


def managers(environ: WSGIEnvironment, query: dict[str, str]) -> dict[str, Any]:
    """What a worker gets from each of them."""
    try:
        of_master.run(process(), timeout=apps.LIMIT)
        refusal = None
    except RuntimeError as error:
        refusal = str(error)
    return {
        "refusal": refusal,
        "at_start": [one.run(process(), timeout=apps.LIMIT) for one in of_worker],
        "own": loop_from(environ).run(process(), timeout=apps.LIMIT),
        "pid": os.getpid(),
    }


apps.VIEWS["/managers"] = managers
uwsgi.post_fork_hook = begin_worker
of_master.start()
assert of_master.run(process()) == os.getpid()
app = AsyncLoopMiddleware(apps.plain)
