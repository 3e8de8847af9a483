"""Functions with a task type run where the type's route leads."""

from __future__ import annotations

import asyncio
import inspect
import os
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import Worker
from tests.routing import work
from tests.servers.process import run_script
from wsgi_async import (
    AsyncioLoopManager,
    AsyncLoopMiddleware,
    ManagerNotFound,
    SyncFuture,
    UnknownAsyncTaskError,
    current_manager,
    get_or_create_loop_manager,
    run,
)
from wsgi_async.core.base.deadlines import bounded
from wsgi_async.routing import (
    Manager,
    Route,
    RouteNotFound,
    async_task,
    override_routes,
    set_routes,
)
from wsgi_async.routing.managers import process_manager

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_async.routing import AnyRoute, AsyncTask

LIMIT = 20.0
IN_THREAD: dict[str, AnyRoute] = {"mail": "thread"}


@pytest.fixture(params=[False, True], ids=["keeper", "resident"])
def worker(request: pytest.FixtureRequest) -> Iterator[Worker]:
    with Worker(resident=request.param) as one:
        yield one


# -- the function ----------------------------------------------------------------------------------


def test_a_call_is_the_functions_own() -> None:
    """A function with a task type is awaited as before, without any route."""
    assert run(work.double(4, plus=1)) == 9


def test_it_is_taken_for_an_async_function() -> None:
    """Frameworks and tools that look at the function see the function."""
    # Up to 3.11 inspect knows plain functions only.
    of = inspect if sys.version_info >= (3, 12) else asyncio
    assert of.iscoroutinefunction(work.double)
    assert list(inspect.signature(work.double).parameters) == ["number", "plus"]
    assert (work.double.__name__, work.double.__doc__) == ("double", "Twice the number.")
    assert pickle.loads(pickle.dumps(work.double)) is work.double
    assert "tests.routing.work.double" in repr(work.double)
    assert "'mail'" in repr(work.double)


def test_only_async_functions() -> None:
    """A sync function, or a decorator without a type, is refused where it stands."""
    decorate: Any = async_task("mail")
    with pytest.raises(TypeError, match="not an async function"):
        decorate(lambda: None)

    async def plain() -> None: ...

    with pytest.raises(TypeError, match=r'Write @async_task\("mail"\) above .*plain'):
        async_task(plain)
    with pytest.raises(TypeError, match="unhashable"):
        async_task([])  # type: ignore[arg-type]


# -- routes in this process ------------------------------------------------------------------------


def test_on_the_current_manager(worker: Worker) -> None:
    """With "thread" the function runs on the loop that the caller's run() uses."""
    set_routes({"mail": "thread"})

    def submit() -> tuple[Any, int]:
        future = work.about_itself.submit()
        assert isinstance(future, SyncFuture)
        return future.result(LIMIT), id(current_manager().get_event_loop())

    found, loop = worker.call(submit)
    assert found["loop"] == loop
    assert found["current"]


def test_on_the_loop_of_the_coroutine_that_submits() -> None:
    """In a coroutine on a manager with an id, "thread" is that manager."""
    set_routes({"mail": "thread"})

    async def submit() -> Any:
        return await work.about_itself.submit()

    with AsyncioLoopManager("checker") as manager:
        found = manager.run(submit(), timeout=LIMIT)
        assert found["loop"] == id(manager.get_event_loop())


def test_on_the_requests_manager() -> None:
    """In a request, "thread" is the loop of the request; resources on it are shared."""
    found: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        found.append(work.about_itself.submit().result(LIMIT))
        found.append(environ["async.loop"].run(work.about_itself()))
        start_response("200 OK", [])
        return []

    with ThreadPoolExecutor(1) as pool:
        wrapped = AsyncLoopMiddleware(app, id="web", routes={"mail": "thread"})
        pool.submit(wrapped, {}, lambda *_: lambda _: None).result(LIMIT)
    assert found[0]["loop"] == found[1]["loop"]
    assert found[0]["client"] == found[1]["client"]
    assert found[0]["current"]


def test_on_the_processs_manager() -> None:
    """With "process" all threads use one loop, whichever submits."""
    set_routes({"mail": "process"})

    def submit() -> Any:
        return work.about_itself.submit().result(LIMIT)

    with ThreadPoolExecutor(2) as pool:
        one, two = pool.submit(submit).result(LIMIT), pool.submit(submit).result(LIMIT)
    assert one["loop"] == two["loop"] == id(process_manager().get_event_loop())
    assert one["client"] == two["client"]
    assert one["current"]


def test_the_processs_manager_can_be_stopped() -> None:
    """After a stop the next function gets a new one."""
    set_routes({"mail": "process"})
    process_manager().stop()
    assert work.double.submit(1).result(LIMIT) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_the_processs_manager_after_a_fork() -> None:
    """A forked worker makes its own."""
    run_script(
        """
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from tests.routing import work
from tests.servers.process import run_script
from wsgi_async.routing import set_routes
set_routes({"mail": "process"})
assert work.double.submit(1).result(20) == 2
child = os.fork()
if not child:
    os._exit(0 if work.double.submit(2).result(20) == 4 else 1)
assert os.waitpid(child, 0)[1] == 0
"""
    )


def test_on_a_manager_by_its_id(worker: Worker) -> None:
    """Manager(id) is the one that get_or_create_loop_manager() finds."""
    set_routes({"mail": Manager("letters")})

    def submit() -> None:
        with pytest.raises(ManagerNotFound):
            work.double.submit(1)
        manager = get_or_create_loop_manager("letters", True)
        manager.start()
        assert work.about_itself.submit().result(LIMIT)["loop"] == id(manager.get_event_loop())
        manager.stop()

    worker.call(submit)


def test_the_name_of_a_managers_route() -> None:
    """Its repr is how it is written."""
    assert repr(Manager("letters")) == "Manager('letters')"


def test_on_a_manager_with_a_task_type() -> None:
    """A manager that is started with a task type takes functions of that type only."""
    manager = get_or_create_loop_manager("images", True)
    manager.start(task_type="image")
    try:
        set_routes({"image": Manager("images"), "mail": Manager("images")})
        assert work.resize.submit("cat").result(LIMIT) == "cat, resized"
        with pytest.raises(UnknownAsyncTaskError):
            work.double.submit(1)
    finally:
        manager.stop()


def test_errors_are_the_functions_own() -> None:
    """The future raises what the function raised."""
    set_routes({"mail": "process"})
    with pytest.raises(LookupError, match="nothing there"):
        work.fail.submit().result(LIMIT)


def test_wrong_arguments_are_told_at_once() -> None:
    """A call that the function does not take fails where it is made."""
    set_routes({"mail": "process"})
    submit: Any = work.double.submit
    with pytest.raises(TypeError, match="number"):
        submit()


@pytest.mark.parametrize("route", ["thread", "process"])
def test_a_context_of_its_own(route: Any) -> None:
    """The function sees no context variable and no deadline of its caller, as in a queue."""
    set_routes({"mail": route})
    found: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        work.who.set("the request's user")
        assert bounded(None) is not None
        found.append(work.about_itself.submit().result(LIMIT))
        start_response("200 OK", [])
        return []

    with ThreadPoolExecutor(1) as pool:
        wrapped = AsyncLoopMiddleware(app, timeout=LIMIT)
        pool.submit(wrapped, {}, lambda *_: lambda _: None).result(LIMIT)
    assert (found[0]["who"], found[0]["deadline"]) == ("nobody", None)


def test_in_a_coroutine() -> None:
    """A coroutine submits a function and awaits its future."""
    set_routes({"mail": "thread"})

    async def both() -> list[int]:
        return [await work.double.submit(1), await asyncio.wrap_future(work.double.submit(2))]

    assert run(both()) == [2, 4]


def test_below_a_function_on_asgirefs_thread() -> None:
    """Sync code of a background task may wait for one that has sync code itself."""
    pytest.importorskip("asgiref", reason="asgiref is not installed")
    run_script(
        """
from asgiref.sync import sync_to_async
from wsgi_async import current_manager, run
from wsgi_async.routing import async_task, set_routes
set_routes({"mail": "process"})

@async_task("mail")
async def ask():
    return await sync_to_async(lambda: 7)()

async def wait():
    return await ask.submit()

async def background():
    return await sync_to_async(lambda: run(wait()))()

assert current_manager().submit_task(background()).result(20) == 7
"""
    )


# -- the mapping -----------------------------------------------------------------------------------


def test_a_type_without_a_route() -> None:
    """The error names the function and the type, and says what to do."""
    set_routes({"image": "thread"})
    with pytest.raises(RouteNotFound) as caught:
        work.double.submit(1)
    assert str(caught.value) == (
        "double() has the task type 'mail', which has no route. Add it to the routes, for example "
        "set_routes({'mail': \"thread\"})."
    )
    assert isinstance(caught.value, LookupError)
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), RouteNotFound)


@pytest.mark.parametrize("route", ["threads", None, Route, ["thread"]])
def test_what_is_not_a_route(route: Any) -> None:
    """A misspelt route is refused when it is set, and the old routes stay."""
    set_routes({"mail": "thread"})
    with pytest.raises(TypeError, match="The route of 'mail' is"):
        set_routes({"mail": route})
    assert work.double.submit(1).result(LIMIT) == 2


class Recorded(Route):
    """Notes what it is given."""

    def __init__(self) -> None:
        self.registered: list[str] = []
        self.submitted: list[tuple[str, Any, Any]] = []

    def register(self, task: AsyncTask[..., Any]) -> None:
        self.registered.append(task.name)

    def submit(self, task: AsyncTask[..., Any], args: Any, kwargs: Any) -> str:
        self.submitted.append((task.name, args, kwargs))
        return "a ticket"


def test_a_route_of_ones_own() -> None:
    """Another queue is a class with one method; it gets the function's name and arguments."""
    recorded = Recorded()
    set_routes({"mail": recorded})
    assert work.double.submit(3, plus=1) == "a ticket"
    assert recorded.submitted == [("tests.routing.work.double", (3,), {"plus": 1})]


def test_a_route_gets_to_know_all_functions_of_its_type() -> None:
    """Those that are there already, and those that come later; so a worker can find them."""
    recorded = Recorded()
    set_routes({"mail": recorded, "late": recorded})
    assert "tests.routing.work.double" in recorded.registered
    assert "tests.routing.work.resize" not in recorded.registered

    @async_task("late")
    async def later() -> None: ...

    assert recorded.registered[-1] == later.name


def test_a_route_that_refuses_a_function() -> None:
    """The routes are not set, and the old ones stay."""

    class Strict(Recorded):
        def register(self, task: AsyncTask[..., Any]) -> None:
            raise ValueError(f"{task.name} is refused")

    set_routes({"mail": "process"})
    with pytest.raises(ValueError, match="is refused"):
        set_routes({"mail": Strict()})
    assert work.double.submit(1).result(LIMIT) == 2


def test_a_route_without_a_submit() -> None:
    """The missing method is an error of the route, not a task that never runs."""
    set_routes({"mail": Route()})
    with pytest.raises(NotImplementedError):
        work.double.submit(1)


def test_a_function_that_its_route_refuses() -> None:
    """It is not known, and another one that had its name still is."""

    class Picky(Recorded):
        def register(self, task: AsyncTask[..., Any]) -> None:
            if self.registered:
                raise ValueError("refused")
            super().register(task)

    def make() -> AsyncTask[..., Any]:
        @async_task("picky")
        async def twice() -> None: ...

        return twice

    set_routes({"picky": Picky()})
    known = make()
    with pytest.raises(ValueError, match="refused"):
        make()
    after = Recorded()
    set_routes({"picky": after})
    assert after.registered == [known.name]


def test_routes_that_are_not_a_mapping() -> None:
    """The error says what to write."""
    wrong: Any = ["mail"]
    with pytest.raises(TypeError, match=r"routes is \['mail'\]. Use a dict"):
        set_routes(wrong)


def test_routes_of_a_test() -> None:
    """In a `with` block some types have other routes; afterwards all is as before."""
    recorded = Recorded()
    set_routes({"mail": "thread", "image": "thread"})
    with override_routes({"mail": recorded}):
        work.double.submit(3)
        assert work.resize.submit("cat").result(LIMIT) == "cat, resized"
    assert len(recorded.submitted) == 1
    assert work.double.submit(3).result(LIMIT) == 6


def test_a_test_may_define_functions_that_the_queue_refuses() -> None:
    """The queue has its route again after the block, whatever the test has defined in there."""

    class Strict(Recorded):
        def register(self, task: AsyncTask[..., Any]) -> None:
            task.check_importable()

    queue = Strict()
    set_routes({"mail": queue})
    with override_routes(IN_THREAD):

        @async_task("mail")
        async def local() -> str:
            return "ran here"

        assert local.submit().result(LIMIT) == "ran here"
    work.double.submit(3)
    assert [name for name, *_ in queue.submitted] == ["tests.routing.work.double"]


def test_a_test_may_make_the_application_that_sets_the_routes() -> None:
    """The override applies to the application too, and the application's routes after the block."""
    queue = Recorded()
    with override_routes(IN_THREAD):
        with override_routes({"mail": Recorded()}), override_routes(IN_THREAD):
            set_routes({"mail": queue})
            assert work.double.submit(3).result(LIMIT) == 6
        assert work.double.submit(3).result(LIMIT) == 6
    assert work.double.submit(3) == "a ticket"


def test_routes_of_flask() -> None:
    """The Flask extension takes routes as the middleware does."""
    pytest.importorskip("flask", reason="flask is not installed")
    from flask import Flask

    from wsgi_async.integrations.flask import AsyncLoop

    app = Flask(__name__)
    AsyncLoop(app, routes={"mail": "thread"})

    @app.get("/")
    def view() -> str:
        return str(work.double.submit(4).result(LIMIT))

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: app.test_client().get("/").text).result(LIMIT) == "8"


def test_a_coroutine_with_a_routed_type_is_refused() -> None:
    """submit_task() of a coroutine does not follow routes, and says what does."""
    set_routes({"mail": Recorded()})
    refused = pytest.raises(UnknownAsyncTaskError, match=r"Call the submit\(\) of its function")
    with AsyncioLoopManager() as manager, refused:
        manager.submit_task(work.double(1), task_type="mail")
