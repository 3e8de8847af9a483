"""Code as a user would write it: `make check` type-checks it strictly, and here it runs.

`assert_type` is for the type checkers. Each `type: ignore` marks a mistake that both of them must
find, since they complain about a mark without one.
"""
# pyright: reportUnnecessaryTypeIgnoreComment=error

from __future__ import annotations

import asyncio
from concurrent.futures import FIRST_COMPLETED, Executor, Future, as_completed, wait
from contextlib import asynccontextmanager
from threading import Thread
from typing import TYPE_CHECKING, Any, assert_type

import pytest

import wsgi_async
from wsgi_async import (
    AsyncioLoopManager,
    AsyncLoopMiddleware,
    LoopResource,
    LoopThreadPoolExecutor,
    ManagerNotFound,
    RequestScope,
    SyncFuture,
    TaskCancelledError,
    UnknownAsyncTaskError,
    async_to_sync_future,
    current_manager,
    get_or_create_loop_manager,
    get_parent_thread,
    loop_from,
    loop_resource,
    run_in_calling_thread,
    scope_from,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
    from types import TracebackType
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


async def length(text: str) -> int:
    await asyncio.sleep(0)
    return len(text)


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    loop = loop_from(environ)
    assert_type(loop, AsyncioLoopManager)
    count = loop.run(length("four"), timeout=5)
    assert_type(count, int)
    scope = scope_from(environ)
    assert_type(scope, RequestScope)
    with scope.timeout(5):
        assert_type(scope.submit_task(length("four")), SyncFuture[int])
        assert_type(scope.submit_task(length("four"), return_sync_future=True), SyncFuture[int])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % count]


@pytest.fixture
def manager() -> Iterator[AsyncioLoopManager]:
    with AsyncioLoopManager("typing", debug=False, grace=1.0) as found:
        assert_type(found, AsyncioLoopManager)
        yield found


def test_run_returns_what_the_coroutine_returns(manager: AsyncioLoopManager) -> None:
    """The type of a result is known, from the coroutine's annotation to the caller."""
    assert_type(manager.run(length("one")), int)
    assert manager.run(length("one"), timeout=5, copy_back=False) == 3


def test_run_on_the_current_manager() -> None:
    """The module's own `run()` is typed as `asyncio.run()` is."""
    assert_type(wsgi_async.run(length("one"), timeout=5), int)
    assert_type(current_manager(), AsyncioLoopManager)
    assert wsgi_async.run(length("one")) == 3
    current_manager().stop()


def test_submit_task_returns_a_sync_future(manager: AsyncioLoopManager) -> None:
    """The future knows the type of its result, and is one of `concurrent.futures`."""
    future = manager.submit_task(length("plain"))
    standard: Future[int] = future
    assert_type(future, SyncFuture[int])
    assert_type(manager.submit_task(length("sync"), return_sync_future=True), SyncFuture[int])
    assert_type(future.result(timeout=5), int)
    assert_type(future.exception(), BaseException | None)
    assert_type(future.wait(1), bool)
    done, _ = wait([future, Future[int]()], return_when=FIRST_COMPLETED)
    assert_type(done, set[Future[int]])
    assert [each.result() + 1 for each in as_completed([future])] == [6]
    assert standard.result(timeout=5) == 5

    async def use() -> int:
        assert_type(await future, int)
        return await asyncio.wrap_future(future)

    assert manager.run(use()) == 5


async def lengths(*texts: str) -> AsyncIterator[int]:
    for text in texts:
        yield await length(text)


@asynccontextmanager
async def opened(text: str) -> AsyncGenerator[str, None]:
    yield text


def test_a_stream_knows_the_type_of_its_items(manager: AsyncioLoopManager) -> None:
    """What the async generator yields is what the loop variable is."""
    with manager.iterate(lengths("one", "three"), prefetch=2) as iterator:
        assert_type(next(iterator), int)
        assert [item + 1 for item in iterator] == [6]
    with pytest.raises(TypeError):
        manager.iterate([1, 2])  # type: ignore[arg-type]


def test_a_wrapped_context_manager_knows_what_it_enters(manager: AsyncioLoopManager) -> None:
    """The `as` variable has the type that it has in an `async with`."""
    with manager.wrap_async_context_manager(opened("page")) as page:
        assert_type(page, str)
    with manager.wrap_async_context_manager(lambda: asyncio.timeout(5)) as timeout:
        assert_type(timeout, asyncio.Timeout)
    with manager.wrap_async_context_manager(asyncio.TaskGroup) as group:
        assert_type(group, asyncio.TaskGroup)
    assert page == "page"


def test_submit_task_takes_the_flag_as_a_variable(manager: AsyncioLoopManager) -> None:
    """A flag that is only known at run time changes nothing."""
    flag = bool(manager.all_instances())
    future = manager.submit_task(length("either"), flag)
    assert_type(future, SyncFuture[int])
    assert future.result(timeout=5) == 6


def test_callback_gets_the_future(manager: AsyncioLoopManager) -> None:
    """A done callback knows what it is called with."""
    seen: list[int] = []

    def note(future: Future[int]) -> None:
        seen.append(future.result())

    future = manager.submit_task(length("callback"))
    assert future.result(timeout=5) == 8
    future.add_done_callback(note)
    assert seen == [8]


def test_conversion_keeps_the_type(manager: AsyncioLoopManager) -> None:
    """`async_to_sync_future` knows the type of the result, from either kind of future."""
    given: Future[str] = Future()
    converted = async_to_sync_future(given)
    assert_type(converted, SyncFuture[str])
    given.set_result("filled")
    assert converted.result(timeout=5) == "filled"

    async def convert() -> SyncFuture[bytes]:
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        future.set_result(b"async")
        return async_to_sync_future(future)

    assert_type(manager.run(convert()), SyncFuture[bytes])


def test_own_futures_are_filled_by_hand() -> None:
    """A `SyncFuture` of one's own takes a result of its type."""
    future: SyncFuture[int] = SyncFuture()
    future.set_result(1)
    assert_type(future.result(), int)
    assert future.result() == 1


def test_loop_is_an_asyncio_loop(manager: AsyncioLoopManager) -> None:
    """Other libraries get a loop of the type that they expect."""
    loop = manager.get_event_loop()
    assert_type(loop, asyncio.AbstractEventLoop)
    assert asyncio.run_coroutine_threadsafe(length("loop"), loop).result(timeout=5) == 4


def test_registry_is_typed() -> None:
    """What the look-ups return needs no cast."""
    found = get_or_create_loop_manager("typing", force_create=True, strictly_get=False)
    assert_type(found, AsyncioLoopManager)
    assert_type(get_parent_thread(), Thread | None)
    with pytest.raises(ManagerNotFound):
        get_or_create_loop_manager("nobody", strictly_get=True)


def test_middleware_is_a_wsgi_application() -> None:
    """A wrapped app fits wherever an app is expected, and wrapping an app needs no cast."""
    from werkzeug.test import Client

    wrapped: WSGIApplication = AsyncLoopMiddleware(
        app, id="typing-app", task_type=None, loop_factory=asyncio.new_event_loop
    )
    answers: list[str] = []
    thread = Thread(target=lambda: answers.append(Client(wrapped).get("/").text))
    thread.start()
    thread.join()
    assert answers == ["4"]


def test_a_coroutine_asks_for_its_calling_thread(manager: AsyncioLoopManager) -> None:
    """What the function returns is what the coroutine gets."""

    async def ask() -> int:
        assert_type(await run_in_calling_thread(max, 1, 2), int)
        return await run_in_calling_thread(int, "8", base=16)

    assert manager.run(ask()) == 8


def test_a_pool_is_an_executor() -> None:
    """It fits wherever an executor is expected, and its futures know their results."""
    with LoopThreadPoolExecutor(1, thread_name_prefix="typing", debug=False) as pool:
        executor: Executor = pool
        assert_type(pool.submit(len, "four"), Future[int])
        assert executor.submit(len, "four").result(timeout=5) == 4


class Client:
    def __init__(self, *, timeout: float = 5.0) -> None:
        self.timeout = timeout

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None: ...


@loop_resource
async def generated() -> AsyncIterator[Client]:
    async with Client(timeout=1.0) as one:
        yield one


@loop_resource
async def generator_by_its_name() -> AsyncGenerator[int, None]:
    yield 1


@loop_resource
@asynccontextmanager
async def managed() -> AsyncGenerator[str, None]:
    yield "managed"


client = loop_resource(Client)


def test_loop_resources_know_what_they_open(manager: AsyncioLoopManager) -> None:
    """From a class, an async generator function or a context manager's to each use of it."""
    assert_type(client, LoopResource[Client])
    assert_type(generated, LoopResource[Client])
    assert_type(client.get(), Client)
    assert_type(client.get(manager), Client)

    async def use() -> float:
        assert_type(await managed(), str)
        assert_type(await generator_by_its_name(), int)
        return (await generated()).timeout

    assert manager.run(use()) == 1.0
    assert_type(manager.run(managed()), str)
    assert manager.submit_task(client()).result(timeout=5).timeout == 5.0
    with client.override("fake") as fake:
        assert_type(fake, str)
    get_or_create_loop_manager().stop()


def test_refusals_are_what_they_say(manager: AsyncioLoopManager) -> None:
    """Errors can be caught by the nearest builtin."""
    missing: type[LookupError] = ManagerNotFound
    unknown: type[ValueError] = UnknownAsyncTaskError
    cancelled: type[Exception] = TaskCancelledError
    assert issubclass(cancelled, asyncio.CancelledError)
    assert issubclass(missing, LookupError)
    with pytest.raises(unknown):
        manager.run(length("typed"), task_type="another")


def mistakes(manager: AsyncioLoopManager, environ: dict[str, Any]) -> None:
    """Mistakes that a type checker finds; never called."""
    manager.run(length)  # type: ignore[arg-type]
    manager.run("not a coroutine")  # type: ignore[arg-type]
    manager.run(length("a"), 5)  # type: ignore[call-arg]
    manager.run(length("a"), timeout="5")  # type: ignore[arg-type]
    manager.submit_task(42)  # type: ignore[arg-type]
    loop_resource(length)  # type: ignore[arg-type]
    loop_resource(Client())  # type: ignore[call-overload]
    AsyncioLoopManager(grace="long")  # type: ignore[arg-type]
    AsyncioLoopManager(drive="auto")  # type: ignore[call-arg]
    AsyncLoopMiddleware("app")  # type: ignore[arg-type]
    SyncFuture[int]().set_result("1")  # type: ignore[arg-type]
    count = loop_from(environ).run(length("a"))
    text: str = count  # type: ignore[assignment]
    print(text)
