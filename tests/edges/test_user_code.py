"""Code of the user's that runs in the middle of ours: it may call back, and may return nonsense."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.conftest import needs_uvloop
from tests.core.support import Endless, give, in_process, in_thread, reached, say, throw
from tests.edges.parts import PLACES, await_stopped, calling_from, make_loop_factory, start
from tests.middleware.wsgi import answer_ok, serve
from wsgi_async import (
    AsyncioLoopManager,
    AsyncLoopMiddleware,
    get_or_create_loop_manager,
    loop_resource,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    Touch = Callable[[AsyncioLoopManager], object]


# -- a loop factory that touches its manager -------------------------------------------------------


def refused(fn: Callable[[], object]) -> None:
    with pytest.raises(RuntimeError):
        fn()


TOUCHES: dict[str, Touch] = {
    "start": lambda manager: refused(manager.start),
    "state": lambda manager: manager.state,
    "repr": repr,
    "running": lambda manager: manager.running,
    "run": lambda manager: refused(lambda: manager.run(give(1))),
    "submit_task": lambda manager: refused(lambda: manager.submit_task(give(1))),
    "get_event_loop": lambda manager: refused(manager.get_event_loop),
    "look up": lambda _: get_or_create_loop_manager("another"),
    "registry": lambda _: AsyncioLoopManager.registry(),
}
"""What a loop factory may do with a manager that is about to start."""


def child_factory(touch: str, elsewhere: bool) -> None:
    """Start a manager whose loop factory touches it, itself or from another thread."""

    def make_loop() -> asyncio.AbstractEventLoop:
        if elsewhere:
            in_thread(TOUCHES[touch], manager)
        else:
            TOUCHES[touch](manager)
        say("touched")
        return asyncio.new_event_loop()

    manager = AsyncioLoopManager("mine", loop_factory=make_loop)
    manager.start()
    say(manager.run(give("works")))
    manager.stop()


@pytest.mark.parametrize("elsewhere", [False, True], ids=["itself", "another thread"])
@pytest.mark.parametrize("touch", TOUCHES)
def test_a_loop_factory_may_touch_its_manager(touch: str, elsewhere: bool) -> None:
    """Nothing waits for itself there: what needs a loop is refused, all else answers."""
    assert in_process(child_factory, touch, elsewhere, limit=10) == "touched\nworks\n"


def child_stopped_by_its_factory() -> None:
    """A loop factory stops the manager that is about to start."""

    def make_loop() -> asyncio.AbstractEventLoop:
        with contextlib.suppress(RuntimeError):
            manager.stop()
        return asyncio.new_event_loop()

    manager = AsyncioLoopManager(loop_factory=make_loop)
    with contextlib.suppress(RuntimeError):
        manager.start()
    manager.stop()
    say(manager.state)


def test_a_loop_factory_may_stop_its_manager() -> None:
    """It is an odd thing to do, and hangs nothing."""
    assert in_process(child_stopped_by_its_factory, limit=10) in ("new\n", "stopped\n")


# -- ids that touch the registry -------------------------------------------------------------------


class Id:
    """An id that has another thread look at the registry when it is hashed, compared or shown."""

    looking = False

    def __init__(self, name: str) -> None:
        self.name = name

    def __hash__(self) -> int:
        self._have_it_looked_at()
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        self._have_it_looked_at()
        return isinstance(other, Id) and self.name == other.name

    def __repr__(self) -> str:
        self._have_it_looked_at()
        return self.name

    def _have_it_looked_at(self) -> None:
        if not Id.looking:  # the look itself hashes and compares what is in the registry
            Id.looking = True
            in_thread(look)
            Id.looking = False


def look() -> None:
    AsyncioLoopManager.registry()
    AsyncioLoopManager.all_instances()
    get_or_create_loop_manager("of the thread")


def child_ids(use: str) -> None:
    """Use managers with ids that call back."""
    if use == "look up":
        found = get_or_create_loop_manager(Id("one"))
        assert get_or_create_loop_manager(Id("one")) is found
        assert get_or_create_loop_manager(Id("two")) is not found
        assert in_thread(get_or_create_loop_manager, Id("one")) is found
    elif use == "registry":
        get_or_create_loop_manager(Id("one"))
        (managers,) = AsyncioLoopManager.registry().values()
        assert len(managers) == 1
    elif use == "middleware":
        app = AsyncLoopMiddleware(answer_ok, id=Id("one"))
        for _ in range(2):
            assert in_thread(serve, app) == b"ok"
        assert serve(app) == serve(app) == b"ok"
    else:
        manager = AsyncioLoopManager(Id("one"))
        manager.start(task_type=Id("kind"))
        assert "one" in repr(manager)
        assert manager.run(give(1), task_type=Id("kind")) == 1
        manager.stop()
    Id.looking = True  # no thread can be started any more when the process ends
    say("done")


@pytest.mark.parametrize("use", ["look up", "registry", "middleware", "stop"])
def test_ids_may_touch_the_registry(use: str) -> None:
    """An id whose hash or comparison waits for another thread's look-up does not wait for ever."""
    assert in_process(child_ids, use, limit=10) == "done\n"


def child_thread_end() -> None:
    """A thread ends whose manager has an id that calls back."""

    def work() -> AsyncioLoopManager:
        manager = get_or_create_loop_manager(Id("one"))
        manager.start()
        return manager

    manager = in_thread(work)
    await_stopped(manager)
    Id.looking = True
    say("done")


def test_a_thread_may_end_with_such_an_id() -> None:
    """The end of its thread stops the manager all the same."""
    assert in_process(child_thread_end, limit=10) == "done\n"


# -- done callbacks --------------------------------------------------------------------------------


def child_done_callback(place: str, sync: bool) -> None:
    """A done callback touches the manager from another thread, and waits for that."""
    with calling_from(place) as call:
        manager, called = call.manager, threading.Event()

        def touch(_: object) -> None:
            in_thread(repr, manager)
            in_thread(AsyncioLoopManager.registry)
            future = in_thread(manager.submit_task, give(1))
            future.add_done_callback(lambda _: called.set())

        future = call(manager.submit_task, give("done"), sync)
        future.add_done_callback(touch)
        say(call(future.result))
        reached(called)


@pytest.mark.parametrize("sync", [False, True], ids=["future", "sync future"])
@pytest.mark.parametrize("place", PLACES)
def test_done_callbacks_may_touch_the_manager(place: str, sync: bool) -> None:
    """A future's callback may wait for another thread that uses the manager."""
    assert in_process(child_done_callback, place, sync, limit=10) == "done\n"


# -- task factories that make no tasks -------------------------------------------------------------

NONSENSE: dict[str, Any] = {"None": None, "an object": object(), "a number": 42}
"""What a task factory returns that has forgotten to return its task."""


async def numbers() -> AsyncIterator[int]:
    yield 1


@asynccontextmanager
async def entered() -> AsyncIterator[int]:
    yield 1


async def opened() -> AsyncIterator[int]:
    yield 1


def enter(manager: AsyncioLoopManager) -> None:
    with manager.wrap_async_context_manager(entered()):
        pass


USES: dict[str, Touch] = {
    "run": lambda manager: manager.run(give(1)),
    "future": lambda manager: manager.submit_task(give(1)).result(),
    "sync future": lambda manager: manager.submit_task(give(1), True).result(),
    "iterate": lambda manager: list(manager.iterate(numbers())),
    "prefetch": lambda manager: list(manager.iterate(numbers(), prefetch=2)),
    "context manager": enter,
    "resource": lambda manager: loop_resource(opened).get(manager),
}
"""What makes a task on the loop, and waits for it."""


def set_factory(manager: AsyncioLoopManager, factory: Any) -> None:
    loop, done = manager.get_event_loop(), threading.Event()

    def set_it() -> None:
        loop.set_task_factory(factory)
        done.set()

    loop.call_soon_threadsafe(set_it)
    reached(done)


def returns(nonsense: Any) -> Callable[..., Any]:
    def factory(made: object, coro: Any, **_: object) -> Any:
        coro.close()
        return nonsense

    return factory


def child_task_factory(use: str, place: str, loop: str) -> None:
    """Use a manager whose loop makes no tasks, and then one that does."""
    with calling_from(place, loop_factory=make_loop_factory(loop)) as call:
        manager, endless = call.manager, Endless()
        background = manager.submit_task(endless.wait())
        reached(endless.began)
        for name, nonsense in NONSENSE.items():
            set_factory(manager, returns(nonsense))
            with pytest.raises(TypeError):
                call(USES[use], manager)
            say(name)
            set_factory(manager, None)
            assert manager.state == "running"
            call(USES[use], manager)
            call(USES["run"], manager)
        assert not background.done()
        manager.stop()
        assert endless.cleaned.is_set()
        say(manager.state)


@pytest.mark.parametrize("loop", ["asyncio", pytest.param("uvloop", marks=needs_uvloop)])
@pytest.mark.parametrize("place", PLACES[:2])
@pytest.mark.parametrize("use", USES)
def test_a_task_factory_without_tasks_is_told(use: str, place: str, loop: str) -> None:
    """Who waits for such a task gets a TypeError, and the manager works on."""
    out = in_process(child_task_factory, use, place, loop, limit=10)
    assert out.splitlines() == [*NONSENSE, "stopped"]


def child_failing_factory(use: str) -> None:
    """A task factory raises."""

    def factory(made: object, coro: Any, **_: object) -> Any:
        coro.close()
        raise LookupError("the factory's")

    manager = start()
    set_factory(manager, factory)
    with pytest.raises(LookupError, match="the factory's"):
        USES[use](manager)
    set_factory(manager, None)
    USES[use](manager)
    manager.stop()
    say(manager.state)


@pytest.mark.parametrize("use", USES)
def test_a_task_factory_that_fails_is_told(use: str) -> None:
    """What it raises goes to whoever waits, and the manager works on."""
    assert in_process(child_failing_factory, use, limit=10) == "stopped\n"


def child_stop_without_tasks(how: str) -> None:
    """Stop a manager whose loop makes no tasks any more."""

    def factory(made: object, coro: Any, **_: object) -> Any:
        coro.close()
        if how == "raises":
            raise LookupError("the factory's")

    manager, endless = start(), Endless()
    manager.submit_task(endless.wait())
    reached(endless.began)
    set_factory(manager, factory)
    manager.stop(2)
    say(manager.state)
    say("cleaned" if endless.cleaned.is_set() else "not cleaned")


@pytest.mark.parametrize("how", ["returns nothing", "raises"])
def test_a_stop_needs_no_task_factory(how: str) -> None:
    """The work on a loop that makes no tasks any more is ended, and the loop is closed."""
    assert in_process(child_stop_without_tasks, how, limit=10) == "stopped\ncleaned\n"


def child_iterable(place: str) -> None:
    """Async iterables and context managers whose own methods fail or call back."""
    with calling_from(place) as call:
        manager = call.manager

        class Fails:
            def __aiter__(self) -> AsyncIterator[int]:
                in_thread(repr, manager)
                raise LookupError("the iterable's")

        with pytest.raises(LookupError, match="the iterable's"):
            call(lambda: list(manager.iterate(Fails())))
        with pytest.raises(LookupError, match="the coroutine's"):
            call(manager.run, throw(LookupError("the coroutine's")))
        say(call(manager.run, give("works")))


@pytest.mark.parametrize("place", PLACES)
def test_an_iterable_that_fails_is_told(place: str) -> None:
    """What an iterable's own code raises goes to whoever iterates."""
    assert in_process(child_iterable, place, limit=10) == "works\n"
