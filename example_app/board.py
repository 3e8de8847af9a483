"""What a page and the JSON view show, worked out once for both."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from example_app.models import CheckResult, Watched
from example_app.store import Snapshot
from example_app.words import iso


@dataclass(frozen=True, slots=True)
class Row:
    """One address: its latest check and those before it, oldest first."""

    watched: Watched
    latest: CheckResult | None
    history: Sequence[CheckResult]

    @property
    def state(self) -> str:
        """One of "up", "down" and "waiting" (not checked yet)."""
        if self.latest is None:
            return "waiting"
        return "up" if self.latest.ok else "down"

    @property
    def median_ms(self) -> float | None:
        """The median latency of the checks that succeeded."""
        good = [one.latency_ms for one in self.history if one.ok and one.latency_ms is not None]
        return round(statistics.median(good), 2) if good else None

    @property
    def uptime(self) -> float | None:
        """The share of checks that succeeded, from 0 to 1."""
        if not self.history:
            return None
        return round(sum(one.ok for one in self.history) / len(self.history), 4)

    def as_json(self) -> dict[str, Any]:
        """The row in plain values."""
        latest = _check_as_json(self.latest) if self.latest else None
        return {
            "id": self.watched.id,
            "url": self.watched.url,
            "state": self.state,
            "latest": latest,
            "median_ms": self.median_ms,
            "uptime": self.uptime,
            "history": [_check_as_json(one) for one in self.history],
        }


@dataclass(frozen=True, slots=True)
class Board:
    """All rows, with the sums above them.

    `version` is the snapshot's.
    `took_ms` is how long a live check of all took; None if the results come from the database.
    `checker` names who checks in the background, None if nobody does.
    """

    rows: Sequence[Row]
    checker: str | None
    version: str
    took_ms: float | None = None
    now: float = field(default_factory=time.time)

    def count(self, state: str) -> int:
        """How many addresses are in a state."""
        return sum(row.state == state for row in self.rows)

    @property
    def checked(self) -> Sequence[CheckResult]:
        """The latest check of each address that has one."""
        return [row.latest for row in self.rows if row.latest]

    @property
    def answered(self) -> int:
        """How many of those got an answer, of whatever status."""
        return sum(one.status is not None for one in self.checked)

    @property
    def reused(self) -> int:
        """How many of the answers came over a connection that was open before."""
        return sum(one.reused for one in self.checked)

    @property
    def one_by_one_ms(self) -> float:
        """How long the answers would have taken one after another."""
        return sum(one.latency_ms or 0.0 for one in self.checked)

    @property
    def checker_pid(self) -> str | None:
        """The process of the background checker."""
        return self.checker.partition("-")[0] if self.checker else None

    def as_json(self) -> dict[str, Any]:
        """The board in plain values."""
        return {
            "at": iso(self.now),
            "live": self.took_ms is not None,
            "took_ms": self.took_ms,
            "up": self.count("up"),
            "down": self.count("down"),
            "waiting": self.count("waiting"),
            "answered": self.answered,
            "reused": self.reused,
            "checker": self.checker,
            "urls": [row.as_json() for row in self.rows],
        }


def board_from(snapshot: Snapshot) -> Board:
    """The board as the background checker left it."""
    last = {url_id: checks[-1] for url_id, checks in snapshot.history.items() if checks}
    return Board(_rows(snapshot, last), snapshot.checker, snapshot.version)


def live_board(snapshot: Snapshot, results: Sequence[CheckResult], took_ms: float) -> Board:
    """The board with results that have just come in."""
    rows = _rows(snapshot, {one.url_id: one for one in results})
    return Board(rows, snapshot.checker, snapshot.version, round(took_ms, 2))


def _rows(snapshot: Snapshot, latest: Mapping[int, CheckResult]) -> list[Row]:
    return [
        Row(one, latest.get(one.id), snapshot.history.get(one.id, ())) for one in snapshot.watched
    ]


def _check_as_json(check: CheckResult) -> dict[str, Any]:
    plain = asdict(check)
    del plain["url_id"]
    return plain | {"at": iso(check.at), "ok": check.ok}
