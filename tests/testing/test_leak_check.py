from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

    from tests.testing.conftest import RunSuite

ON = "wsgi_async_leaks = true"


def leaks(done: pytest.RunResult) -> list[str]:
    """The summary's line for each test that left something behind."""
    return [line for line in done.outlines if line.startswith("ERROR ")]


def test_each_kind_of_leak_fails_its_test_and_is_named(run_suite: RunSuite) -> None:
    """A task, a loop, a thread or a manager that is left fails the test, by name and way out."""
    done = run_suite(
        """
kept = []
gate = threading.Event()

def test_coroutine(loop_manager):
    loop_manager.submit_task(forever())

def test_task(loop_manager):
    async def begin():
        kept.append(asyncio.create_task(forever(), name="begun"))
    loop_manager.run(begin())

def test_loop():
    loop = asyncio.new_event_loop()
    loop.create_task(forever())
    kept.append(loop)

def poll():
    gate.wait()

def test_thread():
    threading.Thread(target=poll, name="poller").start()

def test_manager():
    AsyncioLoopManager("mine").start()

def test_end():
    gate.set()
    for task in asyncio.all_tasks(kept[1]):
        task.cancel()
    kept[1].call_soon(kept[1].stop)
    kept[1].run_forever()
    kept[1].close()
""",
        ini=ON,
    )
    done.assert_outcomes(passed=6, errors=5)
    done.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_coroutine*",
            "The test left behind the coroutine forever (*:10), unfinished on *. Wait for its *",
            "*ERROR at teardown of test_task*",
            "The test left behind the task 'begun', forever (*:10), on the loop of *",
            "*ERROR at teardown of test_loop*",
            "The test left behind the event loop <*> with the pending forever (*), never closed.*",
            "*ERROR at teardown of test_thread*",
            "The test left behind the thread 'poller' in poll (*), still alive. End and join*",
            "*ERROR at teardown of test_manager*",
            "The test left behind <AsyncioLoopManager id='mine' *>, started in the test *",
        ]
    )
    assert len(leaks(done)) == 5


def test_a_task_on_a_loop_of_a_wider_fixture(run_suite: RunSuite) -> None:
    """It fails the test that has left it, where nobody runs the loop, as a server does."""
    done = run_suite(
        """
@pytest.fixture(scope="module")
def idle():
    loop = asyncio.new_event_loop()
    older = loop.create_task(forever())
    loop.run_until_complete(asyncio.sleep(0))
    yield loop
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()

@pytest.fixture(scope="module")
def running():
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        yield loop
        loop.call_soon_threadsafe(loop.stop)
        thread.join()

def test_nothing(idle):
    idle.run_until_complete(asyncio.sleep(0))

def test_idle(idle):
    idle.create_task(forever(), name="mine")

def test_running(running):
    asyncio.run_coroutine_threadsafe(forever(), running)

def test_left_before(idle, running):
    pass
""",
        ini=ON,
    )
    done.assert_outcomes(passed=4, errors=1)
    done.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_idle*",
            "The test left behind the task 'mine', forever (*), on the loop <*>. Await it, or *",
        ]
    )


def test_a_clean_test_passes(run_suite: RunSuite) -> None:
    """What is ended, closed, joined or done in a moment is no leak, and each fixture's is not."""
    run_suite(
        """
import concurrent.futures
from werkzeug.test import Client

@pytest.fixture(scope="module")
def shared():
    manager = AsyncioLoopManager("shared")
    manager.start()
    background = manager.submit_task(forever())
    yield manager
    background.cancel()
    manager.stop()

@pytest.fixture(scope="module")
def pool():
    with concurrent.futures.ThreadPoolExecutor() as pool:
        yield pool

@pytest.fixture
def poller():
    gate = threading.Event()
    thread = threading.Thread(target=gate.wait)
    thread.start()
    yield
    gate.set()
    thread.join()

def test_audit_log(loop_manager):
    loop_manager.submit_task(asyncio.sleep(0.05))

def test_unstarted_audit_log(loop_manager):
    loop_manager.submit_task(asyncio.sleep(0), return_sync_future=True)

def test_run(loop_manager):
    assert loop_manager.run(give(1)) == 1

def test_shared_with_its_pool(shared):
    assert shared.run(asyncio.to_thread(int, "1")) == 1

def test_pool(pool):
    assert pool.submit(int, "1").result() == 1

def test_fixture(poller):
    pass

def test_asyncio_run():
    assert asyncio.run(give(1)) == 1

def test_thread():
    threading.Thread(target=int).start()

def test_manager_of_a_thread():
    thread = threading.Thread(target=lambda: get_or_create_loop_manager().start())
    thread.start()

def test_pool_that_nobody_holds():
    class Owner:
        def __init__(self):
            self.me, self.pool = self, concurrent.futures.ThreadPoolExecutor()
    assert Owner().pool.submit(int, "1").result() == 1

def test_middleware():
    # Not the fixture's: it lives as long as the thread, for the next test too.
    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [loop_from(environ).run(asyncio.to_thread(bytes, 1))]
    assert Client(AsyncLoopMiddleware(app)).get("/").data == bytes(1)

def test_stopped():
    manager = AsyncioLoopManager()
    manager.start()
    manager.submit_task(forever())
    manager.stop()
""",
        ini=ON,
    ).assert_outcomes(passed=12)


def test_what_a_view_leaves_is_the_tests(run_suite: RunSuite) -> None:
    """A task of the app under test is named, on whichever manager its request found."""
    done = run_suite(
        """
from werkzeug.test import Client

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    loop_from(environ).submit_task(forever())
    return [b""]

def test_fixture(wsgi_client):
    wsgi_client(app).get("/")

def test_by_hand():
    Client(AsyncLoopMiddleware(app)).get("/")

def test_reported_once():
    pass
""",
        ini=ON,
    )
    done.assert_outcomes(passed=3, errors=2)
    assert all("the coroutine forever" in line for line in leaks(done))


def test_the_check_is_chosen(run_suite: RunSuite) -> None:
    """The fixture and the marker switch it on for a test; without them nothing is checked."""
    done = run_suite(
        """
def leave():
    AsyncioLoopManager("left").start()

def test_unchecked():
    leave()

def test_fixture(no_async_leaks):
    leave()

@pytest.mark.no_async_leaks
def test_marker():
    leave()

def test_of_a_manager_that_is_older(loop_manager, no_async_leaks):
    loop_manager.submit_task(forever())
"""
    )
    done.assert_outcomes(passed=4, errors=3)
    names = [line.split()[1].rpartition("::")[2] for line in leaks(done)]
    assert names == ["test_fixture", "test_marker", "test_of_a_manager_that_is_older"]


def test_a_test_and_a_thread_can_be_let_out(run_suite: RunSuite) -> None:
    """The marker leaves a test out; threads of libraries are ignored by name."""
    done = run_suite(
        """
def leave(name):
    threading.Thread(target=threading.Event().wait, name=name, daemon=True).start()

@pytest.mark.allow_async_leaks
def test_allowed():
    leave("mine")

def test_ignored():
    leave("sentry-worker-1")
    leave("statsd")

def test_not_ignored():
    leave("sentry")
""",
        ini=f"{ON}\nwsgi_async_leaks_ignore =\n    sentry-*\n    statsd\n",
    )
    done.assert_outcomes(passed=3, errors=1)
    (line,) = leaks(done)
    assert "the thread 'sentry'" in line


def test_unittest_classes_are_checked(run_suite: RunSuite) -> None:
    """Django's way of writing tests gets the check too, by the setting and by the marker."""
    suite = """
import unittest

class Tests(unittest.TestCase):
    def test_leaves(self):
        AsyncioLoopManager("left").start()
"""
    run_suite(suite, ini=ON).assert_outcomes(passed=1, errors=1)
    run_suite(suite.replace("class", "@pytest.mark.no_async_leaks\nclass")).assert_outcomes(
        passed=1, errors=1
    )
    run_suite(suite).assert_outcomes(passed=1)


def test_a_marker_holds_where_it_stands(run_suite: RunSuite) -> None:
    """On a class, on one parameter, or added by a hook: those tests are checked, and no others."""
    done = run_suite(
        """
class Leaves:
    def test_leave(self):
        AsyncioLoopManager("left").start()

class TestUnchecked(Leaves):
    pass

@pytest.mark.no_async_leaks
class TestChecked(Leaves):
    pass

@pytest.mark.parametrize("way", ["one", pytest.param("two", marks=pytest.mark.no_async_leaks)])
def test_way(way):
    AsyncioLoopManager(way).start()
""",
    )
    done.assert_outcomes(passed=4, errors=2)
    names = [line.split()[1].partition("::")[2] for line in leaks(done)]
    assert names == ["TestChecked::test_leave", "test_way[two]"]


def test_a_marker_of_a_hook_is_heeded(run_suite: RunSuite, pytester: pytest.Pytester) -> None:
    """A conftest.py may choose the tests that are checked."""
    pytester.makeconftest("""
def pytest_collection_modifyitems(items):
    for item in items:
        if item.name == "test_chosen":
            item.add_marker("no_async_leaks")
""")
    done = run_suite("""
def test_chosen():
    AsyncioLoopManager("left").start()

def test_other():
    AsyncioLoopManager("left").start()
""")
    done.assert_outcomes(passed=2, errors=1)


def test_what_has_no_fixtures_cannot_be_checked(
    run_suite: RunSuite, pytester: pytest.Pytester
) -> None:
    """A marker on a test that is no Python function has no effect, and does no harm."""
    pytester.makeconftest("""
import pytest

class Line(pytest.Item):
    def runtest(self):
        pass

class Text(pytest.File):
    def collect(self):
        line = Line.from_parent(self, name="line")
        line.add_marker("no_async_leaks")
        yield line

def pytest_collect_file(file_path, parent):
    return Text.from_parent(parent, path=file_path) if file_path.suffix == ".txt" else None
""")
    pytester.maketxtfile("line")
    run_suite("def test_function(): pass").assert_outcomes(passed=2)


def test_what_a_wider_fixture_opens_stays(run_suite: RunSuite) -> None:
    """The first test that uses it is not blamed for it; the test's own fixtures clean up first."""
    suite = """
@pytest.fixture(scope="module")
def shared():
    manager = AsyncioLoopManager("shared")
    manager.start()
    yield manager
    manager.stop()

@pytest.fixture
def started():
    threads = []
    yield threads
    for thread, gate in threads:
        gate.set()
        thread.join()

def test_it(started, shared):
    gate = threading.Event()
    thread = threading.Thread(target=gate.wait)
    thread.start()
    started.append((thread, gate))
    assert shared.run(give(1)) == 1
"""
    run_suite(suite, ini=ON).assert_outcomes(passed=1)
    marked = f"pytestmark = pytest.mark.no_async_leaks\n{suite}"
    run_suite(marked).assert_outcomes(passed=1)
