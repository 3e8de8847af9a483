"""The background task: checks all addresses every few seconds and keeps the results.

It runs on a loop manager of its own, which is started in the main thread and so has a thread of its
own: on a worker thread's loop it would stand still while a view computes. Every worker process
starts one, and the holder of the lease does the work; the others look now and then whether it is
free.
"""

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable, Sequence

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DatabaseError, close_old_connections, connections, transaction

from example_app.checks import check_all
from example_app.models import CheckResult
from status.models import Address, Check, Lease
from wsgi_async import get_or_create_loop_manager

MANAGER_ID = "checker"

log = logging.getLogger(__name__)


def start(*, keep_going: Callable[[], bool] = lambda: True) -> None:
    """Start the task for this process; call it in the process that serves, after any fork."""
    manager = get_or_create_loop_manager(id=MANAGER_ID)
    manager.start()
    manager.submit_task(check_forever(keep_going))


def stop() -> None:
    """End the task, and wait until it has given the lease back."""
    get_or_create_loop_manager(id=MANAGER_ID).stop()


async def check_forever(keep_going: Callable[[], bool]) -> None:
    """Take turns until cancelled or told to end."""
    owner = f"{os.getpid()}-{secrets.token_hex(4)}"
    try:
        while keep_going():
            started = time.monotonic()
            try:
                await _turn(owner, keep_going)
            except DatabaseError:
                # A full disk or a locked file is no reason to stop for good.
                log.exception("The database cannot be used; trying again")
                await sync_to_async(close_old_connections)()
            rest = settings.BOARD.check_interval - (time.monotonic() - started)
            await asyncio.sleep(max(rest, 0))
    finally:
        await Lease.objects.filter(owner=owner).adelete()
        await sync_to_async(connections.close_all)()


async def _turn(owner: str, keep_going: Callable[[], bool]) -> None:
    if not await sync_to_async(Lease.objects.take)(owner):
        return
    addresses = [address async for address in Address.objects.all()]
    results = await check_all(addresses, timeout=settings.BOARD.check_timeout)
    # In a process that is about to end, the endpoints of its own do not answer any more.
    if keep_going():
        await sync_to_async(record)(owner, results)


@transaction.atomic
def record(owner: str, results: Sequence[CheckResult]) -> None:
    """Write results and drop the oldest of each address; sync, as Django's transactions are."""
    # Renewed with the results or not at all: who was held up for so long that another has taken
    # over writes nothing.
    if not Lease.objects.take(owner):
        return
    there = set(Address.objects.values_list("id", flat=True))  # some may have been removed
    Check.objects.bulk_create(Check.of(one) for one in results if one.url_id in there)
    for address_id in there:
        checks = Check.objects.filter(address=address_id)
        oldest = checks.order_by("-id")[settings.BOARD.kept_checks :]
        checks.filter(id__in=oldest.values("id")).delete()
