"""Who does the checking: one worker process of all that share the database.

The right is a row with an owner and a time until which it is his. One statement takes or renews it,
so no two can have it; who ends gives it back, and of one who was killed it is taken over when the
time has come.
"""

import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from example_app.database import transaction
from example_app.databases.tables import Transaction
from example_app.settings import Database

# `:now + :ttl`: a time further away than any owner would set comes from a clock that was put back.
_TAKE = """
INSERT INTO lease (name, owner, expires) VALUES (:name, :owner, :now + :ttl)
ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, expires = excluded.expires
WHERE lease.owner = excluded.owner OR lease.expires <= :now OR lease.expires > :now + :ttl
"""


def _this_process() -> str:
    """A name that no other process has, also after a pid is used again or in another container."""
    return f"{os.getpid()}-{secrets.token_hex(4)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One claim to the right `name`; lives as long as its claimant.

    Args:
        database: where the data is.
        ttl: how long the right lasts without being renewed, in seconds; the same for all claimants.
        owner: the claimant; a name made for this process if not given.
        clock: seconds since the epoch, the same for all claimants.
    """

    database: Database
    ttl: float
    name: str = "checker"
    owner: str = field(default_factory=_this_process)
    clock: Callable[[], float] = time.time

    async def take(self) -> bool:
        """Take or renew the right; False when it is somebody else's."""
        async with transaction(self.database) as db:
            return await self.take_within(db)

    async def take_within(self, db: Transaction) -> bool:
        """The same inside a transaction, so that what it writes is written by the owner only."""
        mine = {"name": self.name, "owner": self.owner, "now": self.clock(), "ttl": self.ttl}
        return await db.execute(_TAKE, mine) == 1

    async def release(self) -> None:
        """Give the right back; nothing happens if it is not ours."""
        async with transaction(self.database) as db:
            await db.execute(
                "DELETE FROM lease WHERE name = :name AND owner = :owner",
                {"name": self.name, "owner": self.owner},
            )
