"""Async views of Flask and Django through gunicorn, with the integrations and without."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.effort import Effort
from benchmarks.requests import Route, side_by_side
from benchmarks.server import Served, servers
from benchmarks.timing import Scenario

# An integration holds for a process, so what has it and what has not cannot share one.
WAYS = {"resident": (True, True), "keeper": (True, False), "own": (False, False)}
"""Contender's key: whether it has the integration, and whether loops live on worker threads."""


def flask_view(effort: Effort) -> Scenario:
    """Requests per second of an `async def` view that answers at once."""
    apps = {
        key: Served(f"benchmarks.flask_views_app:application(integrated={integrated})", resident)
        for key, (integrated, resident) in WAYS.items()
    }
    return one_view(apps, "/", effort)


def watched_view(effort: Effort) -> Scenario:
    """Requests per second of the same view with the watchdog and the metrics, and without."""
    apps = {
        f"{kind}{'_watched' * watched}": Served(
            f"benchmarks.flask_views_app:application(integrated=True, watched={watched})",
            kind == "resident",
        )
        for kind in ("resident", "keeper")
        for watched in (False, True)
    }
    return one_view(apps, "/", effort)


def django_view(effort: Effort) -> Scenario:
    """Requests per second of an async view with a query and three awaits at once."""
    with TemporaryDirectory() as folder:
        apps = {
            key: Served(django_app(Path(folder, key), integrated), resident)
            for key, (integrated, resident) in WAYS.items()
        }
        return one_view(apps, "/awaits", effort)


def django_app(database: Path, integrated: bool) -> str:
    """Return how gunicorn is told to make the project's application, with its own database."""
    return f"benchmarks.django_project:application({str(database)!r}, integrated={integrated})"


def one_view(apps: Mapping[str, Served], path: str, effort: Effort) -> Scenario:
    """Measure the same view in several servers: requests per second."""
    with servers(apps) as ports:
        return side_by_side({key: Route(port, path) for key, port in ports.items()}, effort)
