"""Errors that tell what to do, by who gets them."""

from __future__ import annotations

import asyncio
import re
import types
from typing import TYPE_CHECKING, Any

import pytest

import wsgi_async
from tests.core.support import give, on_worker
from wsgi_async import RunningLoopError, loop_resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.core.conftest import MakeManager
    from wsgi_async import AsyncioLoopManager


async def numbers() -> AsyncIterator[int]:
    yield 1


@loop_resource
async def resource() -> AsyncIterator[int]:
    yield 1


# -- what is no coroutine --------------------------------------------------------------------------


class Awaitable:
    def __await__(self) -> Any:
        return give(1).__await__()


class Task:
    async def __call__(self) -> None:
        raise NotImplementedError


def sync_call() -> None:
    raise NotImplementedError


async def make_future() -> asyncio.Future[int]:
    return asyncio.gather(give(1), give(2))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (lambda _: give, "give, a function, is not a coroutine. Call the async function, and pass"),
        (lambda _: numbers, "is not a coroutine. Call the async generator function, and iterate"),
        (lambda _: sync_call, "is not a coroutine. It is a sync function. Call it as usual"),
        (lambda _: Task(), "A value of the type Task is not a coroutine. Call the async function"),
        (lambda _: 5, "A value of the type int is not a coroutine. Pass the coroutine that"),
        (lambda _: numbers(), "an async generator. Iterate over it with iterate()"),
        (lambda manager: manager.run(make_future()), "async def both()"),
        (lambda manager: manager.submit_task(give(1)), "Call its result()"),
        (lambda _: Awaitable(), "async def wait()"),
    ],
)
@pytest.mark.parametrize("call", ["run", "submit_task"])
@on_worker
def test_what_is_not_a_coroutine(
    make_manager: MakeManager,
    call: str,
    make: Callable[[AsyncioLoopManager], object],
    advice: str,
) -> None:
    """Each kind of wrong value gets the right way to write it."""
    manager = make_manager()
    value: Any = make(manager)
    with pytest.raises(TypeError) as caught:
        getattr(manager, call)(value)
    assert advice in str(caught.value)


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (numbers, "numbers, a function, is not an async iterable. Call the async generator"),
        ([1], "A value of the type list is not an async iterable. Pass an async generator"),
    ],
)
@on_worker
def test_what_is_not_an_async_iterable(make_manager: MakeManager, value: Any, advice: str) -> None:
    """Each kind of wrong value gets the right way to write it."""
    with pytest.raises(TypeError, match=re.escape(advice)):
        make_manager().iterate(value)


@on_worker
def test_a_coroutine_is_not_an_async_iterable(make_manager: MakeManager) -> None:
    """Whoever has forgotten the `yield` is told so."""
    wrong: Any = give(1)
    with pytest.raises(TypeError, match=r"give, a coroutine, .* has no `yield`"):
        make_manager().iterate(wrong)
    wrong.close()


@on_worker
def test_the_short_way_gives_the_same_advice() -> None:
    """`wsgi_async.run()` of an async generator names `iterate()`."""
    wrong: Any = numbers()
    with pytest.raises(TypeError, match=r"iterate\(\)"):
        wsgi_async.run(wrong)


# -- waiting where an event loop runs --------------------------------------------------------------


def sdk_call() -> int:
    """What an SDK offers beside its async function."""
    return sdk_detail()


def sdk_detail() -> int:
    return wsgi_async.run(give(1))


def refused(coro: Any) -> str:
    with pytest.raises(RunningLoopError) as caught:
        wsgi_async.run(coro)
    return str(caught.value)


BLOCKS = "This thread runs an event loop, and waiting here would block it. "


async def view_runs() -> None:
    wsgi_async.run(give(1))


async def view_asks() -> None:
    wsgi_async.current_manager().submit_task(asyncio.sleep(5)).result()


async def view_gets() -> None:
    resource.get()


async def view_calls() -> None:
    sdk_call()


async def generator_calls() -> None:
    async def agen() -> AsyncIterator[int]:
        yield sdk_call()

    async for _ in agen():
        pass


class Case:
    """A test case of somebody's, which pytest does not collect here."""

    @staticmethod
    async def test_view() -> None:
        """What somebody's async test does."""
        sdk_call()


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (view_runs, "In a coroutine, await the coroutine itself."),
        (view_asks, "In a coroutine, await this future."),
        (view_gets, "In a coroutine, await resource()."),
        (view_calls, "view_calls calls the sync function sdk_call, which waits. Await its async"),
        (generator_calls, "agen calls the sync function sdk_call, which waits. Await its async"),
        (
            Case.test_view,
            "The async test Case.test_view calls the sync function sdk_call, which waits. Make",
        ),
    ],
)
@on_worker
def test_waiting_in_async_code(code: Callable[[], Any], advice: str) -> None:
    """The error names the coroutine and the sync function that it called, if that is what it is."""
    message = refused(code())
    assert message.startswith(BLOCKS)
    assert advice in message


def waits_in_callback() -> None:
    wsgi_async.run(give(1))


@on_worker
def test_waiting_in_a_callback() -> None:
    """Where there is no coroutine the advice is the general one."""
    messages: list[str] = []

    async def call_back() -> None:
        called = asyncio.Event()

        def callback() -> None:
            try:
                waits_in_callback()
            except RunningLoopError as error:
                messages.append(str(error))
            called.set()

        asyncio.get_running_loop().call_soon(callback)
        await called.wait()

    wsgi_async.run(call_back())
    assert messages == [BLOCKS + "In a coroutine, await the coroutine itself."]


CELL = """
from wsgi_async import run
run(give(1))
"""


@pytest.mark.parametrize("top_level_await", [False, True])
def test_waiting_in_a_cell_of_a_notebook(top_level_await: bool) -> None:
    """In a notebook the error says to write `await` in the cell."""
    flags = 0x2000 if top_level_await else 0  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    cell = CELL + ("await give(2)\n" if top_level_await else "")
    # As IPython's module runs it.
    shell = types.ModuleType("IPython.core.interactiveshell")
    exec(
        "async def run_code(code, namespace):\n"
        "    made = eval(code, namespace)\n"
        "    if made is not None:\n"
        "        await made\n",
        vars(shell),
    )
    code = compile(cell, "<cell>", "exec", flags)
    namespace = {"give": give, "__name__": "__main__"}
    with pytest.raises(
        RunningLoopError, match="In a notebook, await the coroutine itself, at the top"
    ):
        asyncio.run(shell.run_code(code, namespace))


# -- mistakes with resources -----------------------------------------------------------------------


@on_worker
def test_a_resource_is_not_the_client() -> None:
    """`client.get(url)` on a resource with a client's name says what it is."""
    wrong: Any = "http://127.0.0.1/"
    with pytest.raises(TypeError, match=r"resource.*await resource\(\)"):
        resource.get(wrong)
