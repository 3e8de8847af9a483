"""Find the parts of an app. Check that the middleware is one of them, once, with a timeout."""

from __future__ import annotations

import functools
import inspect
import itertools
from types import FunctionType
from typing import TYPE_CHECKING, Any, cast

from wsgi_async.middleware import AsyncLoopMiddleware

from .findings import Finding, options_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .findings import Part, Subject

__all__ = ["check_wrapping", "middlewares_of", "parts_of"]

_ATTRIBUTES = (
    "wsgi_app",
    "app",
    "application",
    "wsgi",
    "wrap_app",
    "wrapped",
    "_app",
    "_wsgi_app",
    "_application",
    "_served",
    "__wrapped__",
    "__self__",
)
"""The attributes in which middleware and frameworks keep the application that they call."""

_MOST = 200
"""The most parts to look at."""


def parts_of(app: Part) -> list[Part]:
    """An app and everything inside it, one level after the other."""
    parts, seen = [app], {id(app)}
    for part in parts:  # the list grows meanwhile
        for inner in _inside(part):
            if id(inner) not in seen and len(parts) < _MOST:
                seen.add(id(inner))
                parts.append(inner)
    return parts


def middlewares_of(parts: list[Part]) -> list[AsyncLoopMiddleware]:
    """The parts that are our middleware."""
    return [part for part in parts if isinstance(part, AsyncLoopMiddleware)]


def _inside(part: Part) -> Iterator[Part]:
    """The parts that a part may call."""
    if isinstance(part, FunctionType):
        found = _of_function(part)
    elif isinstance(part, functools.partial):
        found = [part.func, *part.args, *part.keywords.values()]
    else:
        found = [inner for name in _ATTRIBUTES if callable(inner := _get(part, name))]
        mounts = _get(part, "mounts")  # werkzeug's DispatcherMiddleware
        found += filter(callable, _items(mounts))
        if not found:
            found = _of_unknown(part)
    return (each for each in found if callable(each) and not isinstance(each, type))


def _of_function(function: FunctionType) -> list[Any]:
    """The values in a function's closure, and our middleware if the function calls it by name."""
    cells = [_get(cell, "cell_contents") for cell in function.__closure__ or ()]
    names = (function.__globals__.get(name) for name in function.__code__.co_names)
    wrapped = _get(function, "__wrapped__")
    return [*cells, wrapped, *(each for each in names if isinstance(each, AsyncLoopMiddleware))]


def _of_unknown(part: Part) -> list[Any]:
    """What somebody's own middleware or router holds, and what its `__call__()` uses."""
    values = _items(_get(part, "__dict__"))
    call = _get(type(part), "__call__")
    used = _of_function(call) if isinstance(call, FunctionType) else []
    return [*values, *itertools.chain.from_iterable(map(_items, values)), *used]


def _items(value: Part) -> list[Any]:
    if type(value) is dict:
        value = tuple(value.values())  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return list(cast("list[Any]", value)) if type(value) in (list, tuple) else []


def _get(part: Part, name: str) -> Any:
    try:
        return getattr(part, name, None)
    except Exception:
        return None  # raised by an empty cell, or by a proxy outside of a request


def check_wrapping(subject: Subject) -> Iterator[Finding]:
    """Check that the middleware is there, is there once, and limits the time of requests."""
    if _is_asgi(subject.app):
        yield _asgi(subject)
    elif not subject.middlewares:
        yield _not_wrapped(subject)
    else:
        yield from _wrapped_twice(subject)
        yield from _no_timeout(subject)


def _is_asgi(app: Part) -> bool:
    call = getattr(cast("Any", type(app)), "__call__", None)  # noqa: B004 - whether it is async
    return inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(call)


def _asgi(subject: Subject) -> Finding:
    return Finding(
        code="asgi-app",
        severity="error",
        state=f"{subject.name} is an ASGI app.",
        remedy="Name the WSGI app. The doctor does not examine ASGI apps.",
        page="docs/choose.md#stay-on-wsgi-or-move-to-asgi",
    )


def _not_wrapped(subject: Subject) -> Finding:
    remedy, page = _how_to_wrap(subject)
    return Finding(
        code="not-wrapped",
        severity="error",
        state=f"No middleware of wsgi_async was found around {subject.name} or in it.",
        remedy=remedy,
        page=page,
    )


def _is_inside(part: Part, outer: Part) -> bool:
    return any(each is part for each in parts_of(outer)[1:])


def _how_to_wrap(subject: Subject) -> tuple[str, str]:
    for name, value in vars(subject.module).items():
        if isinstance(value, AsyncLoopMiddleware) and _is_inside(subject.app, value):
            other = f"{subject.module.__name__}:{name}"
            return f"Serve {other}, which wraps it.", "docs/frameworks.md"
    if subject.find("flask.Flask") is not None:
        advice = "Call AsyncLoop(app) of wsgi_async.integrations.flask where the app is made."
        return advice, "docs/flask.md#set-it-up"
    if subject.find("django.core.handlers.wsgi.WSGIHandler") is not None:
        advice = "Import get_wsgi_application from wsgi_async.integrations.django in wsgi.py."
        return advice, "docs/django.md#set-it-up"
    return "Serve AsyncLoopMiddleware(app) of wsgi_async in its place.", "docs/frameworks.md"


def _wrapped_twice(subject: Subject) -> Iterator[Finding]:
    """Find nested middlewares. Apps side by side may each have one, as each AsgiMount does."""
    of_mounts = [mount._served for mount in subject.find_all("wsgi_async.asgi.AsgiMount")]  # noqa: SLF001 - our own
    nested = [
        (outer, inner)
        for outer, inner in itertools.permutations(subject.middlewares, 2)
        if options_of(outer) != options_of(inner)
        and _is_inside(inner, outer)
        and not any(inner is each for each in of_mounts)
    ]
    if nested:
        yield Finding(
            code="wrapped-twice",
            severity="warning",
            state="The app is wrapped more than once, with different options. Only the outermost "
            "middleware's have an effect.",
            remedy="Keep one of them, with all options.",
            page="docs/reference/middleware.md",
        )


def _no_timeout(subject: Subject) -> Iterator[Finding]:
    if subject.options is not None and subject.options.timeout is None:
        yield Finding(
            code="no-timeout",
            severity="note",
            state="Requests have no time limit, so a call that hangs occupies its thread forever.",
            remedy="Set one where you wrap the app, for example timeout=30.",
            page="docs/timeouts.md#limit-every-request",
        )
