"""The background task: checks all addresses every few seconds and keeps the results.

It runs on a loop manager of its own, which is started in the main thread and so has a thread of its
own: on a worker thread's loop it would stand still while a view computes. Every worker process
starts one, and the holder of the lease does the work; the others look now and then whether it is
free.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from example_app.database import DatabaseError, transaction
from example_app.lease import Lease
from example_app.rounds import MANAGER_ID, LostRoundError, check_somewhere
from example_app.settings import Settings
from example_app.store import Store, record
from wsgi_async import get_or_create_loop_manager

log = logging.getLogger(__name__)


class Checker:
    """The task's logic; lives as long as its `run`.

    Args:
        settings: the board's settings.
        lease: the claim to be the one who checks; one of its own if not given.
        keep_going: False when the process is about to end; results that come in after that are
            dropped, as the endpoints of the service itself do not answer any more.
        on_turn: is told after each turn whether it was ours to check.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        lease: Lease | None = None,
        keep_going: Callable[[], bool] = lambda: True,
        on_turn: Callable[[bool], None] = lambda _ours: None,
    ) -> None:
        self.settings = settings
        self.lease = lease or Lease(database=settings.database, ttl=settings.lease_seconds)
        self._store = Store(settings.database)
        self._keep_going = keep_going
        self._on_turn = on_turn

    async def run(self) -> None:
        """Take turns until cancelled or told to end, then give the lease back."""
        try:
            while self._keep_going():
                started = time.monotonic()
                self._on_turn(await self._turn())
                rest = self.settings.check_interval - (time.monotonic() - started)
                await asyncio.sleep(max(rest, 0))
        finally:
            await self.lease.release()

    async def _turn(self) -> bool:
        try:
            return await self.lease.take() and await self._check()
        except DatabaseError:
            # A full disk or a locked file is no reason to stop for good.
            log.exception("The database cannot be used; trying again")
            return False
        except LostRoundError:
            log.exception("The queue has no results; trying again")
            return False

    async def _check(self) -> bool:
        watched = await self._store.watched()
        results = await check_somewhere(watched, timeout=self.settings.check_timeout)
        if not self._keep_going():
            return False
        async with transaction(self.settings.database) as db:
            # Renewed with the results or not at all: who was held up for so long that another has
            # taken over writes nothing.
            ours = await self.lease.take_within(db)
            if ours:
                await record(db, results, keep=self.settings.kept_checks)
        return ours


def start_checker(settings: Settings, *, keep_going: Callable[[], bool] = lambda: True) -> None:
    """Start the task for this process, once; call it in the process that serves, after any fork.

    Called in the main thread, its manager is found in every thread below that by its id.
    """
    manager = get_or_create_loop_manager(id=MANAGER_ID)
    if not manager.running:
        manager.start()
        manager.submit_task(Checker(settings, keep_going=keep_going).run())


def stop_checker() -> None:
    """End the task, and wait until it has given the lease back; nothing happens if none runs."""
    get_or_create_loop_manager(id=MANAGER_ID).stop()
