"""Context variables: into a coroutine and back to its caller."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.support import Worker, in_process, in_thread, on_worker, outcome, reached, say
from wsgi_async import AsyncioLoopManager

if TYPE_CHECKING:
    from tests.core.conftest import LoopFactory, MakeManager

language: contextvars.ContextVar[str] = contextvars.ContextVar("language", default="none")
user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")


async def read() -> str:
    await asyncio.sleep(0)
    return language.get()


async def write(value: str) -> str:
    before = language.get()
    language.set(value)
    await asyncio.sleep(0)
    return before


@on_worker
def test_the_coroutine_sees_the_callers(make_manager: MakeManager) -> None:
    """What a view has set, the async code below it sees."""
    language.set("de")
    assert make_manager().run(read()) == "de"


@on_worker
def test_the_caller_sees_what_was_set(make_manager: MakeManager) -> None:
    """What the async code sets, the view sees afterwards, and so does its next call."""
    manager = make_manager()
    assert manager.run(write("fr")) == "none"
    assert language.get() == "fr"
    assert manager.run(write("it")) == "fr"


def child_without_asgiref() -> None:
    """A coroutine sets a variable in a process that knows no asgiref."""
    manager = AsyncioLoopManager()
    manager.start()
    assert manager.run(write("fr")) == "none"
    assert language.get() == "fr"
    assert "asgiref" not in sys.modules
    manager.stop()
    say("done")


def test_without_asgiref() -> None:
    """What the async code sets comes back in a process without asgiref too."""
    assert in_process(child_without_asgiref) == "done\n"


@on_worker
def test_what_was_set_before_an_error(make_manager: MakeManager) -> None:
    """A coroutine that fails after it set a variable has set it all the same."""

    async def set_and_fail() -> None:
        language.set("fr")
        raise LookupError

    with pytest.raises(LookupError):
        make_manager().run(set_and_fail())
    assert language.get() == "fr"


@on_worker
def test_copy_back_can_be_declined(make_manager: MakeManager) -> None:
    """With `copy_back=False` the caller's variables stay as they were."""
    language.set("de")
    assert make_manager().run(write("fr"), copy_back=False) == "de"
    assert language.get() == "de"


@on_worker
def test_both_ways_from_any_thread(make_manager: MakeManager) -> None:
    """It is the same for a thread that does not own the manager."""
    manager = make_manager()
    language.set("de")
    assert manager.run(write("fr")) == "de"
    assert language.get() == "fr"

    def stranger() -> tuple[str, str]:
        language.set("en")
        return manager.run(write("es")), language.get()

    assert in_thread(stranger) == ("en", "es")
    assert language.get() == "fr"


@on_worker
def test_only_what_changed_comes_back(make_manager: MakeManager) -> None:
    """A variable that the coroutine did not touch keeps the caller's value."""
    manager = make_manager()
    user.set("ann")
    manager.run(write("fr"))
    assert (user.get(), language.get()) == ("ann", "fr")


@on_worker
def test_an_explicit_context(make_manager: MakeManager) -> None:
    """The coroutine runs in the very context that it was given, and what it set comes back."""
    manager = make_manager()
    language.set("de")
    given = contextvars.Context()
    given.run(language.set, "en")
    assert manager.run(write("fr"), context=given) == "en"
    assert given[language] == "fr"
    assert language.get() == "fr"


@on_worker
def test_an_explicit_context_without_copy_back(make_manager: MakeManager) -> None:
    """Then the change is in that context alone."""
    manager = make_manager()
    language.set("de")
    given = contextvars.copy_context()
    assert manager.run(write("fr"), context=given, copy_back=False) == "de"
    assert given[language] == "fr"
    assert language.get() == "de"


@on_worker
def test_only_what_changed_in_an_explicit_context(make_manager: MakeManager) -> None:
    """A variable that differs in the given context, and was not touched, does not come back."""
    manager = make_manager()
    user.set("ann")
    given = contextvars.Context()
    given.run(user.set, "bob")
    manager.run(write("fr"), context=given)
    assert (user.get(), language.get()) == ("ann", "fr")


@on_worker
def test_a_context_can_be_used_again_at_once(make_manager: MakeManager) -> None:
    """When `run()` returns, no other thread is in the context that it was given any more."""
    manager = make_manager()
    returned = threading.Event()

    async def stay_inside(coro: Any) -> Any:
        try:
            return await coro
        finally:
            returned.wait(0.1)  # the task's last step goes on for a while, if nobody waits for it

    def factory(loop: Any, coro: Any, **options: Any) -> asyncio.Task[Any]:
        return asyncio.Task(stay_inside(coro), loop=loop, **options)

    manager.get_event_loop().set_task_factory(factory)
    given = contextvars.copy_context()
    assert manager.run(write("fr"), context=given) == "none"
    assert given.run(language.get) == "fr"
    returned.set()
    assert manager.run(read(), context=given) == "fr"


@on_worker
def test_a_context_that_is_entered_already(make_manager: MakeManager) -> None:
    """A context that cannot be entered again gives an error, and no call that hangs for ever."""
    manager = make_manager()
    given = contextvars.copy_context()
    with pytest.raises(RuntimeError, match="already entered"):
        given.run(lambda: manager.run(read(), context=given, timeout=10))
    assert manager.run(read(), context=given) == "none"


@on_worker
def test_a_context_that_another_thread_is_in(make_manager: MakeManager) -> None:
    """It is the same when the context is in use in another thread."""
    manager = make_manager()
    given = contextvars.copy_context()
    inside, leave = threading.Event(), threading.Event()

    def stay() -> None:
        inside.set()
        reached(leave)

    thread = threading.Thread(target=given.run, args=(stay,))
    thread.start()
    reached(inside)
    try:
        with pytest.raises(RuntimeError, match="already entered"):
            manager.run(read(), context=given, timeout=10)
    finally:
        leave.set()
        thread.join()


@pytest.mark.parametrize("sync_future", [False, True])
@on_worker
def test_a_submitted_task_sees_the_submitters(make_manager: MakeManager, sync_future: bool) -> None:
    """A task sees the variables as they were when it was submitted, and changes nobody's."""
    manager = make_manager()
    language.set("de")
    future = manager.submit_task(write("fr"), return_sync_future=sync_future)
    language.set("en")
    assert future.result() == "de"
    assert language.get() == "en"
    assert manager.run(read()) == "en"


@on_worker
def test_calls_do_not_see_each_other(make_manager: MakeManager) -> None:
    """Two threads that share a manager each have their own variables in it."""
    manager = make_manager()
    meeting = asyncio.Barrier(2)

    async def meet() -> str:
        await meeting.wait()
        return language.get()

    def call(value: str) -> str:
        language.set(value)
        return manager.run(meet())

    with Worker() as one, Worker() as two:
        first, second = one.begin(call, "de"), two.begin(call, "fr")
        assert (outcome(first), outcome(second)) == ("de", "fr")
    assert language.get() == "none"


@on_worker
def test_a_later_callback_keeps_no_callers_context(loop_factory: LoopFactory | None) -> None:
    """Loop and keeper are made in an empty context: a request's objects do not live on in them."""

    class Request:
        pass

    current: contextvars.ContextVar[Any] = contextvars.ContextVar("current")
    manager = AsyncioLoopManager(loop_factory=loop_factory)
    request = Request()
    seen = weakref.ref(request)

    def first_request(request: Request) -> None:
        current.set(request)
        manager.start()

    contextvars.copy_context().run(first_request, request)
    del request
    gc.collect()
    assert seen() is None
    manager.stop()
