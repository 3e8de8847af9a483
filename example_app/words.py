"""Numbers and times in words, the same on the page and in the charts."""

from datetime import UTC, datetime
from http import HTTPStatus


def in_ms(milliseconds: float) -> str:
    """A duration: "3.2 ms", "812 ms", "1.25 s"."""
    if milliseconds < 10:
        return f"{milliseconds:.1f} ms"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1000:.2f} s"


def ago(seconds: float) -> str:
    """How long ago: "just now", "12 s ago", "3 min ago"."""
    if seconds < 1.5:
        return "just now"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} ago"
    return "just now"


def status_line(status: int) -> str:
    """A status as people know it: "503 Service Unavailable"."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def iso(at: float) -> str:
    """A time in seconds since the epoch as ISO 8601, in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
