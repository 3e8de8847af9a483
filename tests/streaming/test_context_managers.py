"""`manager.wrap_async_context_manager()`: async context managers in sync code."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import signal
import threading
import weakref
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.core.forking import in_child
from tests.core.support import (
    BEGIN,
    Endless,
    Stubborn,
    Worker,
    give,
    in_process,
    on_worker,
    outcome,
    reached,
    say,
    throw,
    wait_until,
)
from tests.streaming.parts import fail_when_cancelled, ident, variable
from wsgi_async import AsyncioLoopManager
from wsgi_async.core.base.deadlines import Deadline, request_deadline
from wsgi_async.core.managers.manager import lifecycle_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator
    from types import TracebackType

    from tests.core.conftest import MakeManager


class Session:
    """An async context manager that notes who enters and exits it, and with what."""

    def __init__(self, *, suppresses: bool = False, error: BaseException | None = None) -> None:
        self.suppresses, self.error = suppresses, error
        self.tasks: list[asyncio.Task[Any] | None] = []
        self.threads: list[int] = []
        self.seen: list[str] = []
        self.got: BaseException | None = None
        self.exited = threading.Event()

    async def note(self) -> None:
        for _ in range(2):
            self.tasks.append(asyncio.current_task())
            self.threads.append(threading.get_ident())
            self.seen.append(variable.get())
            await asyncio.sleep(0)

    async def __aenter__(self) -> str:
        await self.note()
        return "session"

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self.got = error
        await self.note()
        self.exited.set()
        if self.error is not None:
            raise self.error
        return self.suppresses


@on_worker
def test_enter_and_exit_in_one_task(make_manager: MakeManager) -> None:
    """Both run in one task, one context and one thread, and run() works in between."""
    manager, session = make_manager(), Session()
    variable.set("request")
    with manager.wrap_async_context_manager(session) as value:
        assert value == "session"
        variable.set("later")
        assert manager.run(give(1)) == 1
        assert not session.exited.is_set()
    assert session.exited.is_set()
    assert session.got is None
    assert len(set(session.tasks)) == 1
    assert set(session.threads) == {manager.run(ident())}
    assert set(session.seen) == {"request"}


@on_worker
def test_an_exception_of_the_body_reaches_it(make_manager: MakeManager) -> None:
    """It gets the very exception, which then goes on as it was raised."""
    session, error = Session(), LookupError("body")
    with (
        pytest.raises(LookupError) as caught,
        make_manager().wrap_async_context_manager(session),
    ):
        raise error
    assert caught.value is error is session.got
    assert caught.value.__context__ is None


@on_worker
def test_an_exception_of_the_body_can_be_suppressed(make_manager: MakeManager) -> None:
    """The with statement then ends as if nothing had been."""
    with make_manager().wrap_async_context_manager(Session(suppresses=True)):
        raise LookupError


@on_worker
def test_an_exception_of_the_exit(make_manager: MakeManager) -> None:
    """It comes out of the with statement, with the body's as its context."""
    session, body = Session(error=ValueError("exit")), LookupError("body")
    with (
        pytest.raises(ValueError, match="exit") as caught,
        make_manager().wrap_async_context_manager(session),
    ):
        raise body
    assert caught.value.__context__ is body


@pytest.mark.parametrize("kind", [LookupError, SystemExit])
@on_worker
def test_an_exception_of_the_enter(make_manager: MakeManager, kind: type[BaseException]) -> None:
    """It comes out of the with statement before the body, and the manager lives on."""
    manager = make_manager()

    @asynccontextmanager
    async def broken() -> AsyncIterator[None]:
        await throw(kind("enter"))
        yield

    with pytest.raises(kind, match="enter"), manager.wrap_async_context_manager(broken()):
        pytest.fail("entered")
    assert manager.run(give(1)) == 1


@on_worker
def test_a_task_group_stays_open(make_manager: MakeManager) -> None:
    """Its children run on between the calls, and are waited for at the end."""
    manager = make_manager()
    done: list[int] = []

    async def child(number: int) -> None:
        await asyncio.sleep(0)
        done.append(number)

    async def begin(group: asyncio.TaskGroup, number: int) -> None:
        group.create_task(child(number))

    with manager.wrap_async_context_manager(asyncio.TaskGroup()) as group:
        for number in range(3):
            manager.run(begin(group, number))
    assert done == [0, 1, 2]


@on_worker
def test_a_task_group_whose_child_fails(make_manager: MakeManager) -> None:
    """The other children are cancelled at once; the error comes at the end of the with body."""
    manager, other = make_manager(), Endless()

    async def begin(group: asyncio.TaskGroup) -> None:
        group.create_task(other.wait())
        group.create_task(throw(LookupError("child")))

    with pytest.RaisesGroup(LookupError):  # noqa: SIM117 - what the body does counts
        with manager.wrap_async_context_manager(asyncio.TaskGroup()) as group:
            manager.run(begin(group))
            reached(other.cleaned)


@on_worker
def test_a_failed_child_beside_a_failed_body(make_manager: MakeManager) -> None:
    """The child's error comes out, with the body's as its context, as of any exit that fails."""
    manager, error = make_manager(), LookupError()

    async def fail(group: asyncio.TaskGroup) -> None:
        group.create_task(throw(ConnectionError()))

    def body() -> None:
        with manager.wrap_async_context_manager(asyncio.TaskGroup) as group:
            manager.run(fail(group))
            wait_until(lambda: not manager.run(hosted()), "it goes on")
            raise error

    async def hosted() -> int:
        await asyncio.sleep(0)
        return len(asyncio.all_tasks()) - 1

    with pytest.raises(ExceptionGroup) as caught:
        body()
    assert isinstance(caught.value.exceptions[0], ConnectionError)
    assert caught.value.__context__ is error


@on_worker
def test_a_task_group_in_a_generator_that_is_closed(make_manager: MakeManager) -> None:
    """The end of a response body that a client has left ends the group, and raises nothing."""
    manager, endless = make_manager(), Endless()

    async def begin(group: asyncio.TaskGroup) -> None:
        group.create_task(endless.wait())

    def body() -> Generator[bytes, None, None]:
        with manager.wrap_async_context_manager(asyncio.TaskGroup()) as group:
            manager.run(begin(group))
            yield b"first"
            yield b"second"

    chunks = body()
    assert next(chunks) == b"first"
    chunks.close()
    assert endless.cleaned.is_set()


@on_worker
def test_a_task_that_fails_as_such_a_generator_is_closed(make_manager: MakeManager) -> None:
    """That is no part of the closing, and is raised."""
    manager = make_manager()

    async def begin(group: asyncio.TaskGroup) -> None:
        group.create_task(fail_when_cancelled())
        await asyncio.sleep(0)

    def body() -> Generator[bytes, None, None]:
        with manager.wrap_async_context_manager(asyncio.TaskGroup()) as group:
            manager.run(begin(group))
            yield b"first"

    chunks = body()
    next(chunks)
    with pytest.raises(ExceptionGroup) as caught:
        chunks.close()
    assert [str(error) for error in caught.value.exceptions] == ["the child's"]


@on_worker
def test_a_timeout_stays_open(make_manager: MakeManager) -> None:
    """`asyncio.timeout` is made on the loop, and tells at the end that its time was over."""
    manager, over = make_manager(), threading.Event()

    @asynccontextmanager
    async def timeout() -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(0):
                yield
        finally:
            over.set()

    with pytest.raises(TimeoutError):  # noqa: SIM117 - what the body does counts
        with manager.wrap_async_context_manager(timeout):
            reached(over)
    with manager.wrap_async_context_manager(lambda: asyncio.timeout(None)) as scope:
        assert not scope.expired()


@on_worker
def test_an_anyio_task_group(make_manager: MakeManager) -> None:
    """anyio's cancel scopes, which insist on one task, are entered and exited in one."""
    anyio = pytest.importorskip("anyio")
    manager, task, ended = make_manager(), Endless(), threading.Event()

    async def child() -> None:
        try:
            await task.wait()
        finally:
            ended.set()

    async def begin(group: Any) -> None:
        group.start_soon(child)

    async def cancel(group: Any) -> None:
        group.cancel_scope.cancel()

    with manager.wrap_async_context_manager(anyio.create_task_group) as group:
        manager.run(begin(group))
        reached(task.began)
        manager.run(cancel(group))
        assert manager.run(give(1)) == 1
    assert ended.is_set()


@on_worker
def test_several_at_once(make_manager: MakeManager) -> None:
    """They nest, and need not be left in the order that they were entered in."""
    manager, sessions = make_manager(), [Session() for _ in range(3)]
    wrapped = [manager.wrap_async_context_manager(session) for session in sessions]
    for one in wrapped:
        one.__enter__()
    for one, session in zip(wrapped, sessions, strict=True):
        one.__exit__(None, None, None)
        assert session.exited.is_set()


@on_worker
def test_a_stop_while_it_is_open(make_manager: MakeManager) -> None:
    """The stop runs its exit; the with statement then says that the manager was stopped."""
    manager, session = make_manager(), Session()
    with pytest.raises(RuntimeError, match="was stopped"):  # noqa: SIM117 - the body counts
        with manager.wrap_async_context_manager(session):
            manager.stop()
    assert session.exited.is_set()
    assert isinstance(session.got, asyncio.CancelledError)


@on_worker
def test_a_stop_while_it_is_exited(make_manager: MakeManager) -> None:
    """An exit that is under way when the manager is stopped comes to its end."""
    manager, began = make_manager(), threading.Event()

    @asynccontextmanager
    async def careful() -> AsyncIterator[list[str]]:
        lines: list[str] = []
        try:
            yield lines
        finally:
            began.set()
            await asyncio.sleep(0.05)  # a transaction is rolled back
            lines.append("closed")

    def use() -> list[str]:
        with manager.wrap_async_context_manager(careful()) as lines:
            pass
        return lines

    with Worker() as other:
        using = other.begin(use)
        reached(began)
        manager.stop()
        assert outcome(using) == ["closed"]


@on_worker
def test_a_stop_does_not_hide_the_bodys_exception(make_manager: MakeManager) -> None:
    """What went wrong in the body comes out, not that the manager was stopped."""
    manager = make_manager()

    def stop() -> None:
        manager.stop()
        raise LookupError

    with pytest.raises(LookupError), manager.wrap_async_context_manager(Session()):
        stop()


@on_worker
def test_collected_while_it_is_open(make_manager: MakeManager) -> None:
    """One that was never exited is closed in the background, with a warning that names it."""
    session = Session()
    kept = [make_manager().wrap_async_context_manager(session)]
    kept[0].__enter__()
    with pytest.warns(ResourceWarning, match="was entered and never exited"):
        kept.clear()
    reached(session.exited)


@on_worker
def test_an_exit_that_raises_the_bodys_exception(make_manager: MakeManager) -> None:
    """It goes on as it was, with the body's traceback and nothing of ours."""
    error = LookupError("of the body")
    with pytest.raises(LookupError) as raised:  # noqa: SIM117 - the body counts
        with make_manager().wrap_async_context_manager(Session(error=error)):
            raise error
    assert raised.value is error
    assert "leave" not in [entry.name for entry in raised.traceback]


@on_worker
def test_an_enter_that_nobody_waits_for(make_manager: MakeManager) -> None:
    """One that was given up and let go is exited as soon as its enter is done."""
    manager, stubborn = make_manager(grace=0.05), Stubborn()

    class Slow(Session):
        async def __aenter__(self) -> str:
            return await stubborn.wait()

    def enter(session: Session) -> None:
        request_deadline.set(Deadline(BEGIN))
        wrapped = manager.wrap_async_context_manager(session)
        with pytest.raises(TimeoutError):
            wrapped.__enter__()

    def give_up(session: Session) -> None:
        contextvars.copy_context().run(enter, session)
        gc.collect()

    session = Slow()
    with pytest.warns(ResourceWarning, match="was entered and never exited"):
        give_up(session)
    stubborn.release()
    reached(session.exited)
    assert isinstance(session.got, asyncio.CancelledError)


def child_forked_inside() -> None:
    """A child is forked while a context manager is entered, and lets go of it."""
    manager, session = AsyncioLoopManager(), Session()
    manager.start()
    kept = [manager.wrap_async_context_manager(session)]
    kept[0].__enter__()
    in_child(kept.clear)
    kept.pop().__exit__(None, None, None)
    assert session.exited.is_set()
    manager.stop()
    say("done")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_forked_while_it_is_open() -> None:
    """A child says nothing of what its parent has open, and exits nothing."""
    assert in_process(child_forked_inside) == "done\n"


@on_worker
def test_nothing_keeps_it(make_manager: MakeManager) -> None:
    """After the with statement it is freed, without the collector."""
    manager = make_manager()

    def use() -> weakref.ref[Session]:
        session = Session()
        with manager.wrap_async_context_manager(session):
            pass
        return weakref.ref(session)

    gc.collect()
    gc.disable()
    try:
        seen = use()
        wait_until(lambda: manager.run(give(seen())) is None, "something keeps it")
    finally:
        gc.enable()


@on_worker
def test_it_is_for_one_with_statement(make_manager: MakeManager) -> None:
    """A second use is told so, and does not enter again."""
    session = Session()
    wrapped = make_manager().wrap_async_context_manager(session)
    with wrapped:
        pass
    with pytest.raises(RuntimeError, match="entered before"), wrapped:
        pytest.fail("entered")


@on_worker
def test_exiting_what_is_not_open(make_manager: MakeManager) -> None:
    """By hand, an exit without an enter, or after the exit, enters nothing and is an error."""
    session = Session()
    wrapped = make_manager().wrap_async_context_manager(session)
    with pytest.raises(RuntimeError, match="not entered"):
        wrapped.__exit__(None, None, None)
    assert not session.tasks
    with wrapped:
        pass
    with pytest.raises(RuntimeError, match="exited before"):
        wrapped.__exit__(None, None, None)


@on_worker
def test_in_a_coroutine(make_manager: MakeManager) -> None:
    """Where a loop runs, enter and exit say what to do instead, and can be called elsewhere."""
    manager, session = make_manager(), Session()
    wrapped = manager.wrap_async_context_manager(session)

    async def enter() -> None:
        wrapped.__enter__()

    async def leave() -> None:
        wrapped.__exit__(None, None, None)

    with pytest.raises(RuntimeError, match="async with"):
        manager.run(enter())
    wrapped.__enter__()
    with pytest.raises(RuntimeError, match="async with"):
        manager.run(leave())
    wrapped.__exit__(None, None, None)
    assert session.exited.is_set()


@on_worker
def test_what_is_no_context_manager(make_manager: MakeManager) -> None:
    """A slip is told where it was made; a sync one, that a function makes, at the enter."""
    manager = make_manager()
    wrong: Any = suppress(LookupError)
    with pytest.raises(TypeError, match="async context manager"):
        manager.wrap_async_context_manager(wrong)
    with pytest.raises(TypeError, match="async context manager"):
        manager.wrap_async_context_manager(suppress).__enter__()  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="async context manager"):  # and the coroutine is closed
        manager.wrap_async_context_manager(ident).__enter__()  # type: ignore[arg-type]


def test_before_the_start() -> None:
    """A manager that is not started raises an error that tells why."""
    with pytest.raises(RuntimeError, match="not started"):
        AsyncioLoopManager().wrap_async_context_manager(Session())


def child_interrupted_in_a_stop() -> None:
    """The main thread is interrupted in an exit, after an error, while the manager is stopped."""

    class Slow:
        async def __aenter__(self) -> None:
            pass

        async def __aexit__(self, *details: object) -> None:
            exiting.set()
            await asyncio.get_running_loop().create_future()

    def interrupt() -> None:
        reached(exiting)
        lifecycle_of(manager).request_stop()
        os.kill(os.getpid(), signal.SIGINT)

    exiting = threading.Event()
    manager = AsyncioLoopManager()
    manager.start()
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with manager.wrap_async_context_manager(Slow()):
            raise LookupError
    except BaseException as error:
        say(f"{type(error).__name__} after {type(error.__context__).__name__}")
    thread.join()
    manager.stop()


def test_an_interrupt_while_it_is_stopped() -> None:
    """Ctrl-C, or the SystemExit of a signal handler, in an exit goes on as anywhere else."""
    assert in_process(child_interrupted_in_a_stop) == "KeyboardInterrupt after LookupError\n"
