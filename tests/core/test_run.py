"""`run()`: a coroutine's result or exception, for sync code that waits."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import (
    Worker,
    give,
    in_thread,
    on_worker,
    outcome,
    reached,
    throw,
    wait_until,
    where,
)
from wsgi_async import AsyncioLoopManager

if TYPE_CHECKING:
    from tests.core.conftest import MakeManager


@on_worker
def test_returns_the_result(make_manager: MakeManager) -> None:
    """A view gets what the coroutine returned."""
    assert make_manager().run(give("page")) == "page"


@on_worker
def test_returns_none_too(make_manager: MakeManager) -> None:
    """A coroutine that returns nothing is no special case."""
    assert make_manager().run(give(None)) is None


@on_worker
def test_raises_what_the_coroutine_raised(make_manager: MakeManager) -> None:
    """The view's own `except` catches the very exception, with the coroutine's line in it."""
    error = LookupError("no such page")
    with pytest.raises(LookupError) as caught:
        make_manager().run(throw(error))
    assert caught.value is error
    assert error.__context__ is None
    assert "throw" in [entry.name for entry in caught.traceback]


@on_worker
def test_from_a_thread_that_owns_no_manager(make_manager: MakeManager) -> None:
    """Any thread may use a manager, and gets result and exception all the same."""
    manager = make_manager()
    error = LookupError("no such page")
    assert in_thread(lambda: manager.run(give("page"))) == "page"
    with pytest.raises(LookupError) as caught:
        in_thread(lambda: manager.run(throw(error)))
    assert caught.value is error


def test_from_the_main_thread(make_manager: MakeManager) -> None:
    """A manager made in the main thread works there; its coroutines run on another thread."""
    manager = make_manager()
    assert manager.run(give("page")) == "page"
    assert manager.run(where()) is not threading.main_thread()


@on_worker
def test_every_coroutine_runs_on_one_thread(make_manager: MakeManager, runner: str) -> None:
    """Whoever hands it in, and however: a coroutine runs on the loop's thread, and no other.

    A keeper is a thread of the manager's own; a resident loop lives on the thread that made it.
    """
    manager = make_manager()
    here = threading.current_thread()
    (thread,) = {manager.run(where()), manager.submit_task(where()).result()}
    with Worker() as stranger:
        for call in (manager.run, lambda coro: manager.submit_task(coro).result()):
            assert outcome(stranger.begin(call, where())) is thread
        assert thread is not stranger.thread
    assert (thread is here) == (runner == "resident")


@on_worker
def test_from_several_threads_at_once(make_manager: MakeManager) -> None:
    """Threads that share a manager wait for each other's coroutines if those want that."""
    manager = make_manager()
    meeting = asyncio.Barrier(5)

    async def meet() -> int:
        return await meeting.wait()

    workers = [Worker() for _ in range(4)]
    waiting = [worker.begin(manager.run, meet()) for worker in workers]
    places = [manager.run(meet()), *(outcome(future) for future in waiting)]
    assert sorted(places) == [0, 1, 2, 3, 4]
    for worker in workers:
        worker.end()


@on_worker
def test_every_call_has_the_same_loop(make_manager: MakeManager) -> None:
    """What one call opened, the next one can use: there is one loop for all."""
    manager = make_manager()

    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    loops = {manager.run(loop()) for _ in range(3)} | {in_thread(lambda: manager.run(loop()))}
    assert loops == {manager.get_event_loop()}


@on_worker
def test_what_a_coroutine_leaves_goes_on(make_manager: MakeManager) -> None:
    """A task that `run()` leaves behind is not cancelled with it."""
    manager = make_manager()
    done = threading.Event()

    async def later(go: asyncio.Event) -> None:
        await go.wait()
        done.set()

    async def leave() -> tuple[asyncio.Event, asyncio.Task[None]]:
        go = asyncio.Event()
        return go, asyncio.create_task(later(go))

    go, _task = manager.run(leave())
    manager.get_event_loop().call_soon_threadsafe(go.set)
    reached(done)


@on_worker
def test_the_thread_is_as_it_was(make_manager: MakeManager) -> None:
    """After a call the thread runs no loop, and has none set: other libraries see no difference."""
    manager = make_manager()
    manager.run(give(1))
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()
    with pytest.raises(RuntimeError, match="no current event loop"):
        asyncio.get_event_loop()
    assert asyncio.run(give("other loops run")) == "other loops run"


@pytest.mark.parametrize("wrong", [None, give, 7, "coroutine"])
@on_worker
def test_refuses_what_is_not_a_coroutine(make_manager: MakeManager, wrong: Any) -> None:
    """Who forgets to call the async function is told so."""
    manager = make_manager()
    with pytest.raises(TypeError, match="not a coroutine"):
        manager.run(wrong)
    with pytest.raises(TypeError, match="not a coroutine"):
        manager.submit_task(wrong)
    assert manager.run(give("page")) == "page"


@on_worker
def test_keeps_nothing_of_a_result(make_manager: MakeManager) -> None:
    """A large result is freed when the caller has let go of it, without the collector."""
    manager = make_manager()

    class Page:
        pass

    async def fetch() -> Page:
        return Page()

    gc.disable()
    try:
        page = manager.run(fetch())
        seen = weakref.ref(page)
        del page
        manager.run(give(1))  # a keeper has let go of it by then
        assert seen() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("timeout", [None, 10])
@on_worker
def test_keeps_nothing_of_an_exception(make_manager: MakeManager, timeout: float | None) -> None:
    """An exception and the frames in its traceback are freed when it has been handled."""
    manager = make_manager()

    class Broken(Exception):
        pass

    async def fail() -> None:
        raise Broken

    gc.disable()
    try:
        try:
            manager.run(fail(), timeout=timeout)
        except Broken as error:
            seen = weakref.ref(error)
        manager.run(give(1))  # a keeper has let go of it by then
        assert seen() is None
    finally:
        gc.enable()


@on_worker
def test_keeps_nothing_of_a_context(make_manager: MakeManager) -> None:
    """What the caller's context variables held is freed with it, without the collector."""
    manager = make_manager()

    class Request:
        pass

    def view() -> weakref.ref[Request]:
        request = Request()
        current.set(request)
        manager.run(give("page"))
        return weakref.ref(request)

    current: contextvars.ContextVar[Request] = contextvars.ContextVar("current")
    gc.disable()
    try:
        seen = contextvars.copy_context().run(view)
        # Free-threaded, what the keeper has made may have to wait until the keeper runs again.
        wait_until(lambda: manager.run(give(seen() is None)), "the keeper has let go of it")
    finally:
        gc.enable()


@on_worker
def test_a_loop_of_the_users_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """`loop_factory` decides about the loop, and asyncio's own choice is not asked."""

    class Loop(asyncio.SelectorEventLoop):
        pass

    def ask() -> asyncio.AbstractEventLoop:
        pytest.fail("asyncio was asked for a loop")

    for module in (asyncio, asyncio.events):
        monkeypatch.setattr(module, "new_event_loop", ask)
    manager = AsyncioLoopManager(loop_factory=Loop)
    manager.start()
    assert type(manager.get_event_loop()) is Loop
    assert manager.run(give("page")) == "page"
    manager.stop()


@pytest.mark.parametrize("options", [{"grace": -0.5}, {"grace": float("nan")}], ids=repr)
def test_options_that_cannot_be_used(options: dict[str, Any]) -> None:
    """A slip in an option is told where it was made, not at the first call."""
    with pytest.raises(ValueError, match=next(iter(options))):
        AsyncioLoopManager(**options)


def test_an_option_of_another_type() -> None:
    """What is no number is told so as well."""
    with pytest.raises(TypeError, match=r"grace is 'long'\. Give a number"):
        AsyncioLoopManager(grace="long")  # type: ignore[arg-type]
