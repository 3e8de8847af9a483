"""Async views of Flask and Django through gunicorn, with the integrations and without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.effort import Effort
from benchmarks.requests import THREADS, WORKERS, Route, side_by_side
from benchmarks.server import gunicorn
from benchmarks.timing import Scenario

WITH_AND_WITHOUT = {"ours": True, "own": False}
"""Contender's key: whether it has the integration."""


@contextmanager
def servers(apps: Mapping[str, str]) -> Iterator[dict[str, int]]:
    """Serve several apps, each by a gunicorn of its own; gives the port of each.

    An integration holds for a process, so what has it and what has not cannot share one.
    """
    with ExitStack() as stack:
        yield {
            key: stack.enter_context(gunicorn(app, workers=WORKERS, threads=THREADS))
            for key, app in apps.items()
        }


@contextmanager
def django_servers(options: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, int]]:
    """Serve the Django project several times, each with a database of its own.

    Args:
        options: contender's key: arguments of the project's factory.
    """
    with TemporaryDirectory() as folder, ExitStack() as stack:
        apps = {key: django_app(Path(folder, key), each) for key, each in options.items()}
        yield stack.enter_context(servers(apps))


def django_app(database: Path, options: Mapping[str, Any]) -> str:
    """Return how gunicorn is told to make the project's application."""
    arguments = ", ".join(f"{name}={value!r}" for name, value in options.items())
    return f"benchmarks.django_project:application({str(database)!r}, {arguments})"


def flask_view(effort: Effort) -> Scenario:
    """Requests per second of an `async def` view that answers at once."""
    apps = {
        key: f"benchmarks.flask_views_app:application(integrated={has})"
        for key, has in WITH_AND_WITHOUT.items()
    }
    with servers(apps) as ports:
        return side_by_side({key: Route(port, "/") for key, port in ports.items()}, effort)


def django_view(effort: Effort) -> Scenario:
    """Requests per second of an async view with a query and three awaits at once."""
    options = {key: {"integrated": has} for key, has in WITH_AND_WITHOUT.items()}
    with django_servers(options) as ports:
        return side_by_side({key: Route(port, "/awaits") for key, port in ports.items()}, effort)
