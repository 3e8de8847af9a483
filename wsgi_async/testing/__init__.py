"""A pytest plugin for testing code that uses this package. It requires pytest.

pytest finds it automatically once the package is installed. `-p no:wsgi_async` turns it off. It has
these fixtures:

-   `loop_manager`: a started `AsyncioLoopManager` of the test's own thread, stopped after the test.
-   `wsgi_client`: makes WebTest clients of an app, with the middleware on and `loop_manager` in
    `environ["async.loop"]`.
-   `no_async_leaks`: fails a test that leaves tasks, loops or threads behind, and names them.

The function `wait_for_tasks()` waits for the tasks that a view has left in the background.

These fixtures are for a test suite to override:

-   `loop_manager_options`: a dict of what `loop_manager` is made with.
-   `wsgi_app`: the application that `wsgi_client()` takes when it is given none.

The leak check is turned on by the fixture, by the marker `no_async_leaks`, or for all tests by
`wsgi_async_leaks = true` in pytest's configuration; the marker `allow_async_leaks` then exempts a
test. `wsgi_async_leaks_ignore` lists patterns for the names of threads to ignore, one per line. A
test that leaves something behind gets an error at its teardown, after the fixtures that
were set up later than the check have cleaned up.
"""

from .leaks import LeakCheck
from .plugin import (
    WsgiClient,
    loop_manager,
    loop_manager_options,
    no_async_leaks,
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_configure,
    wsgi_app,
    wsgi_client,
)
from .unfinished import wait_for_tasks

__all__ = [
    "LeakCheck",
    "WsgiClient",
    "loop_manager",
    "loop_manager_options",
    "no_async_leaks",
    "pytest_addoption",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "wait_for_tasks",
    "wsgi_app",
    "wsgi_client",
]
