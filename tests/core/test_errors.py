"""The library's own errors: one class catches them all, and so does the builtin that each is."""

from __future__ import annotations

import asyncio
import concurrent.futures
import pickle
from typing import TYPE_CHECKING, Any

import pytest

import wsgi_async
from tests.core.support import Endless, give, on_worker, throw
from tests.middleware.test_scope import app_of
from tests.middleware.wsgi import make_environ, serve
from wsgi_async import (
    AsyncioLoopManager,
    CallerNotFound,
    LoopNotFound,
    ManagerNotFound,
    ManagerStateError,
    OutsideRequestError,
    RunningLoopError,
    TaskCancelledError,
    UnknownAsyncTaskError,
    WaitTimeoutError,
    WsgiAsyncError,
    get_or_create_loop_manager,
    loop_from,
    run_in_calling_thread,
    scope_from,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from wsgiref.types import WSGIEnvironment


def not_started(manager: AsyncioLoopManager) -> object:
    return AsyncioLoopManager().run(give(1))


def started_twice(manager: AsyncioLoopManager) -> object:
    return manager.start()  # type: ignore[func-returns-value]


def stopped_meanwhile(manager: AsyncioLoopManager) -> object:
    future = manager.submit_task(Endless().wait())
    manager.stop()
    return future.result()


def in_coroutine(manager: AsyncioLoopManager) -> object:
    async def block() -> None:
        manager.run(give(1))

    return manager.run(block())


def run_forever(manager: AsyncioLoopManager) -> object:
    return manager.get_event_loop().run_forever()


def run_too_long(manager: AsyncioLoopManager) -> object:
    return manager.run(Endless().wait(), timeout=0.01)


def result_too_late(manager: AsyncioLoopManager) -> object:
    return manager.submit_task(Endless().wait()).result(0.01)


def in_request(view: Callable[[WSGIEnvironment], object], **options: Any) -> object:
    environ = make_environ()
    return serve(app_of(lambda environ: [view(environ), b""][1:], **options), environ)


def deadline_of_request(manager: AsyncioLoopManager) -> object:
    return in_request(lambda environ: loop_from(environ).run(give(1)), timeout=0)


def deadline_of_stream(manager: AsyncioLoopManager) -> object:
    async def items() -> AsyncIterator[int]:
        yield await Endless().wait()

    return in_request(lambda environ: next(loop_from(environ).iterate(items())), timeout=0.1)


def scope_afterwards(manager: AsyncioLoopManager) -> object:
    scopes: list[Any] = []
    in_request(lambda environ: scopes.append(scope_from(environ)))
    return scopes[0].submit_task(give(1))


def deadline_afterwards(manager: AsyncioLoopManager) -> object:
    scopes: list[Any] = []
    in_request(lambda environ: scopes.append(scope_from(environ)))
    return scopes[0].timeout(5)


def unwrapped(manager: AsyncioLoopManager) -> object:
    return loop_from(make_environ())


def no_caller(manager: AsyncioLoopManager) -> object:
    return manager.submit_task(run_in_calling_thread(print)).result()


def no_manager(manager: AsyncioLoopManager) -> object:
    return get_or_create_loop_manager("unknown", strictly_get=True)


def wrong_type(manager: AsyncioLoopManager) -> object:
    return manager.run(give(1), task_type="mail")


def canceled(manager: AsyncioLoopManager) -> object:
    return manager.run(throw(asyncio.CancelledError("theirs")))


RAISED: list[tuple[Callable[[AsyncioLoopManager], object], type, type]] = [
    (not_started, ManagerStateError, RuntimeError),
    (started_twice, ManagerStateError, RuntimeError),
    (stopped_meanwhile, ManagerStateError, RuntimeError),
    (in_coroutine, RunningLoopError, RuntimeError),
    (run_forever, RunningLoopError, RuntimeError),
    (run_too_long, WaitTimeoutError, TimeoutError),
    (result_too_late, WaitTimeoutError, TimeoutError),
    (deadline_of_request, WaitTimeoutError, TimeoutError),
    (deadline_of_stream, WaitTimeoutError, TimeoutError),
    (scope_afterwards, OutsideRequestError, RuntimeError),
    (deadline_afterwards, OutsideRequestError, RuntimeError),
    (unwrapped, LoopNotFound, LookupError),
    (no_caller, CallerNotFound, LookupError),
    (no_manager, ManagerNotFound, LookupError),
    (wrong_type, UnknownAsyncTaskError, ValueError),
    (canceled, TaskCancelledError, asyncio.CancelledError),
    (canceled, TaskCancelledError, concurrent.futures.CancelledError),
]


@pytest.mark.parametrize(("call", "kind", "builtin"), RAISED)
@on_worker
def test_each_is_one_of_ours_and_a_builtin(
    call: Callable[[AsyncioLoopManager], object], kind: type[Exception], builtin: type
) -> None:
    """`except WsgiAsyncError` catches it, and so does `except RuntimeError` or what it is."""
    with AsyncioLoopManager() as manager, pytest.raises(WsgiAsyncError) as caught:
        call(manager)
    assert isinstance(caught.value, kind)
    assert isinstance(caught.value, builtin)
    assert isinstance(caught.value, Exception)


def test_a_cancellation_says_what_it_is() -> None:
    """Without words of its own it has a sentence for the log, and a way out."""
    assert "was canceled. Find out what calls cancel()" in str(TaskCancelledError())
    assert str(TaskCancelledError("of the user")) == "of the user"


def test_all_of_them_are_tested_and_exported() -> None:
    """Each of the classes can be imported from the package, and is raised by something above."""
    exported = {value for value in vars(wsgi_async).values() if is_ours(value)}
    assert exported == {kind for _, kind, _ in RAISED} | {WsgiAsyncError}


def is_ours(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, WsgiAsyncError)


@pytest.mark.parametrize("kind", list(dict.fromkeys(kind for _, kind, _ in RAISED)))
def test_they_can_be_sent_to_another_process(kind: type[Exception]) -> None:
    """A queue's worker or a process pool hands them on, message and all."""
    needs_two = kind is UnknownAsyncTaskError
    error = kind("one", "two") if needs_two else kind("what to do")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == str(error)


@on_worker
def test_what_a_coroutine_raises_is_not_one_of_ours() -> None:
    """Its own errors pass through as they are."""
    with AsyncioLoopManager() as manager:
        for error in (RuntimeError("theirs"), TimeoutError("theirs"), LookupError("theirs")):
            with pytest.raises(type(error)) as caught:
                manager.run(throw(error))
            assert caught.value is error
