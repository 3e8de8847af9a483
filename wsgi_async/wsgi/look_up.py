"""A request's manager and scope, from its environ or from a framework's request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from wsgi_async.core import LoopNotFound

from .bodies import KEY, SCOPE_KEY

if TYPE_CHECKING:
    from wsgi_async.core import AsyncioLoopManager
    from wsgi_async.scopes import RequestScope

__all__ = ["find_elsewhere", "loop_from", "scope_from"]

Finder = Callable[[Mapping[str, Any], str], Any]

_finders: list[Finder] = []


def find_elsewhere(finder: Finder) -> None:
    """Add a function that is asked for keys an environ lacks; it returns None if it has nothing.

    For the test clients of frameworks, which call no middleware. A second call does nothing.
    """
    if finder not in _finders:
        _finders.append(finder)


def loop_from(request: Mapping[str, Any] | Any) -> AsyncioLoopManager:
    """The loop manager of a request.

    Args:
        request: The WSGI environ, or a request object with an `environ` attribute, such as those of
            Flask, Django and Pyramid. Under ASGI, the scope, or a request object with a `scope`
            attribute.

    Returns:
        The manager in `environ["async.loop"]`, which belongs to the worker thread that runs the
        request. Under ASGI, the manager of the server's loop.

    Raises:
        LoopNotFound: The application is not wrapped, or the response has been closed already.
        TypeError: `request` is neither an environ nor such a request object.
    """
    return _look_up(request, KEY)  # type: ignore[no-any-return]


def scope_from(request: Mapping[str, Any] | Any) -> RequestScope:
    """The scope of a request.

    Args:
        request: The same objects as for `loop_from()`.

    Returns:
        The scope in `environ["async.scope"]`.

    Raises:
        LoopNotFound: The application is not wrapped, or the response has been closed already.
        TypeError: `request` is neither an environ nor such a request object.
    """
    return _look_up(request, SCOPE_KEY)  # type: ignore[no-any-return]


def _look_up(request: Any, key: str) -> Any:
    environ = getattr(request, "environ", None)
    if environ is None:
        environ = getattr(request, "scope", request)  # under ASGI
    try:
        return environ[key]
    except KeyError:
        pass
    except TypeError:
        raise TypeError(
            f"{request!r} is neither a WSGI environ nor a request that has one. Pass the request."
        ) from None
    for finder in _finders:
        found = finder(environ, key)
        if found is not None:
            return found
    raise (_not_wrapped_in_asgi(request) if _is_asgi(environ) else _not_wrapped(key)) from None


def _is_asgi(environ: Mapping[str, Any]) -> bool:
    return "type" in environ and "asgi" in environ


def _not_wrapped(key: str) -> LoopNotFound:
    return LoopNotFound(
        f"This environ has no {key!r}: the application is not wrapped, or the response is over. "
        "Wrap it once, with AsyncLoop(app) in Flask, get_wsgi_application() of "
        "wsgi_async.integrations.django in Django, elsewhere AsyncLoopMiddleware(app), and look it "
        "up while the request runs."
    )


def _not_wrapped_in_asgi(request: object) -> LoopNotFound:
    return LoopNotFound(
        f"{request!r} came from an ASGI server, or from a client that behaves like one, and its "
        "application is not wrapped. Wrap it in AsyncLoopMiddleware of wsgi_async.asgi, or use "
        "`await` in async code."
    )
