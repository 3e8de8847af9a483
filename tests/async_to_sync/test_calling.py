"""The calling conventions are asgiref's."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
import warnings
import weakref
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import asgiref.sync
import pytest

from tests.core.support import BEGIN, LIMIT, give, wait_until
from wsgi_async import AsyncioLoopManager, async_to_sync
from wsgi_async.core.base.deadlines import Deadline, request_deadline
from wsgi_async.core.managers.current import request_manager
from wsgi_async.integrations import asgiref as integration

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from tests.core.support import Worker


@pytest.fixture(params=["ours", "installed"])
def convert(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Our function, and asgiref's with ours put in its place."""
    if request.param == "ours":
        yield async_to_sync
        return
    integration.install()
    try:
        yield asgiref.sync.async_to_sync
    finally:
        integration.uninstall()


async def echo(*args: Any, **kwargs: Any) -> Any:
    await asyncio.sleep(0)
    return args, kwargs


class Thing:
    """Has async methods of every kind."""

    name = "class"

    def __init__(self) -> None:
        self.name = "instance"

    async def method(self, value: int) -> tuple[str, int]:
        return self.name, await give(value)

    @classmethod
    async def of_class(cls, value: int) -> tuple[str, int]:
        return cls.name, await give(value)

    @staticmethod
    async def of_none(value: int) -> int:
        return await give(value)

    async def __call__(self, value: int) -> tuple[str, int]:
        return self.name, await give(value)


def test_decorator(worker: Worker, convert: Callable[..., Any]) -> None:
    """It is a decorator, without and with brackets."""

    @convert
    async def plain(value: int) -> int:
        return await give(value)

    @convert(force_new_loop=True)
    async def with_argument(value: int) -> int:
        return await give(value)

    @convert()
    async def with_brackets(value: int) -> int:
        return await give(value)

    assert worker.call(plain, 1) == 1
    assert worker.call(with_argument, value=2) == 2
    assert worker.call(with_brackets, 3) == 3


def test_decorated_method(worker: Worker, convert: Callable[..., Any]) -> None:
    """A decorated method gets its object, and has the name and docstring of the method."""

    class Decorated:
        value = 5

        @convert
        async def method(self, other: int) -> tuple[int, int]:
            """Add nothing."""
            return self.value, await give(other)

    bound = Decorated().method
    assert worker.call(bound, 6) == (5, 6)
    assert (bound.__name__, bound.__doc__) == ("method", "Add nothing.")
    # As asgiref's: from the class, there is no object to pass.
    with pytest.raises(AttributeError):
        worker.call(Decorated.method, 6)


@pytest.mark.parametrize("name", ["method", "of_class", "of_none"])
def test_methods(worker: Worker, convert: Callable[..., Any], name: str) -> None:
    """Bound methods of each kind are taken, and say whose they are."""
    method = getattr(Thing(), name)
    sync = convert(method)
    expected: object = {"method": ("instance", 7), "of_class": ("class", 7)}.get(name, 7)
    assert worker.call(sync, 7) == expected
    assert getattr(sync, "__self__", None) is getattr(method, "__self__", None)
    assert hasattr(sync, "__self__") == hasattr(method, "__self__")


def test_partials_and_callables(worker: Worker, convert: Callable[..., Any]) -> None:
    """Partials and objects with an async `__call__` are known to be async: no warning."""
    partial = functools.partial(echo, 1, b=2)
    assert worker.call(convert(partial), 3, c=4) == ((1, 3), {"b": 2, "c": 4})
    assert worker.call(convert(functools.partial(Thing().method, 8))) == ("instance", 8)
    assert worker.call(convert(Thing()), 9) == ("instance", 9)


def test_names_of_arguments(worker: Worker, convert: Callable[..., Any]) -> None:
    """The function's arguments may have any names, those of `run()` too."""
    kwargs = dict.fromkeys(
        ("context", "timeout", "task_type", "copy_back", "awaitable", "func", "call", "driver"), 1
    )
    assert worker.call(functools.partial(convert(echo), **kwargs)) == ((), kwargs)


def test_not_async(worker: Worker, convert: Callable[..., Any]) -> None:
    """What is not known to be async is warned of, and called all the same."""
    with pytest.warns(UserWarning, match="non-async-marked callable"):
        sync = convert(lambda value: give(value + 1))
    assert worker.call(sync, 3) == 4


@pytest.mark.parametrize("arguments", [{}, {"force_new_loop": False}])
def test_warning_names_the_caller(arguments: dict[str, Any]) -> None:
    """The warning points at the line that has passed the sync function."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        async_to_sync(lambda: give(1), **arguments)
        async_to_sync(**arguments)(lambda: give(1))
    assert [one.filename for one in seen] == [__file__, __file__]


def test_no_awaitable(worker: Worker, convert: Callable[..., Any]) -> None:
    """A function that returns no awaitable fails as an `await` of that does."""
    with pytest.warns(UserWarning, match="non-async-marked callable"):
        sync = convert(lambda: 3)
    with pytest.raises(TypeError, match=r"int.*await"):
        worker.call(sync)


class Awaitable:
    """An awaitable that is no coroutine."""

    def __await__(self) -> Generator[Any, None, str]:
        yield from asyncio.sleep(0).__await__()
        return "awaited"


def test_any_awaitable(worker: Worker, convert: Callable[..., Any]) -> None:
    """Any awaitable will do, not coroutines alone."""
    with pytest.warns(UserWarning, match="non-async-marked callable"):
        sync = convert(Awaitable)
    assert worker.call(sync) == "awaited"


def test_error_before_the_coroutine(worker: Worker, convert: Callable[..., Any]) -> None:
    """Wrong arguments are the function's own `TypeError`."""
    with pytest.raises(TypeError, match="missing 1 required positional"):
        worker.call(convert(give))


def test_is_sync(worker: Worker, convert: Callable[..., Any]) -> None:
    """The result counts as sync, so `sync_to_async` takes it."""
    sync = convert(give)
    assert not asgiref.sync.iscoroutinefunction(sync)
    assert worker.call(convert(asgiref.sync.sync_to_async(sync)), 4) == 4


class Compiled(Coroutine[Any, Any, None]):
    """A coroutine of another type than Python's own, as compiled code makes them."""

    def __init__(self, coro: Coroutine[Any, Any, None]) -> None:
        self._coro = coro

    def send(self, value: Any) -> Any:
        return self._coro.send(value)

    def throw(self, *error: Any) -> Any:
        return self._coro.throw(*error)

    def close(self) -> None:
        self._coro.close()

    def __await__(self) -> Generator[Any, Any, None]:
        return self._coro.__await__()


@pytest.mark.filterwarnings("ignore:async_to_sync was passed a non-async-marked")
def test_a_compiled_coroutine_is_not_closed_while_it_cleans_up() -> None:
    """Its cleanup runs on the loop's thread to its end, though nobody waits for it any more."""
    on_its_thread: list[bool] = []

    with AsyncioLoopManager(grace=0.01) as manager:
        loop, go_on = manager.get_event_loop(), asyncio.Event()

        async def work() -> None:
            thread = threading.get_ident()
            try:
                await asyncio.sleep(LIMIT)
            finally:
                await go_on.wait()
                on_its_thread.append(threading.get_ident() == thread)

        def call() -> None:
            request_manager.set(weakref.ref(manager))
            request_deadline.set(Deadline(BEGIN))
            with pytest.raises(TimeoutError):
                async_to_sync(lambda: Compiled(work()))()

        contextvars.copy_context().run(call)
        assert on_its_thread == []
        loop.call_soon_threadsafe(go_on.set)
        wait_until(lambda: on_its_thread == [True], what="its cleanup is over")
