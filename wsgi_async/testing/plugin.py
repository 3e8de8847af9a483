"""The pytest plugin's hooks and fixtures."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from wsgi_async.core import AsyncioLoopManager, get_or_create_loop_manager
from wsgi_async.core.base import threads
from wsgi_async.middleware import AsyncLoopMiddleware

from .leaks import LeakCheck

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from wsgiref.types import WSGIApplication

__all__ = [
    "WsgiClient",
    "loop_manager",
    "loop_manager_options",
    "no_async_leaks",
    "pytest_addoption",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "wsgi_app",
    "wsgi_client",
]

_SWITCH = "wsgi_async_leaks"
_IGNORE = "wsgi_async_leaks_ignore"
_CHECK = pytest.StashKey[LeakCheck]()


class WsgiClient(Protocol):
    """The fixture `wsgi_client`, which creates WebTest clients. Lives as long as the test."""

    def __call__(self, app: WSGIApplication | None = None, **options: Any) -> Any:
        """Make a client whose requests run in the calling thread.

        Args:
            app: The application. None uses the fixture `wsgi_app`. It may be wrapped in the
                middleware already.
            **options: For `webtest.TestApp`.

        Returns:
            A `webtest.TestApp`.

        Raises:
            ImportError: WebTest is not installed.
            LookupError: There is no app.
        """


def pytest_addoption(parser: pytest.Parser) -> None:
    """Make the settings known to pytest."""
    parser.addini(
        _SWITCH,
        "fail every test that leaves asyncio tasks, event loops or threads behind",
        type="bool",
        default=False,
    )
    parser.addini(
        _IGNORE,
        "patterns of the names of threads that are not a test's own, one a line, as in `sentry-*`",
        type="linelist",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known to pytest, and turn the check on for all tests if configured."""
    for line in (
        "no_async_leaks: fail the test if it leaves asyncio tasks, event loops or threads behind",
        f"allow_async_leaks: leave the test out of {_SWITCH} = true",
    ):
        config.addinivalue_line("markers", line)
    if config.getini(_SWITCH):
        config.addinivalue_line("usefixtures", "no_async_leaks")


# -- the manager -----------------------------------------------------------------------------------


@pytest.fixture
def loop_manager_options() -> dict[str, Any]:
    """Override this fixture to return options for `loop_manager`, as a dict.

    The options are the keyword arguments of AsyncioLoopManager (`loop_factory`, `debug` and
    others), its `id`, and the `task_type` that it is started with.
    """
    return {}


@pytest.fixture
def loop_manager(
    request: pytest.FixtureRequest, loop_manager_options: dict[str, Any]
) -> Iterator[AsyncioLoopManager]:
    """A started AsyncioLoopManager of the test's own thread, stopped after the test.

    `get_or_create_loop_manager()` finds it. With the leak check on, a task that the test leaves on
    it counts as left behind.
    """
    with _manager_of_a_test(**loop_manager_options) as manager:
        yield manager
        check = request.node.stash.get(_CHECK, None)
        if check is not None:
            check.look_at(manager)  # a stopped manager has no tasks left to name


@contextmanager
def _manager_of_a_test(
    *, id: Any = None, task_type: Any = None, **options: Any
) -> Generator[AsyncioLoopManager]:
    node = threads.current_node()
    displaced = node.found.get(id)  # for example, a manager of the whole session
    manager = get_or_create_loop_manager(id, force_create=True, **options)
    try:
        manager.start(task_type)
        yield manager
    finally:
        manager.stop()
        if displaced is not None:
            node.found.setdefault(id, displaced)


# -- the client ------------------------------------------------------------------------------------


@pytest.fixture
def wsgi_app() -> WSGIApplication | None:
    """Override this fixture to return the WSGI application that wsgi_client() uses by default."""
    return None


@pytest.fixture
def wsgi_client(loop_manager: AsyncioLoopManager, wsgi_app: WSGIApplication | None) -> WsgiClient:
    """Makes WebTest clients: `wsgi_client()` of the fixture `wsgi_app`, or `wsgi_client(app)`.

    The middleware is on, and `loop_manager` is in `environ["async.loop"]`.
    """

    def make(app: WSGIApplication | None = None, **options: Any) -> Any:
        chosen = wsgi_app if app is None else app
        if chosen is None:
            raise LookupError(
                "There is no app to make a client of. Pass one, `wsgi_client(app)`, or override "
                "the fixture `wsgi_app` so that it returns one."
            )
        wrapped = AsyncLoopMiddleware(
            chosen, id=loop_manager.id, task_type=loop_manager.task_type, force_create=False
        )
        return _webtest().TestApp(wrapped, **options)

    return make


def _webtest() -> Any:
    with warnings.catch_warnings():
        # WebOb, which WebTest uses, imports `cgi` up to Python 3.12. Warnings may be errors here.
        warnings.filterwarnings("ignore", "'cgi' is deprecated", DeprecationWarning)
        try:
            import webtest  # noqa: PLC0415 - optional, and slow to import
        except ModuleNotFoundError as error:
            if error.name != "webtest":
                raise
            raise ImportError(
                "wsgi_client needs WebTest, which is not installed. Install webtest, or "
                "wsgi_async with its extra `testing`."
            ) from None
    return webtest


# -- the leak check --------------------------------------------------------------------------------


@pytest.fixture
def no_async_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails the test if it leaves asyncio tasks, event loops or threads behind, and names them."""
    if request.node.get_closest_marker("allow_async_leaks"):
        yield
        return
    check = LeakCheck(ignored_threads=request.config.getini(_IGNORE))
    request.node.stash[_CHECK] = check
    yield
    del request.node.stash[_CHECK]
    leaks = check.leaks()
    if leaks:
        # The first leak is on the first line, because pytest's summary only shows that line.
        pytest.fail("The test left behind " + "\nand ".join(leaks), pytrace=False)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Turn on `no_async_leaks` for tests with the marker; other tests do not change."""
    for item in items:
        if item.get_closest_marker("no_async_leaks"):
            _switch_on(item)


def _switch_on(item: Any) -> None:
    """Add the fixture before the test's own fixtures, so that the check runs after their cleanup.

    Fixtures of a wider scope come first: what they open is meant to stay open.
    """
    names: list[str] = getattr(item, "fixturenames", ["no_async_leaks"])
    if "no_async_leaks" in names:
        return
    # There is no public way to find a fixture's scope.
    found = item._fixtureinfo.name2fixturedefs  # noqa: SLF001
    wider = [name for name in names if name in found and found[name][-1].scope != "function"]
    # The items of a parametrized function share one list.
    item.fixturenames = [*wider, "no_async_leaks", *(name for name in names if name not in wider)]
