from __future__ import annotations

import importlib.util
import signal

import pytest

from tests.servers.process import gunicorn, run_script

needs_gevent = pytest.mark.skipif(
    importlib.util.find_spec("gevent") is None, reason="gevent is not installed"
)
needs_eventlet = pytest.mark.skipif(
    importlib.util.find_spec("eventlet") is None, reason="eventlet is not installed"
)

TRY = """
from wsgi_async import AsyncLoopMiddleware

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"reached"]

{before}
app = AsyncLoopMiddleware(app)
print("wrapped")
{between}
print(app({{}}, lambda status, headers: None))
"""

CATCH = """
import warnings
warnings.simplefilter("ignore")  # of gevent's and eventlet's own
try:
    exec({code!r})
except RuntimeError as error:
    print(error)
"""


def refused(before: str = "", between: str = "") -> str:
    """What the middleware says in a process that patches at one of two moments."""
    return run_script(CATCH.format(code=TRY.format(before=before, between=between)))


@needs_gevent
def test_gevent_that_has_patched_threading_is_refused_at_construction() -> None:
    """Who would get a greenlet for a thread is told so when the application is wrapped."""
    said = refused(before="from gevent import monkey; monkey.patch_all()")
    assert said.startswith("gevent has patched threading")
    assert "--worker-class gthread" in said


@needs_gevent
def test_gevent_that_patches_threading_later_is_refused_at_the_first_request() -> None:
    """The same when the patch comes after the application was wrapped."""
    said = refused(between="from gevent import monkey; monkey.patch_all()")
    assert said.startswith("wrapped\ngevent has patched threading")


@needs_gevent
def test_gevent_that_leaves_threading_alone_is_no_reason_to_refuse() -> None:
    """That gevent is installed, imported, or patches other things does no harm."""
    assert "reached" in refused(before="from gevent import monkey; monkey.patch_socket()")


@needs_eventlet
def test_eventlet_that_has_patched_threading_is_refused() -> None:
    """As with gevent, at construction and at the first request."""
    # Its own copy of dnspython imports what it finds of HTTP libraries, which may fail.
    patch = "import os; os.environ['EVENTLET_NO_GREENDNS'] = 'yes'\n"
    patch += "import eventlet; eventlet.monkey_patch()"
    assert refused(before=patch).startswith("eventlet has patched threading")
    assert refused(between=patch).startswith("wrapped\neventlet has patched threading")


@needs_gevent
@pytest.mark.gunicorn
def test_a_gunicorn_gevent_worker_logs_the_way_out() -> None:
    """The operator who chose the wrong worker class finds the right one in the log."""
    with gunicorn("tests.servers.apps:app", worker_class="gevent") as server:
        server.wait_for(
            "RuntimeError: gevent has patched threading.*gunicorn --worker-class gthread"
        )
        assert server.wait() != 0


@needs_gevent
@pytest.mark.gunicorn
def test_a_preloaded_gevent_worker_answers_500_and_logs_the_way_out() -> None:
    """With --preload gevent patches after the application was wrapped: the request is refused."""
    with gunicorn("tests.servers.apps:app", "--preload", worker_class="gevent") as server:
        response, _ = server.request("/where")
        assert response.status == 500
        server.wait_for("RuntimeError: gevent has patched threading")
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
