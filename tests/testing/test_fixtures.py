from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from tests.core.support import run_code

if TYPE_CHECKING:
    from pathlib import Path

    from tests.testing.conftest import RunSuite

APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield loop_from(environ).run(give(b"hello"))
"""


def test_a_test_gets_a_manager_of_its_own(run_suite: RunSuite) -> None:
    """`loop_manager` runs coroutines; two tests get two loops, each closed after its test."""
    run_suite(
        """
seen = []

@pytest.mark.parametrize("value", ["one", "two"])
def test_runs(loop_manager, value):
    assert loop_manager.run(give(value), timeout=10) == value
    assert get_or_create_loop_manager(strictly_get=True) is loop_manager
    seen.append(loop_manager.get_event_loop())

def test_each_had_its_own():
    first, second = seen
    assert first is not second
    assert first.is_closed() and second.is_closed()
    with pytest.raises(ManagerNotFound):
        get_or_create_loop_manager(strictly_get=True)
"""
    ).assert_outcomes(passed=3)


def test_a_manager_of_the_session_is_found_again(run_suite: RunSuite) -> None:
    """After a test with `loop_manager`, look-ups find the manager that was there before it."""
    run_suite(
        """
@pytest.fixture(scope="module")
def shared():
    manager = get_or_create_loop_manager()
    manager.start()
    yield manager
    manager.stop()

def test_own(shared, loop_manager):
    assert get_or_create_loop_manager() is loop_manager

def test_shared(shared):
    assert get_or_create_loop_manager() is shared
"""
    ).assert_outcomes(passed=2)


def test_options_reach_the_manager(run_suite: RunSuite) -> None:
    """What `loop_manager_options` returns is what the manager is made and started with."""
    run_suite(
        """
class Loop(asyncio.SelectorEventLoop):
    pass

@pytest.fixture
def loop_manager_options():
    return {"debug": True, "loop_factory": Loop, "id": "mine", "task_type": "fast"}

def test_options(loop_manager):
    assert loop_manager.run(give(1), task_type="fast") == 1
    assert isinstance(loop_manager.get_event_loop(), Loop)
    assert loop_manager.get_event_loop().get_debug()
    assert loop_manager.id == "mine"

def test_client_of_it(loop_manager, wsgi_client):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        assert loop_from(environ) is loop_manager
        return [loop_from(environ).run(give(b"typed"), task_type="fast")]

    assert wsgi_client(app).get("/").text == "typed"
"""
    ).assert_outcomes(passed=2)


def test_a_client_asks_the_app(run_suite: RunSuite) -> None:
    """`wsgi_client()` asks the suite's `wsgi_app`, `wsgi_client(app)` any app, wrapped or not."""
    run_suite(
        APP
        + """
@pytest.fixture(scope="session")
def wsgi_app():
    return app

def other(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    assert environ["told"] == "so"
    seen.append(loop_from(environ))
    return [b"other"]

seen = []

@pytest.mark.no_async_leaks
def test_clients(wsgi_client, loop_manager):
    assert wsgi_client().get("/").text == "hello"
    assert wsgi_client(AsyncLoopMiddleware(app)).get("/").text == "hello"
    client = wsgi_client(other, extra_environ={"told": "so"})
    assert client.get("/").text == "other"
    assert seen == [loop_manager]

def test_client_in_a_thread(wsgi_client):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(wsgi_client().get("/").text))
    thread.start()
    thread.join()
    assert answers == ["hello"]
"""
    ).assert_outcomes(passed=2)


def test_a_client_without_an_app_is_refused(run_suite: RunSuite) -> None:
    """Who has not said what to test is told how to."""
    run_suite(
        """
def test_no_app(wsgi_client):
    with pytest.raises(LookupError, match="override the fixture `wsgi_app`"):
        wsgi_client()
"""
    ).assert_outcomes(passed=1)


def test_webtest_is_only_needed_for_a_client(
    run_suite: RunSuite, pytester: pytest.Pytester
) -> None:
    """Without WebTest the plugin works, and `wsgi_client` says what to install."""
    pytester.makeconftest("import sys; sys.modules['webtest'] = None")
    run_suite(
        APP
        + """
def test_manager(loop_manager):
    assert loop_manager.run(give(1)) == 1

def test_client(wsgi_client):
    with pytest.raises(ImportError, match="Install webtest"):
        wsgi_client(app)
"""
    ).assert_outcomes(passed=2)


def test_what_webtest_misses_is_told_as_it_is(
    run_suite: RunSuite, pytester: pytest.Pytester
) -> None:
    """A broken WebTest is not taken for one that is not installed."""
    pytest.importorskip("webtest")
    pytester.makeconftest("import sys; sys.modules['webob'] = None")
    run_suite(
        APP
        + """
def test_client(wsgi_client):
    with pytest.raises(ModuleNotFoundError, match="webob"):
        wsgi_client(app)
"""
    ).assert_outcomes(passed=1)


def test_the_plugin_does_not_import_webtest(run_suite: RunSuite) -> None:
    """A suite that makes no client does not pay for WebTest, nor for its warnings."""
    run_suite(
        """
import sys

def test_modules(loop_manager):
    assert "webtest" not in sys.modules and "webob" not in sys.modules
"""
    ).assert_outcomes(passed=1)


def test_a_test_that_does_not_ask_is_left_alone(run_suite: RunSuite) -> None:
    """The plugin sets nothing up for it: a project that has the package installed pays nothing."""
    done = run_suite(
        """
import unittest

def test_function():
    assert not AsyncioLoopManager.all_instances()

class TestClass:
    def test_method(self):
        AsyncioLoopManager("left").start()

class Case(unittest.TestCase):
    def test_case(self):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
""",
        "--setup-show",
    )
    done.assert_outcomes(passed=3)
    shown = done.stdout.str()
    assert "test_method" in shown
    for name in ("loop_manager", "no_async_leaks", "wsgi_client", "wsgi_app", "wsgi_async"):
        assert name not in shown, shown


def test_the_package_does_not_import_the_plugin() -> None:
    """In production nothing of pytest is imported."""
    run_code("""
import sys, wsgi_async
assert not [name for name in sys.modules if name.startswith(("pytest", "wsgi_async.testing"))]
""")


def test_pytest_finds_it_by_itself(
    run_suite: RunSuite, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, checkout: Path
) -> None:
    """Once installed it is on, and `-p no:wsgi_async` switches it off."""
    project = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]
    ((name, module),) = project["entry-points"]["pytest11"].items()
    # Stands for the installed metadata, which an editable install may have from before.
    installed = pytester.mkdir("installed-1.dist-info")
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: installed\nVersion: 1\n")
    (installed / "entry_points.txt").write_text(f"[pytest11]\n{name} = {module}\n")
    suite = "def test_it(loop_manager): assert loop_manager.run(give(1)) == 1"
    run_suite(suite, plugin="wsgi_async").assert_outcomes(passed=1)
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    # Our own and no others.
    others = ["-p", "no:xdist", "-p", "no:timeout", "-p", "no:anyio"]
    run_suite(suite, *others, plugin="no:cacheprovider").assert_outcomes(passed=1)
    off = run_suite(suite, *others, plugin="no:wsgi_async")
    off.assert_outcomes(errors=1)
    off.stdout.fnmatch_lines(["*fixture 'loop_manager' not found*"])


def test_helps_say_what_there_is(run_suite: RunSuite) -> None:
    """`pytest --fixtures` and `--markers` tell of the plugin."""
    run_suite("", "--fixtures").stdout.fnmatch_lines_random(
        ["loop_manager *", "loop_manager_options *", "wsgi_client *", "wsgi_app *"]
    )
    run_suite("", "--markers").stdout.fnmatch_lines_random(
        ["@pytest.mark.no_async_leaks: *", "@pytest.mark.allow_async_leaks: *"]
    )
