"""What can be set, from the environment, with a clear error for a bad value."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

DEFAULT_DATABASE = Path(__file__).resolve().parent.parent / "instance" / "status_board.sqlite3"


Database = Path | str
"""SQLite's file, or the URL of a PostgreSQL."""


class SettingsError(ValueError):
    """A setting in the environment has a value that cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The board's settings; all times are in seconds.

    `from_environ` reads those that have a variable: HOST, PORT, WORKERS, THREADS, CHECK_INTERVAL,
    CHECK_TIMEOUT, STREAM_SECONDS, TRUSTED_HOSTS (host names, by commas), STATUS_BOARD_DB (a SQLite
    file, or `postgresql://...`), STATUS_BOARD_QUEUE (a Redis whose Celery workers do the checks,
    `redis://...`) and STATUS_BOARD_URL (the address that a proxy has for the board).
    """

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 2
    threads: int = 16
    database: Database = DEFAULT_DATABASE
    queue: str | None = None
    url: str | None = None
    check_interval: float = 5.0
    check_timeout: float = 3.0
    stream_seconds: float = 45.0
    trusted_hosts: tuple[str, ...] = ()
    kept_checks: int = 120
    charted_checks: int = 60
    max_urls: int = 20

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings.

        Raises:
            SettingsError: a value is not of its kind or out of range; the message names it.
        """
        found: dict[str, Any] = {}
        for name, (field, parse) in _VARIABLES.items():
            if name in environ:
                found[field] = _parse(name, environ[name], parse)
        return replace(cls(), **found)

    @property
    def bind(self) -> str:
        """What the server listens on, as gunicorn has it."""
        return f"{host_in_url(self.host)}:{self.port}"

    @property
    def base_url(self) -> str:
        """Where the service reaches itself, without a trailing slash."""
        return self.url or f"http://{host_in_url(_reachable(self.host))}:{self.port}"

    @property
    def database_name(self) -> str:
        """The database as an error may name it: without a password."""
        return re.sub(r"//.*@", "//", str(self.database))

    @property
    def lease_seconds(self) -> float:
        """How long the right to check lasts: two rounds may be lost before another takes over."""
        return 2 * (self.check_interval + self.check_timeout)

    @property
    def longest_request(self) -> float:
        """How long a view waits for its async code: a check, and a database that is locked."""
        return self.check_timeout + 15.0

    @property
    def max_streams(self) -> int:
        """How many live pages a worker process has at once: half of its threads serve the rest."""
        return self.threads // 2

    @property
    def allowed_hosts(self) -> frozenset[str]:
        """Host names that requests may be addressed to; empty: any.

        A board on the loopback interface answers to local names only, so that a web page cannot
        reach it under a name of its own that resolves to 127.0.0.1 (DNS rebinding).
        """
        if self.trusted_hosts or not _is_loopback(self.host):
            return frozenset(self.trusted_hosts)
        return frozenset({self.host.lower(), "localhost", "127.0.0.1", "::1"})


def host_in_url(host: str) -> str:
    """The host as a URL has it: an IPv6 address goes into brackets."""
    return f"[{host}]" if ":" in host else host


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not bound here


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _parse(name: str, text: str, parse: Callable[[str], object]) -> object:
    try:
        return parse(text.strip())
    except ValueError as error:
        raise SettingsError(f"{name} must be {error}, not {text!r}") from None


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return parse


def _seconds(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not low <= value <= high:
            raise ValueError(f"a number of seconds from {low:g} to {high:g}")
        return value

    return parse


def _host(text: str) -> str:
    host = text.removeprefix("[").removesuffix("]")
    if not host or any(c.isspace() or c in "/@[]" for c in host):
        raise ValueError("a host name or an IP address to listen on")
    return host


def _database(text: str) -> Database:
    if not text:
        raise ValueError("the path of the database file, or postgresql://...")
    if text.startswith(("postgresql://", "postgres://")):
        return text
    return Path(text).expanduser().absolute()


def _address(*schemes: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not text.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(f"an address that begins with {schemes[0]}://")
        return text.rstrip("/")

    return parse


def _hosts(text: str) -> tuple[str, ...]:
    return tuple(_host(part.strip()).lower() for part in text.split(",") if part.strip())


_VARIABLES: dict[str, tuple[str, Callable[[str], object]]] = {
    "HOST": ("host", _host),
    "PORT": ("port", _whole(0, 65535)),
    "WORKERS": ("workers", _whole(1, 64)),
    "THREADS": ("threads", _whole(1, 256)),
    "CHECK_INTERVAL": ("check_interval", _seconds(0.1, 3600)),
    "CHECK_TIMEOUT": ("check_timeout", _seconds(0.1, 60)),
    "STREAM_SECONDS": ("stream_seconds", _seconds(0.5, 3600)),
    "STATUS_BOARD_DB": ("database", _database),
    "STATUS_BOARD_QUEUE": ("queue", _address("redis", "rediss")),
    "STATUS_BOARD_URL": ("url", _address("http", "https")),
    "TRUSTED_HOSTS": ("trusted_hosts", _hosts),
}
