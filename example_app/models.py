"""The two things the board knows about: an address that is watched, and one check of it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Watched:
    """An address on the board."""

    id: int
    url: str


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check of one address found.

    `at` is when it began, in seconds since the epoch. `status` is the HTTP status and `latency_ms`
    the time until it came, both None when no answer came; `error` then says why. `reused` tells
    whether the answer came over a connection that was open before.
    """

    url_id: int
    at: float
    status: int | None
    error: str | None
    latency_ms: float | None
    reused: bool

    @property
    def ok(self) -> bool:
        """Whether the address answered, whole and with a status below 400."""
        return self.error is None and self.status is not None and self.status < 400
