"""A round of checks, wherever it is done: here, or by the workers of a queue.

`check_addresses` has a task type, and the route of this type decides. On one host it leads to the
checker's own manager. With STATUS_BOARD_QUEUE it leads to Celery (see `cluster/queue.py`).
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple
from importlib import import_module
from typing import Any

from example_app.checks import check_all
from example_app.models import CheckResult, Watched
from example_app.settings import Settings
from wsgi_async import SyncFuture
from wsgi_async.routing import AnyRoute, Manager, RouteNotFound, async_task

TASK_TYPE = "checks"
MANAGER_ID = "checker"

# How long a round may wait in the queue (seconds). A worker drops it after that.
QUEUED_SECONDS = 5.0


def routes(settings: Settings) -> Mapping[str, AnyRoute]:
    """Where rounds are done: on the manager that asks for them, or by the workers of a queue."""
    if settings.queue is None:
        return {TASK_TYPE: Manager(MANAGER_ID)}
    # Imported where it is used only: `make run` installs no Celery.
    found: Mapping[str, AnyRoute] = import_module("example_app.cluster.queue").ROUTES
    return found


class LostRoundError(Exception):
    """The queue has no results of a round."""


@async_task(TASK_TYPE)
async def check_addresses(watched: Sequence[Sequence[Any]], timeout: float) -> list[dict[str, Any]]:
    """Check addresses, with plain values in and out, which a queue can carry.

    Args:
        watched: the id and the URL of each.
        timeout: the limit for each address, in seconds.
    """
    results = await check_all([Watched(*one) for one in watched], timeout=timeout)
    return [asdict(one) for one in results]


async def check_somewhere(watched: Iterable[Watched], *, timeout: float) -> list[CheckResult]:
    """Have addresses checked where the route leads, and wait for the results.

    Raises:
        LostRoundError: the queue cannot be used, or no worker has answered in time.
    """
    plain = [astuple(one) for one in watched]
    try:
        # In a thread, as a queue's `submit()` talks to the queue.
        submitted = await asyncio.to_thread(check_addresses.submit, plain, timeout)
        if isinstance(submitted, SyncFuture):
            results = await submitted
        else:
            results = await asyncio.to_thread(submitted.get, timeout=timeout + QUEUED_SECONDS)
    except (asyncio.CancelledError, RouteNotFound):
        raise
    except Exception as error:  # whatever the queue's client raises
        raise LostRoundError(f"There are no results of this round: {error!r}") from error
    return [CheckResult(**one) for one in results]
