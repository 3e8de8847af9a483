"""Whether the middleware is found around an app, wherever it is."""

from __future__ import annotations

import functools
import types
from typing import TYPE_CHECKING, Any

import pytest

from tests.doctor.parts import hello, severities, subject
from wsgi_async import AsyncLoopMiddleware
from wsgi_async.asgi import AsgiMount
from wsgi_async.doctor.wrapping import check_wrapping

if TYPE_CHECKING:
    from collections.abc import Callable

wrapped = AsyncLoopMiddleware(hello, timeout=30)


class Around:
    """A middleware as most are."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return self.app(environ, start_response)

    def serve(self, environ: Any, start_response: Any) -> Any:
        return self(environ, start_response)


class Proxy(Around):
    """A middleware with an attribute that is there in requests only."""

    @property
    def wsgi_app(self) -> Any:
        raise RuntimeError("outside of a request")


class Slotted:
    __slots__ = ("application",)

    def __init__(self, app: Any) -> None:
        self.application = app

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return self.application(environ, start_response)


class OtherName:
    def __init__(self, app: Any) -> None:
        self.inner = app

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return self.inner(environ, start_response)


class Router:
    def __init__(self, app: Any) -> None:
        self.routes = {"/": hello, "/api": app}

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return self.routes[environ["PATH_INFO"]](environ, start_response)


def local_class(app: Any) -> Any:
    class Timing:
        def __call__(self, environ: Any, start_response: Any) -> Any:
            return app(environ, start_response)

    return Timing()


def closure(app: Any) -> Any:
    def call(environ: Any, start_response: Any) -> Any:
        return app(environ, start_response)

    return call


def decorated(app: Any) -> Any:
    @functools.wraps(app)
    def call(*args: Any) -> Any:
        return app(*args)

    return call


def by_name(environ: Any, start_response: Any) -> Any:
    return wrapped(environ, start_response)


def dispatcher(app: Any) -> Any:
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    return DispatcherMiddleware(hello, {"/api": app})


def proxy_fix(app: Any) -> Any:
    from werkzeug.middleware.proxy_fix import ProxyFix

    return ProxyFix(app)


def flask_app(app: Any) -> Any:
    from flask import Flask

    made = Flask(__name__)
    made.wsgi_app = app  # type: ignore[method-assign]
    return made


WAYS: dict[str, Callable[[Any], Any]] = {
    "an attribute": Around,
    "an attribute beside one that fails": Proxy,
    "a slot": Slotted,
    "an attribute of another name": OtherName,
    "a router": Router,
    "a class around a variable": local_class,
    "a closure": closure,
    "a decorator": decorated,
    "a bound method": lambda app: Around(app).serve,
    "a partial": lambda app: functools.partial(Around(app)),
    "a global variable": lambda app: by_name,
    "several": lambda app: closure(Around(Slotted(closure(app)))),
    "a dispatcher": dispatcher,
    "werkzeug's proxy fix": proxy_fix,
    "Flask": flask_app,
}


@pytest.mark.parametrize("way", WAYS)
def test_the_middleware_is_found_inside_of_others(way: str) -> None:
    """An app is not called unwrapped because something is around its middleware."""
    if way in ("a dispatcher", "werkzeug's proxy fix", "Flask"):
        pytest.importorskip("flask")
    assert severities(check_wrapping(subject(WAYS[way](wrapped)))) == {}


@pytest.mark.parametrize("app", [hello, closure(hello), Around(hello)])
def test_an_app_without_the_middleware_gets_an_error(app: Any) -> None:
    """Who has forgotten the middleware is told how to add it."""
    (found,) = check_wrapping(subject(app))
    assert (found.code, found.severity) == ("not-wrapped", "error")
    assert "AsyncLoopMiddleware(app)" in found.remedy


def test_a_flask_app_is_told_of_the_extension() -> None:
    """Who has a Flask app is told to use the extension instead of the bare middleware."""
    flask = pytest.importorskip("flask")
    (found,) = check_wrapping(subject(flask.Flask(__name__)))
    assert "AsyncLoop(app)" in found.remedy
    assert found.page == "docs/flask.md#set-it-up"


def test_the_wrong_one_of_two_names_is_noticed() -> None:
    """Who serves the inner app is told the name of the wrapped one."""
    module = types.ModuleType("served")
    vars(module).update(app=hello, application=wrapped)
    (found,) = check_wrapping(subject(hello, module=module))
    assert "Serve served:application" in found.remedy


def test_a_wrapped_app_in_another_one_gets_a_warning_if_it_differs() -> None:
    """Options that have no effect, because an outer middleware acts, are reported."""
    twice = AsyncLoopMiddleware(wrapped, timeout=5)
    assert severities(check_wrapping(subject(twice))) == {"wrapped-twice": "warning"}
    assert severities(check_wrapping(subject(AsyncLoopMiddleware(wrapped, timeout=30)))) == {}


def test_a_mounted_asgi_app_is_wrapped() -> None:
    """Alone, and in an app with a middleware and options of its own."""

    async def api(scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError

    mount = AsgiMount(api, timeout=30)
    assert severities(check_wrapping(subject(mount))) == {}
    assert subject(mount).options == AsgiMount(api, timeout=30)._served._provider.options  # pyright: ignore[reportPrivateUsage]
    outer = AsyncLoopMiddleware(dispatcher(mount), timeout=60)
    assert severities(check_wrapping(subject(outer))) == {}


def test_two_apps_side_by_side_are_not_one_in_another() -> None:
    """Two mounted apps may have different options, because only one of them gets a request."""
    pytest.importorskip("werkzeug")
    other = AsyncLoopMiddleware(closure(hello), timeout=5)
    both = dispatcher(Around(wrapped))
    both.app = other
    assert severities(check_wrapping(subject(both))) == {}


def test_no_time_limit_gets_a_note() -> None:
    """A request without a time limit is worth knowing of, and no failure."""
    assert severities(check_wrapping(subject(AsyncLoopMiddleware(hello)))) == {"no-timeout": "note"}


class Asgi:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer nothing."""


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """Answer nothing."""


@pytest.mark.parametrize("app", [Asgi(), asgi])
def test_an_asgi_app_is_told_apart(app: Any) -> None:
    """Who names an ASGI app is not told to wrap it."""
    assert severities(check_wrapping(subject(app))) == {"asgi-app": "error"}
