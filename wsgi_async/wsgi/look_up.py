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
    """Have this asked for a key that is not in an environ; it returns None if it has nothing.

    For frameworks' test clients, which call no middleware. A second call does nothing.
    """
    if finder not in _finders:
        _finders.append(finder)


def loop_from(request: Mapping[str, Any] | Any) -> AsyncioLoopManager:
    """The loop manager of a request.

    Args:
        request: The WSGI environ, or a request object that has it as its `environ`, as those of
            Flask, Django, Pyramid and others do.

    Returns:
        What is in `environ["async.loop"]`: the manager of the worker thread that runs the request.

    Raises:
        LoopNotFound: The application is not wrapped, or the response has been closed already.
        TypeError: It is neither an environ nor such a request.
    """
    return _look_up(request, KEY)  # type: ignore[no-any-return]


def scope_from(request: Mapping[str, Any] | Any) -> RequestScope:
    """The scope of a request.

    Args:
        request: As `loop_from()` takes it.

    Returns:
        What is in `environ["async.scope"]`.

    Raises:
        LoopNotFound: The application is not wrapped, or the response has been closed already.
        TypeError: It is neither an environ nor such a request.
    """
    return _look_up(request, SCOPE_KEY)  # type: ignore[no-any-return]


def _look_up(request: Any, key: str) -> Any:
    environ = getattr(request, "environ", request)
    try:
        return environ[key]
    except KeyError:
        pass
    except TypeError:
        raise _not_wsgi(request) from None
    for finder in _finders:
        found = finder(environ, key)
        if found is not None:
            return found
    raise LoopNotFound(
        f"This environ has no {key!r}: the application is not wrapped, or the response is over. "
        "Wrap it once, with AsyncLoop(app) in Flask, get_wsgi_application() of "
        "wsgi_async.integrations.django in Django, elsewhere AsyncLoopMiddleware(app), and look it "
        "up while the request runs."
    ) from None


def _not_wsgi(request: object) -> Exception:
    if hasattr(request, "scope"):
        return LoopNotFound(
            f"{request!r} came from an ASGI server, or from a client that behaves like one. Use "
            "`await` in async code, and wsgi_async.run() in sync code."
        )
    return TypeError(f"{request!r} is neither a WSGI environ nor a request that has one.")
