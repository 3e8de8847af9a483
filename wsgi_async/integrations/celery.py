"""Celery: `async def` tasks, on an event loop that stays open from task to task.

Call `AsyncLoop(celery_app)` once. To send the functions of a task type to Celery, set
`CeleryRoute(celery_app)` as the route of the type.
"""
# pyright: reportMissingTypeStubs=false, reportPrivateUsage=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import functools
import inspect
import signal
import threading
import weakref
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, NoReturn

from celery import signals
from celery._state import _task_stack
from celery.app import registry

from wsgi_async.core import AsyncioLoopManager
from wsgi_async.core.base.checks import refuse_in_event_loop, running_loop
from wsgi_async.core.base.coroutines import name_after
from wsgi_async.core.base.settings import Settings
from wsgi_async.core.managers.current import request_manager, start_once
from wsgi_async.core.managers.process import stop_all
from wsgi_async.core.managers.registry import get_or_create_loop_manager
from wsgi_async.routing import Route

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable, Mapping
    from types import FrameType

    from celery import Celery
    from celery.result import AsyncResult

    from wsgi_async.core.base.settings import Hook, LoopFactory
    from wsgi_async.routing import AsyncTask

__all__ = ["AsyncLoop", "CeleryRoute"]


class AsyncLoop:
    """Runs the `async def` tasks of a Celery app on the manager of the thread that executes them.

    In a sync task `run()` and `current_manager()` use the same manager, or that of the web request
    that calls the task at once.

    This includes `@shared_task` functions and task classes with an `async def run()`. In the
    prefork and solo pools there is one manager for each process, in the threads pool one for each
    thread. What the tasks open with `@loop_resource`, and what they `submit_task()`, stays open
    between tasks, until the worker ends.

    In the coroutine `self.request`, `self.retry()` and `current_task` work as in a sync task; not
    in tasks that it makes itself with `asyncio.create_task()`. A soft time limit cancels the
    coroutine, which can clean up, and raises `SoftTimeLimitExceeded` as in a sync task. In the
    prefork pool `revoke(terminate=True)` does the same before the process ends. A hard time limit
    kills the process, as for sync tasks. Celery does not enforce time limits in the `threads` pool.

    Args:
        app: The Celery app.
        id: The id of the managers, for `get_or_create_loop_manager(id)`.
        loop_factory: Makes the event loops; for example `uvloop.new_event_loop`.
        debug: asyncio's debug mode.
        grace: Seconds that a canceled coroutine may clean up.
        on_start: Called on each loop when it starts.
        on_stop: Called on each loop when it stops.

    Raises:
        TypeError, ValueError: An option cannot be used.
    """

    def __init__(
        self,
        app: Celery,
        *,
        id: Hashable = None,
        loop_factory: LoopFactory | None = None,
        debug: bool | None = None,
        grace: float = 5.0,
        on_start: Hook | None = None,
        on_stop: Hook | None = None,
    ) -> None:
        hash(id)
        self._id = id
        self._options: dict[str, Any] = {
            "loop_factory": loop_factory,
            "debug": debug,
            "grace": grace,
            "on_start": on_start,
            "on_stop": on_stop,
        }
        Settings(**self._options)
        self._local = _Local()
        untyped: Any = app
        tasks: Any = _AdoptedTasks(untyped._tasks)  # noqa: SLF001
        tasks.adopt = self._adopt
        untyped._tasks = tasks  # noqa: SLF001
        vars(untyped).pop("tasks", None)  # a cached property
        for task in tasks.values():
            self._adopt(task)
        _watch_worker()

    def _adopt(self, task: Any) -> None:
        """Run the coroutines of a task's function on the manager."""
        # If Celery retries by itself (`autoretry_for`), its own function wraps the task's.
        name = "_orig_run" if hasattr(task, "_orig_run") else "run"
        function = getattr(task, name)
        if hasattr(function, _MARK):
            return

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            result = self._call(function, args, kwargs)
            # Only the result tells: a wrapper may be sync around an async function, and run it
            # itself, or return its coroutine, as Celery's own wrappers do.
            if isinstance(result, Coroutine):
                return _as_celery_returns(function, self._run(task, result))
            return result

        setattr(run, _MARK, True)
        setattr(task, name, run)

    def _call(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Call a task's function, whose sync code finds the manager."""
        if request_manager.get() is not None:  # that of the web request that calls the task
            return function(*args, **kwargs)
        token = request_manager.set(_OfTask(self._manager))
        try:
            return function(*args, **kwargs)
        finally:
            request_manager.reset(token)

    def _run(self, task: Any, coro: Coroutine[Any, Any, Any]) -> Any:
        try:
            refuse_in_event_loop("await the coroutine itself")  # before a loop is made for nothing
            manager = self._manager()
        except BaseException:
            coro.close()
            raise
        token = request_manager.set(weakref.ref(manager))
        try:
            request = task.request_stack.top
            return manager.run(name_after(coro, _InRequest(coro, task, request)))
        finally:
            request_manager.reset(token)

    def _manager(self) -> AsyncioLoopManager:
        manager = self._local.manager
        # The manager may belong to the process that forked this one.
        if manager is None or not manager.running:
            manager = get_or_create_loop_manager(self._id, True, **self._options)
            self._local.manager = start_once(manager)
        return manager


class CeleryRoute(Route):
    """A route that sends the functions of a task type to a Celery app.

    Each function of the type becomes a task of the app, with the name that `@app.task` would give
    it. The worker's modules have to set the routes too, and the app needs an `AsyncLoop`.
    `submit()` returns Celery's `AsyncResult`. In a coroutine, call it with `asyncio.to_thread()`,
    because it talks to the broker.

    Args:
        app: The Celery app.
        queue: The queue. None uses the app's settings.
        task_options: Options of the tasks, as `@app.task` takes them, for example
            `{"autoretry_for": (OSError,), "acks_late": True}`.
        **options: Options of each message, as Celery's `apply_async()` takes them.

    Raises:
        RuntimeError: The app has no `AsyncLoop`.
    """

    def __init__(
        self,
        app: Celery,
        *,
        queue: str | None = None,
        task_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(getattr(app, "_tasks", None), _AdoptedTasks):
            raise RuntimeError(
                f"{app!r} has no AsyncLoop, so it cannot run async tasks. Call AsyncLoop(app) "
                "before CeleryRoute(app)."
            )
        self._app: Any = app
        # No lock: if a task is made twice, Celery returns the app's first one.
        self._made: dict[str, Any] = {}
        self._task_options = dict(task_options or {})
        self._options = options if queue is None else {**options, "queue": queue}

    def __repr__(self) -> str:
        return f"CeleryRoute({self._app!r})"

    def register(self, task: AsyncTask[..., Any]) -> None:
        """Make the function a task of the app, under its name."""
        task.check_importable()
        self._task_of(task)

    def submit(
        self, task: AsyncTask[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AsyncResult:
        """Send the function's name and arguments."""
        self._app.finalize(auto=True)
        return self._task_of(task).apply_async(args, kwargs, **self._options)

    def _task_of(self, task: AsyncTask[..., Any]) -> Any:
        made = self._made.get(task.name)
        if made is None:
            options = {"shared": False, **self._task_options}
            made = self._made[task.name] = self._app.task(**options)(task.function)
        return made


_MARK = "_wsgi_async"
# Celery has no types.
_signals: Any = signals
_tasks: Any = _task_stack
_TaskRegistry: Any = registry.TaskRegistry


class _Local(threading.local):
    """One thread's manager. Lives as long as the thread."""

    manager: AsyncioLoopManager | None = None


class _OfTask:
    """Finds a sync task's manager. The task's thread makes it when it first asks.

    Lives as long as the task. Other threads may have copied the task's context; they find the
    manager only if it has been made.
    """

    def __init__(self, make: Callable[[], AsyncioLoopManager]) -> None:
        self._make = make
        self._thread = threading.get_ident()
        # No lock: only the task's thread writes it.
        self._made: weakref.ref[AsyncioLoopManager] | None = None

    def __call__(self) -> AsyncioLoopManager | None:
        if threading.get_ident() == self._thread and running_loop() is None:
            self._made = weakref.ref(self._make())
        return None if self._made is None else self._made()


class _AdoptedTasks(_TaskRegistry):  # type: ignore[misc]
    """An app's tasks. Each is adopted when it is made, which may be long after `AsyncLoop(app)`."""

    adopt: Callable[[Any], None]

    def __setitem__(self, name: str, task: Any) -> None:
        self.adopt(task)
        _TaskRegistry.__setitem__(self, name, task)


def _as_celery_returns(function: Callable[..., Any], result: Any) -> Any:
    """A task's result, converted to plain data if it is a pydantic model.

    With `pydantic=True`, Celery wraps the task's function to do so, but its wrapper only sees the
    coroutine.
    """
    dump = getattr(result, "model_dump", None)
    options = inspect.getclosurevars(function).nonlocals.get("dump_kwargs") if dump else None
    return result if dump is None or options is None else dump(**options)


class _InRequest(Coroutine[Any, Any, Any]):
    """A task's coroutine. During each step, Celery's current request is set on the loop's thread.

    Celery keeps the request for each thread, and the loop's thread may not be the task's.
    """

    def __init__(self, coro: Coroutine[Any, Any, Any], task: Any, request: object) -> None:
        self._coro = coro
        self._task = task
        self._request = request

    def send(self, value: Any) -> Any:
        """As a coroutine."""
        return self._step(self._coro.send, value)

    def throw(self, *error: Any) -> Any:
        """As a coroutine."""
        return self._step(self._coro.throw, *error)

    def _step(self, step: Callable[..., Any], *args: Any) -> Any:
        if self._request is None:  # the task was called as a function
            return step(*args)
        _tasks.push(self._task)
        self._task.request_stack.push(self._request)
        try:
            return step(*args)
        finally:
            self._task.request_stack.pop()
            _tasks.pop()

    def close(self) -> None:
        """As a coroutine."""
        self._coro.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                found = self.send(value) if error is None else self.throw(error)
            except StopIteration as end:
                return end.value
            value = error = None
            try:
                value = yield found
            except BaseException as thrown:
                error = thrown  # also a GeneratorExit, which ends the coroutine


_watched: list[bool] = []


def _watch_worker() -> None:
    """Stop the managers when the worker's processes end, which skip `atexit`. Only once."""
    if not _watched:
        _watched.append(True)
        _signals.worker_process_init.connect(_in_child, weak=False)
        for end in (_signals.worker_process_shutdown, _signals.worker_shutdown):
            end.connect(_stop_all, weak=False)


def _stop_all(**_: object) -> None:
    stop_all()


def _in_child(**_: object) -> None:
    """In a process of the prefork pool: let SIGTERM end the task instead of the process."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)


def _terminate(number: int, _: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second SIGTERM kills the process
    raise SystemExit(128 + number)
