"""What the board keeps: the addresses, the last checks of each, and who is checking."""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from example_app.database import reading, transaction
from example_app.databases.tables import Transaction
from example_app.models import CheckResult, Watched
from example_app.settings import Database


class DuplicateError(ValueError):
    """The address is on the board already."""


class FullError(ValueError):
    """The board has as many addresses as it may have."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The board at one moment: all addresses, their last checks (oldest first), the checker.

    `version` is another one whenever the addresses or their checks are others.
    """

    watched: Sequence[Watched]
    history: Mapping[int, Sequence[CheckResult]]
    checker: str | None
    version: str


@dataclass(frozen=True, slots=True)
class Store:
    """Reads and writes the board's data; lives as long as you like, the loops keep what is open.

    Safe to share between threads. Any method may raise `DatabaseError`.
    """

    database: Database

    async def watched(self) -> list[Watched]:
        """All addresses, oldest first."""
        async with reading(self.database) as db:
            return await _watched(db)

    async def snapshot(self, *, checks: int) -> Snapshot:
        """Everything that the page shows, with at most `checks` checks of each address."""
        async with reading(self.database) as db:
            return Snapshot(
                await _watched(db),
                await _history(db, checks),
                await _checker(db),
                await _version(db),
            )

    async def version(self) -> str:
        """The snapshot's `version` alone, which costs next to nothing."""
        async with reading(self.database) as db:
            return await _version(db)

    async def add(self, url: str, *, limit: int) -> Watched:
        """Put an address on the board.

        Raises:
            DuplicateError: it is there already.
            FullError: there are `limit` addresses.
        """
        async with transaction(self.database) as db:
            urls = [one.url for one in await _watched(db)]
            if url in urls:
                raise DuplicateError(url)
            if len(urls) >= limit:
                raise FullError(limit)
            ((url_id,),) = await db.rows(
                "INSERT INTO urls (url) VALUES (:url) RETURNING id", {"url": url}
            )
            return Watched(url_id, url)

    async def remove(self, url_id: int) -> str | None:
        """Take an address off the board, with its history.

        Returns:
            The address, or None when it was gone already.
        """
        async with transaction(self.database) as db:
            rows = await db.rows("DELETE FROM urls WHERE id = :id RETURNING url", {"id": url_id})
            return next((str(url) for (url,) in rows), None)


async def record(db: Transaction, results: Iterable[CheckResult], *, keep: int) -> None:
    """Write results inside a transaction, and drop all but the last `keep` of each address."""
    for one in results:
        await db.execute(
            # The address may have been removed by now. The types are for PostgreSQL.
            "INSERT INTO checks (url_id, at, status, error, latency_ms, reused)"
            " SELECT id, :at, CAST(:status AS INTEGER), CAST(:error AS TEXT),"
            " CAST(:latency_ms AS DOUBLE PRECISION), CAST(:reused AS INTEGER)"
            " FROM urls WHERE id = :url_id",
            asdict(one),
        )
        await db.execute(
            "DELETE FROM checks WHERE url_id = :url AND id <= ("
            " SELECT id FROM checks WHERE url_id = :url ORDER BY id DESC LIMIT 1 OFFSET :keep)",
            {"url": one.url_id, "keep": keep},
        )


async def _watched(db: Transaction) -> list[Watched]:
    rows = await db.rows("SELECT id, url FROM urls ORDER BY id")
    return [Watched(*row) for row in rows]


async def _history(db: Transaction, checks: int) -> Mapping[int, Sequence[CheckResult]]:
    rows = await db.rows(
        "SELECT url_id, at, status, error, latency_ms, reused FROM ("
        " SELECT *, row_number() OVER (PARTITION BY url_id ORDER BY id DESC) AS age FROM checks"
        ") AS aged WHERE age <= :checks ORDER BY id",
        {"checks": checks},
    )
    history: dict[int, list[CheckResult]] = defaultdict(list)
    for url_id, at, status, error, latency_ms, reused in rows:
        history[url_id].append(CheckResult(url_id, at, status, error, latency_ms, bool(reused)))
    return history


async def _version(db: Transaction) -> str:
    # No address gets the id of another, and a new check has a higher id than all others of the same
    # addresses. So two boards that differ have two versions.
    rows = await db.rows(
        "SELECT (SELECT max(id) FROM checks), (SELECT max(id) FROM urls),"
        " (SELECT count(*) FROM urls)"
    )
    return "-".join(str(number or 0) for row in rows for number in row)


async def _checker(db: Transaction) -> str | None:
    rows = await db.rows(
        "SELECT owner FROM lease WHERE name = 'checker' AND expires > :now", {"now": time.time()}
    )
    return next((str(owner) for (owner,) in rows), None)
