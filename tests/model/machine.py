"""Threads that use the library in any order, beside a model that says what each of them gets."""

from __future__ import annotations

import asyncio
import concurrent.futures
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

import wsgi_async
from tests.core.support import LIMIT, Worker, wait_until
from tests.model import model
from wsgi_async import (
    AsyncioLoopManager,
    LoopThreadPoolExecutor,
    ManagerNotFound,
    ManagerStateError,
    RunningLoopError,
    UnknownAsyncTaskError,
    WaitTimeoutError,
    get_or_create_loop_manager,
    loop_resource,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

variable: ContextVar[int] = ContextVar("variable", default=0)

IDS = st.sampled_from([None, "x", "y"])
TYPES = st.sampled_from([None, None, None, "mail"])
MOST_THREADS = 6


class Planned(Exception):
    """What a coroutine raises on purpose."""


RAISED: dict[str, type[BaseException]] = {
    "error": Planned,
    "exit": SystemExit,
    "interrupt": KeyboardInterrupt,
    "cancel": asyncio.CancelledError,
}


async def act(kind: str, value: int) -> int:
    await asyncio.sleep(0)
    if kind in RAISED:
        raise RAISED[kind](value)
    return value


async def wait_at(gate: concurrent.futures.Future[int]) -> int:
    return await asyncio.wrap_future(gate)


async def set_variable(value: int) -> int:
    seen = variable.get()
    variable.set(value)
    return seen


async def call_inside(manager: AsyncioLoopManager) -> None:
    manager.run(act("value", 0))


class Log:
    """What the streams and resources have opened and closed."""

    def __init__(self) -> None:
        self.opened = 0
        self.open: list[int] = []
        self.wrong: list[str] = []

    @contextmanager
    def entry(self) -> Iterator[int]:
        self.opened += 1
        number = self.opened
        self.open.append(number)
        try:
            yield number
        finally:
            self.open.remove(number)


class Machine(RuleBasedStateMachine):
    """Each rule does one thing on one thread, and compares what comes of it with the model."""

    threads = Bundle("threads")
    managers = Bundle("managers")
    futures = Bundle("futures")
    streams = Bundle("streams")
    pools = Bundle("pools")

    def __init__(self) -> None:
        super().__init__()
        self.workers: dict[model.Thread, Worker] = {}
        self.real: dict[model.Manager, AsyncioLoopManager] = {}
        self.made_pools: list[LoopThreadPoolExecutor] = []
        self.streams_log, self.resources_log = Log(), Log()
        self.resources = {name: loop_resource(self._opener(name)) for name in ("db", "http")}

    def _opener(self, name: str) -> Callable[[], AsyncIterator[int]]:
        async def opened() -> AsyncIterator[int]:
            with self.resources_log.entry() as number:
                yield number

        opened.__qualname__ = name
        return opened

    def teardown(self) -> None:
        try:
            for real in self.real.values():
                real.stop(LIMIT)
            for pool in self.made_pools:
                pool.shutdown()
            for worker in self.workers.values():
                worker.end()
            assert self.streams_log.open == []
            assert self.resources_log.open == []
        finally:
            self.real.clear()

    # -- helpers -------------------------------------------------------------------------------

    def call(self, thread: model.Thread, fn: Callable[[], Any]) -> tuple[str, Any]:
        """What a thread gets from a call."""
        try:
            return "value", self.workers[thread].call(fn)
        except BaseException as error:
            if isinstance(error, AssertionError):
                raise
            return "error", error

    def gets(self, thread: model.Thread, fn: Callable[[], Any], value: Any) -> None:
        kind, found = self.call(thread, fn)
        assert kind == "value", f"{found!r} in place of {value!r}"
        assert found == value

    def raises(
        self, thread: model.Thread, fn: Callable[[], Any], *errors: type[BaseException]
    ) -> None:
        kind, found = self.call(thread, fn)
        assert kind == "error", f"{found!r} in place of {errors}"
        for error in errors:
            assert isinstance(found, error), f"{found!r} in place of {error}"

    def refused(
        self, thread: model.Thread, manager: model.Manager, task_type: Any, fn: Callable[[], Any]
    ) -> bool:
        """Whether the manager takes no such work; if so, the call has to say so."""
        if manager.state != "running":
            self.raises(thread, fn, ManagerStateError)
        elif task_type != manager.task_type:
            self.raises(thread, fn, UnknownAsyncTaskError)
        else:
            return False
        return True

    def adopt(
        self,
        thread: model.Thread,
        manager: model.Manager,
        real: AsyncioLoopManager,
        *,
        started: bool = False,
    ) -> model.Manager:
        """Note a new manager, and perhaps have its thread start it."""
        assert real not in self.real.values()
        self.real[manager] = real
        if started:
            self.gets(thread, real.start, None)
            assert manager.start(None, thread)
        return manager

    # -- threads -------------------------------------------------------------------------------

    @initialize(target=threads, of_pool=st.booleans())
    def first_thread(self, of_pool: bool) -> model.Thread:
        thread = model.Thread(None, of_pool)
        self.workers[thread] = Worker("thread 0", resident=of_pool)
        return thread

    @rule(target=threads, parent=threads, of_pool=st.booleans())
    @precondition(lambda self: len(self.workers) < MOST_THREADS)
    def start_thread(self, parent: model.Thread, of_pool: bool) -> model.Thread:
        thread = model.Thread(parent, of_pool)
        name = f"thread {len(self.workers)}"
        worker = self.workers[parent].call(Worker, name, resident=of_pool)
        self.workers[thread] = worker
        parent_thread = wsgi_async.get_parent_thread(worker.thread)
        assert parent_thread is self.workers[parent].thread
        return thread

    @rule(thread=consumes(threads))
    @precondition(lambda self: sum(not one.ended for one in self.workers) > 1)
    def end_thread(self, thread: model.Thread) -> None:
        self.workers[thread].end()
        thread.end()
        for manager in thread.managers:
            real = self.real[manager]
            wait_until(lambda real=real, m=manager: real.state == m.state, f"{real} ends")  # type: ignore[misc]

    # -- look-ups ------------------------------------------------------------------------------

    @rule(target=managers, thread=threads, id=IDS, started=st.booleans())
    def get_or_create(self, thread: model.Thread, id: Any, started: bool) -> Any:
        kind, real = self.call(thread, lambda: get_or_create_loop_manager(id))
        assert kind == "value", real
        expected = thread.find(id)
        if expected is None:
            return self.adopt(thread, thread.make(id), real, started=started)
        assert real is self.real[expected]
        return multiple()

    @rule(target=managers, thread=threads, id=IDS, started=st.booleans())
    def force_create(self, thread: model.Thread, id: Any, started: bool) -> model.Manager:
        real = self.workers[thread].call(get_or_create_loop_manager, id, True)
        return self.adopt(thread, thread.make(id), real, started=started)

    @rule(id=IDS)
    def strictly_get(self, id: Any) -> None:
        """Each thread finds the manager of its lineage, or none."""
        call = lambda: get_or_create_loop_manager(id, strictly_get=True)  # noqa: E731
        for thread in self.workers:
            if thread.ended:
                continue
            expected = thread.find(id)
            if expected is None:
                self.raises(thread, call, ManagerNotFound)
            else:
                self.gets(thread, call, self.real[expected])

    @rule(target=managers, thread=threads, value=st.integers(0, 9))
    def run_on_current(self, thread: model.Thread, value: int) -> Any:
        """`wsgi_async.run()` finds the manager without an id, or makes one and starts it."""
        expected = thread.find(None)
        self.gets(thread, lambda: wsgi_async.run(act("value", value)), value)
        real = self.workers[thread].call(wsgi_async.current_manager)
        made = expected is None
        if expected is None:
            expected = self.adopt(thread, thread.make(None), real)
        assert real is self.real[expected]
        if expected.state == "new":
            assert expected.start(None, thread)
        return expected if made else multiple()

    # -- managers ------------------------------------------------------------------------------

    @rule(thread=threads, manager=managers, task_type=TYPES)
    def start(self, thread: model.Thread, manager: model.Manager, task_type: Any) -> None:
        real = self.real[manager]
        if manager.start(task_type, thread):
            self.gets(thread, lambda: real.start(task_type), None)
        else:
            self.raises(thread, lambda: real.start(task_type), ManagerStateError)

    @rule(thread=threads, manager=managers)
    def stop(self, thread: model.Thread, manager: model.Manager) -> None:
        opened = list(manager.resources.values())
        self.gets(thread, self.real[manager].stop, None)
        assert not set(opened) & set(self.resources_log.open)
        manager.stop()

    @rule(
        thread=threads,
        manager=managers,
        task_type=TYPES,
        kind=st.sampled_from(["value", *RAISED]),
        value=st.integers(0, 9),
    )
    def run(
        self, thread: model.Thread, manager: model.Manager, task_type: Any, kind: str, value: int
    ) -> None:
        real = self.real[manager]
        call = lambda: real.run(act(kind, value), task_type=task_type)  # noqa: E731
        if self.refused(thread, manager, task_type, call):
            return
        if kind == "value":
            self.gets(thread, call, value)
        elif kind == "cancel":
            self.raises(thread, call, asyncio.CancelledError, concurrent.futures.CancelledError)
        else:
            self.raises(thread, call, RAISED[kind])

    @rule(thread=threads, manager=managers, seconds=st.sampled_from([0, 0.001]))
    def time_out(self, thread: model.Thread, manager: model.Manager, seconds: float) -> None:
        real, kind = self.real[manager], manager.task_type
        gate: concurrent.futures.Future[int] = concurrent.futures.Future()
        call = lambda: real.run(wait_at(gate), timeout=seconds, task_type=kind)  # noqa: E731
        if self.refused(thread, manager, kind, call):
            return
        self.raises(thread, call, WaitTimeoutError, TimeoutError)
        assert not gate.running()

    @rule(thread=threads, manager=managers, value=st.integers(1, 9), copy_back=st.booleans())
    def set_in_context(
        self, thread: model.Thread, manager: model.Manager, value: int, copy_back: bool
    ) -> None:
        real, kind = self.real[manager], manager.task_type

        def call() -> tuple[int, int]:
            seen = real.run(set_variable(value), task_type=kind, copy_back=copy_back)
            return seen, variable.get()

        if self.refused(thread, manager, kind, call):
            return
        before = thread.variable
        thread.variable = value if copy_back else before
        self.gets(thread, call, (before, thread.variable))

    @rule(thread=threads, manager=managers)
    def run_in_a_coroutine(self, thread: model.Thread, manager: model.Manager) -> None:
        real, kind = self.real[manager], manager.task_type
        call = lambda: real.run(call_inside(real), task_type=kind)  # noqa: E731
        if not self.refused(thread, manager, kind, call):
            error = UnknownAsyncTaskError if kind is not None else RunningLoopError
            self.raises(thread, call, error)

    # -- submitted tasks -----------------------------------------------------------------------

    @rule(target=futures, thread=threads, manager=managers, task_type=TYPES)
    def submit(self, thread: model.Thread, manager: model.Manager, task_type: Any) -> Any:
        """A task that waits until it is let on."""
        real = self.real[manager]
        gate: concurrent.futures.Future[int] = concurrent.futures.Future()
        call = lambda: real.submit_task(wait_at(gate), task_type=task_type)  # noqa: E731
        if self.refused(thread, manager, task_type, call):
            return multiple()
        kind, future = self.call(thread, call)
        assert kind == "value", future
        manager.pending.append(made := model.Future(manager))
        return made, future, gate

    @rule(thread=threads, one=futures, value=st.integers(0, 9))
    def let_on(self, thread: model.Thread, one: Any, value: int) -> None:
        future, real, gate = one
        if future.state == "pending":
            gate.set_result(value)
            future.end("done", value)
        self.check_future(thread, future, real)

    @rule(thread=threads, one=futures)
    def cancel(self, thread: model.Thread, one: Any) -> None:
        future, real, _ = one
        self.gets(thread, real.cancel, future.state in ("pending", "canceled"))
        if future.state == "pending":
            future.end("canceled")
        self.check_future(thread, future, real)

    @rule(thread=threads, one=futures)
    def look_at(self, thread: model.Thread, one: Any) -> None:
        future, real, _ = one
        if future.state == "pending":
            self.raises(thread, lambda: real.result(0), WaitTimeoutError)
            assert not real.done()
        else:
            self.check_future(thread, future, real)

    def check_future(self, thread: model.Thread, future: model.Future, real: Any) -> None:
        call = lambda: real.result(LIMIT)  # noqa: E731
        if future.state == "done":
            self.gets(thread, call, future.value)
        elif future.state == "canceled":
            self.raises(thread, call, concurrent.futures.CancelledError)
        else:
            self.raises(thread, call, ManagerStateError)
        assert real.done()
        assert real.cancelled() == (future.state == "canceled")

    # -- streams and resources -----------------------------------------------------------------

    @rule(
        target=streams,
        thread=threads,
        manager=managers,
        length=st.integers(0, 4),
        prefetch=st.sampled_from([0, 2]),
    )
    def iterate(
        self, thread: model.Thread, manager: model.Manager, length: int, prefetch: int
    ) -> Any:
        real = self.real[manager]

        async def numbers() -> AsyncIterator[int]:
            with self.streams_log.entry():
                for number in range(length):
                    yield number

        call = lambda: real.iterate(numbers(), prefetch=prefetch)  # noqa: E731
        if self.refused(thread, manager, manager.task_type, call):
            return multiple()
        kind, stream = self.call(thread, call)
        assert kind == "value", stream
        manager.streams.append(made := model.Stream(manager, length))
        return made, stream

    @rule(thread=threads, one=streams)
    def next_item(self, thread: model.Thread, one: Any) -> None:
        stream, real = one
        call = lambda: next(real, "end")  # noqa: E731
        if stream.state == "stopped":
            self.raises(thread, call, ManagerStateError)
            if stream.given:  # as any generator that has raised
                stream.state = "closed"
        elif stream.state == "open" and stream.given < stream.length:
            self.gets(thread, call, stream.given)
            stream.given += 1
        else:
            self.gets(thread, call, "end")
            if stream.state == "open":
                stream.end("closed")

    @rule(thread=threads, one=streams)
    def close_stream(self, thread: model.Thread, one: Any) -> None:
        stream, real = one
        self.gets(thread, real.close, None)
        if stream.state == "open":
            stream.end("closed")
        stream.state = "closed"

    @rule(thread=threads, manager=managers, name=st.sampled_from(["db", "http"]))
    def get_resource(self, thread: model.Thread, manager: model.Manager, name: str) -> None:
        """The same instance until the manager is stopped, and another one after that."""
        real = self.real[manager]
        call = lambda: self.resources[name].get(real)  # noqa: E731
        if self.refused(thread, manager, manager.task_type, call):
            return
        new = self.resources_log.opened + 1
        self.gets(thread, call, manager.resources.setdefault(name, new))

    # -- pools ---------------------------------------------------------------------------------

    @rule(target=pools, thread=threads)
    @precondition(lambda self: len(self.made_pools) < 2)
    def make_pool(self, thread: model.Thread) -> LoopThreadPoolExecutor:
        pool = self.workers[thread].call(LoopThreadPoolExecutor, 2)
        self.made_pools.append(pool)
        return pool

    @rule(thread=threads, pool=pools, values=st.lists(st.integers(0, 9), min_size=1, max_size=4))
    def use_pool(
        self, thread: model.Thread, pool: LoopThreadPoolExecutor, values: list[int]
    ) -> None:
        call = lambda: list(pool.map(lambda v: wsgi_async.run(act("value", v)), values))  # noqa: E731
        self.gets(thread, call, values)

    @rule(thread=threads, pool=consumes(pools), wait=st.booleans())
    def shut_down(self, thread: model.Thread, pool: LoopThreadPoolExecutor, wait: bool) -> None:
        self.gets(thread, lambda: pool.shutdown(wait=wait), None)
        self.raises(thread, lambda: pool.submit(int), RuntimeError)

    # -- always --------------------------------------------------------------------------------

    @invariant()
    def states_agree(self) -> None:
        for manager, real in self.real.items():
            assert real.state == manager.state
            assert real.running == (manager.state == "running")
            assert real.task_type == manager.task_type
        alive = set(AsyncioLoopManager.all_instances())
        assert {self.real[m] for m in self.real if m.state == "running"} <= alive

    @invariant()
    def registry_agrees(self) -> None:
        registry = AsyncioLoopManager.registry()
        for thread, worker in self.workers.items():
            if not thread.ended:
                expected = {key: self.real[manager] for key, manager in thread.found.items()}
                assert registry.get(worker.thread.ident or 0, {}) == expected
