"""A backend of Django Tasks that runs them in this process, on an event loop that stays open."""
# Django has no types, and strict mode would complain of each use of it.
# pyright: standard, reportMissingImports=false, reportAttributeAccessIssue=false

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from traceback import format_exception
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, close_old_connections, connections
from django.tasks import TaskContext, TaskResult, TaskResultStatus
from django.tasks.backends.base import BaseTaskBackend
from django.tasks.base import TaskError
from django.tasks.signals import task_enqueued, task_finished, task_started
from django.utils import timezone
from django.utils.crypto import get_random_string
from django.utils.json import normalize_json

from wsgi_async.core.base.coroutines import name_after
from wsgi_async.routing.managers import process_manager, submit_alone

from .results import changed, results_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.tasks import Task

__all__ = ["LoopBackend"]

_WORKER = "wsgi_async"
# When the process exits, sync functions cannot get a thread any more.
_AT_EXIT = contextlib.suppress(RuntimeError)


class LoopBackend(BaseTaskBackend):
    """A backend of Django Tasks without a queue: tasks run in this process, in the background.

    **Tasks are not durable.** Unfinished tasks are lost when the process ends, including on a
    reload or because of gunicorn's `max_requests`. Async tasks are canceled and get a few seconds
    to clean up. Work that must not be lost needs a backend with a queue, for example
    django-tasks-db.

    Async tasks run on one event loop for the process, which stays open; many run at a time. Sync
    tasks run in threads. A task begins at once, or after the commit if the default database is in
    a transaction; it continues after the response. It does not see the caller's context variables.
    In a coroutine, call `await task.aenqueue()`: `enqueue()` there does not see the transaction of
    the waiting thread, so the task may begin before the commit.

    Results are in memory, so `get_result()` finds those of this process only: with several worker
    processes, another one may answer the next request. A task in a transaction has no result
    before the commit. Priorities and `run_after` are refused.

    In `TASKS`, the `OPTIONS` are `max_results`, how many finished tasks are remembered (1000), and
    `max_age`, for how many seconds (3600).

    Django creates an instance per context, so under a server there is one per request. All
    instances share the results.
    """

    supports_async_task = True
    supports_get_result = True

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, params)
        known = {"max_results": 1000, "max_age": 3600.0}
        if odd := sorted(set(self.options) - set(known)):
            raise ImproperlyConfigured(
                f"TASKS[{alias!r}] has the unknown OPTIONS {', '.join(odd)}. LoopBackend knows "
                "max_results and max_age."
            )
        self._limits: dict[str, Any] = known | self.options
        self._results = results_of(alias)

    def enqueue(self, task: Task, args: Any, kwargs: Any) -> TaskResult:
        """Run a task after the current transaction, or now if there is none.

        Raises:
            InvalidTask: The backend cannot run the task.
            TypeError: An argument cannot be written as JSON.
        """
        self.validate_task(task)
        result = TaskResult(
            task=task,
            id=get_random_string(32),
            status=TaskResultStatus.READY,
            enqueued_at=timezone.now(),
            started_at=None,
            last_attempted_at=None,
            finished_at=None,
            args=args,
            kwargs=kwargs,
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )
        begin = functools.partial(self._begin, result)
        connection = connections[DEFAULT_DB_ALIAS]
        # Not `on_commit()` in every case: it opens the connection, which a coroutine must not do.
        if connection.in_atomic_block:
            connection.on_commit(begin)
        else:
            begin()
        return result

    def _begin(self, result: TaskResult) -> None:
        manager = process_manager()
        self._results.put(result)
        try:
            task_enqueued.send(type(self), task_result=result)
        finally:  # it is enqueued, whatever a receiver makes of that
            submit_alone(manager, name_after(result.task.func, self._run(result)))

    def get_result(self, result_id: str) -> TaskResult:
        """The current state of a task that this process runs or has run.

        Raises:
            TaskResultDoesNotExist: The process does not know the task, or has forgotten it.
        """
        self._results.drop(**self._limits)
        return self._results.get(result_id)

    async def aget_result(self, result_id: str) -> TaskResult:
        """As `get_result()`."""
        return self.get_result(result_id)

    # -- on the loop ---------------------------------------------------------------------------

    async def _run(self, result: TaskResult) -> None:
        now = timezone.now()
        result = changed(
            result,
            status=TaskResultStatus.RUNNING,
            started_at=now,
            last_attempted_at=now,
            worker_ids=[_WORKER],
        )
        self._results.put(result)
        try:
            await task_started.asend_robust(type(self), task_result=result)
            value = normalize_json(await _call(result))
        except asyncio.CancelledError as error:
            self._finish(_failed(result, error))
            raise  # the process is ending
        except BaseException as error:
            result = _failed(result, error)
        else:
            result = changed(result, status=TaskResultStatus.SUCCESSFUL, _return_value=value)
        result = self._finish(result)
        with _AT_EXIT:
            await task_finished.asend_robust(type(self), task_result=result)

    def _finish(self, result: TaskResult) -> TaskResult:
        result = changed(result, finished_at=timezone.now())
        self._results.put(result)
        self._results.drop(**self._limits)
        return result


async def _call(result: TaskResult) -> Any:
    function, args = result.task.func, result.args
    if result.task.takes_context:
        args = [TaskContext(task_result=result), *args]
    if not inspect.iscoroutinefunction(function):
        return await sync_to_async(_call_sync, thread_sensitive=False)(
            function, args, result.kwargs
        )
    try:
        return await function(*args, **result.kwargs)
    finally:
        with _AT_EXIT:  # on the thread that ran the task's queries
            await sync_to_async(close_old_connections)()


def _call_sync(function: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
    close_old_connections()
    try:
        return function(*args, **kwargs)
    finally:
        close_old_connections()


def _failed(result: TaskResult, error: BaseException) -> TaskResult:
    kind = type(error)
    told = TaskError(
        exception_class_path=f"{kind.__module__}.{kind.__qualname__}",
        traceback="".join(format_exception(error)),
    )
    return changed(result, status=TaskResultStatus.FAILED, errors=[*result.errors, told])
