"""Flask and Django: async views without the integration, and settings that do not fit."""
# This module imports neither of them, unless the app has. Django has no types.
# pyright: standard

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

from .findings import Finding, is_a

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .findings import Subject

__all__ = ["check_django", "check_flask", "import_urls"]

_APP = "wsgi_async.integrations.django"


# -- Flask -----------------------------------------------------------------------------------------


def check_flask(subject: Subject) -> Iterator[Finding]:
    """Find async views of an app that is only wrapped in the middleware."""
    if not subject.middlewares or _asgiref_replaced():
        return
    for app in subject.find_all("flask.Flask"):
        if "wsgi_async" not in app.extensions:
            yield from _async_views(app)


def _async_views(app: Any) -> Iterator[Finding]:
    views = [name for name, view in app.view_functions.items() if _is_async_view(view)]
    if views:
        yield Finding(
            code="flask-async-views",
            severity="warning",
            state=f"{_named(views)} async, and Flask creates an event loop for each call of an "
            "async view. Clients do not stay open in it.",
            remedy="Use AsyncLoop(app) of wsgi_async.integrations.flask instead of "
            "AsyncLoopMiddleware.",
            page="docs/flask.md#set-it-up",
        )


def _is_async_view(view: Any) -> bool:
    kind = getattr(view, "view_class", None)
    if kind is None:
        return inspect.iscoroutinefunction(view)
    methods = [getattr(kind, name.lower(), None) for name in getattr(kind, "methods", None) or ()]
    return any(map(inspect.iscoroutinefunction, [*methods, kind.dispatch_request]))


def _asgiref_replaced() -> bool:
    """Whether our function has replaced asgiref's, which both frameworks call."""
    module = sys.modules.get("wsgi_async.integrations.asgiref")
    return module is not None and bool(module.installed())


def _named(views: list[str]) -> str:
    if len(views) == 1:
        return f"The view {views[0]!r} is"
    return f"The view {views[0]!r} and {len(views) - 1} more are"


# -- Django ----------------------------------------------------------------------------------------


def import_urls(parts: Iterable[Any]) -> None:
    """Import the URLconf and views of a Django project. Django only does that at a request."""
    if any(is_a(part, "django.core.handlers.wsgi.WSGIHandler") for part in parts):
        from django.urls import get_resolver  # noqa: PLC0415 - the app has imported Django

        _views(get_resolver())


def _views(resolver: Any) -> dict[str, Any]:
    """The views of a URLconf and of those that it includes, by name."""
    views: dict[str, Any] = {}
    for pattern in resolver.url_patterns:
        if hasattr(pattern, "url_patterns"):
            views |= _views(pattern)
        else:
            views[pattern.lookup_str] = pattern.callback
    return views


def check_django(subject: Subject) -> Iterator[Finding]:
    """Check the integration, and settings that affect async views and connections."""
    if subject.find("django.core.handlers.wsgi.WSGIHandler") is None:
        return
    from asgiref.sync import iscoroutinefunction  # noqa: PLC0415 - the app has imported Django
    from django.conf import settings  # noqa: PLC0415
    from django.urls import get_resolver  # noqa: PLC0415

    views = _views(get_resolver())
    asyncs = {name: view for name, view in views.items() if iscoroutinefunction(view)}
    if subject.middlewares:
        yield from _plain_handler(subject, asyncs)
        yield from _elsewhere(settings, asyncs)
    yield from _atomic(settings, asyncs)
    yield from _connections(subject, settings)


def _plain_handler(subject: Subject, asyncs: dict[str, Any]) -> Iterator[Finding]:
    """Find the middleware around Django's own application."""
    if subject.find(f"{_APP}.Handler") is not None:
        return
    if asyncs and not _asgiref_replaced():
        what = f"{_named(list(asyncs))} async, and Django creates an event loop for each call"
        severity: Any = "warning"
    else:
        what, severity = "Django's own handler collects async streams in memory", "note"
    yield Finding(
        code="django-handler",
        severity=severity,
        state=f"{what}.",
        remedy=f"Use get_wsgi_application of {_APP} instead of AsyncLoopMiddleware.",
        page="docs/django.md#set-it-up",
    )


def _elsewhere(settings: Any, asyncs: dict[str, Any]) -> Iterator[Finding]:
    """Find async code that bypasses the WSGI application: in runserver, commands and tests."""
    if not settings.WSGI_APPLICATION:
        yield Finding(
            code="django-runserver",
            severity="note",
            state="WSGI_APPLICATION is not set, so runserver serves Django's own application.",
            remedy="Set it to the application in your wsgi.py.",
            page="docs/django.md#limits",
        )
    if asyncs and not _asgiref_replaced_in_commands(settings):
        yield Finding(
            code="django-commands",
            severity="note",
            state=f"{_APP} is not in INSTALLED_APPS, so tests and management commands create an "
            "event loop for each call of async code.",
            remedy="Add it, if they call async views or other async code.",
            page="docs/django.md#test-it",
        )


def _asgiref_replaced_in_commands(settings: Any) -> bool:
    return any(each.startswith(_APP) for each in settings.INSTALLED_APPS)


def _atomic(settings: Any, asyncs: dict[str, Any]) -> Iterator[Finding]:
    """Find async views in a transaction, which Django refuses."""
    aliases = [alias for alias, each in settings.DATABASES.items() if each.get("ATOMIC_REQUESTS")]
    views = [
        name
        for name, view in asyncs.items()
        if not set(aliases) <= getattr(view, "_non_atomic_requests", set[str]())
    ]
    if views:
        yield Finding(
            code="django-atomic-requests",
            severity="error",
            state=f"{_named(views)} async, and Django does not support ATOMIC_REQUESTS with async "
            "views. Each request to one raises an error.",
            remedy="Decorate these views with non_atomic_requests.",
            page="docs/django.md#use-the-orm",
        )


def _connections(subject: Subject, settings: Any) -> Iterator[Finding]:
    server = subject.server
    kept = [alias for alias, each in settings.DATABASES.items() if _connects(each)]
    if not kept:
        return
    if server is not None and server.workers * server.threads * len(kept) > _FEW:
        yield Finding(
            code="django-connections",
            severity="note",
            state=f"With CONN_MAX_AGE, up to {server.workers * server.threads} connections stay "
            f"open to each of {', '.join(kept)}: one for each worker thread.",
            remedy="Compare that with what the database allows. PostgreSQL allows 100 by default.",
            page="docs/deployment.md#connections",
        )


_FEW = 90
"""Every database server allows at least this many connections."""


def _connects(database: dict[str, Any]) -> bool:
    """Whether each thread keeps a connection to a database server."""
    age = database.get("CONN_MAX_AGE", 0)
    return age != 0 and "sqlite" not in str(database.get("ENGINE"))
