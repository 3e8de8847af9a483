"""`LoopBackend`: Django's tasks on the process's loop, without a queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integrations.django_tasks.scripts import SETUP
from tests.servers.process import run_script

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("django.tasks", reason="this Django has no tasks: it is older than 6.0")


def test_async_tasks_share_a_loop() -> None:
    """All run on the process's manager with its resources, whichever thread enqueues them."""
    run_script(
        SETUP
        + """
from concurrent.futures import ThreadPoolExecutor
site.who.set("the request's user")
one = finished(site.look.enqueue())
with ThreadPoolExecutor(1) as pool:
    two = pool.submit(lambda: finished(site.look.enqueue())).result(20)
assert one.return_value == two.return_value
assert one.return_value == [id(process_manager().get_event_loop()), 1, "nobody"]
"""
    )


def test_a_request_leaves_nothing_of_the_backend() -> None:
    """Each context has a backend, and all of them share one set of results."""
    run_script(
        SETUP
        + """
import gc
from contextvars import Context
from wsgi_async.integrations.django.tasks.results import Results
for _ in range(20):
    result = Context().run(site.sync.enqueue, 3)
    assert finished(result).return_value[1] == 3
assert len([each for each in gc.get_objects() if type(each) is Results]) == 1
"""
    )


def test_a_receiver_that_raises_loses_no_task() -> None:
    """What it raises is `enqueue()`'s to raise; the task runs, and its result is found."""
    run_script(
        SETUP
        + """
from django.tasks.signals import task_enqueued
results = []
def fail(sender, task_result, **_):
    results.append(task_result)
    raise LookupError("of the receiver")
task_enqueued.connect(fail)
try:
    site.sync.enqueue(3)
except LookupError:
    pass
else:
    raise AssertionError("not raised")
assert finished(results[0]).status == TaskResultStatus.SUCCESSFUL
"""
    )


def test_the_states_of_a_task() -> None:
    """A result is a snapshot; refresh() and get_result() tell the present state, in any thread."""
    run_script(
        SETUP
        + """
result = site.wait.enqueue()
assert result.status == TaskResultStatus.READY and result.enqueued_at
assert site.begun.wait(20)
assert result.status == TaskResultStatus.READY
result.refresh()
assert result.status == TaskResultStatus.RUNNING and result.started_at and result.attempts == 1
found = []
thread = threading.Thread(target=lambda: found.append(site.wait.get_result(result.id)))
thread.start()
thread.join()
assert found[0].status == TaskResultStatus.RUNNING
site.go_on.set()
assert finished(result).status == TaskResultStatus.SUCCESSFUL
assert result.return_value == "done" and result.finished_at
assert run(site.wait.aget_result(result.id)).return_value == "done"
try:
    site.wait.get_result("unknown")
except TaskResultDoesNotExist:
    pass
else:
    raise AssertionError
"""
    )


def test_context_sync_tasks_and_coroutines_that_enqueue() -> None:
    """takes_context works, sync functions run in a thread, and coroutines use aenqueue()."""
    run_script(
        SETUP
        + """
result = finished(site.about_itself.enqueue("hello"))
assert result.return_value == [result.id, 1, "hello"]
name, number = finished(site.sync.enqueue(3)).return_value
assert number == 3 and name != threading.current_thread().name
assert finished(run(site.sync.aenqueue(4))).return_value[1] == 4

async def enqueue():
    return site.sync.enqueue(5)

assert finished(run(enqueue())).return_value[1] == 5
"""
    )


def test_a_failure_is_the_results() -> None:
    """The error and its traceback are in the result; a value that is not JSON is an error too."""
    run_script(
        SETUP
        + """
import logging
logging.getLogger("django.tasks").disabled = True
result = finished(site.fail.enqueue())
assert result.status == TaskResultStatus.FAILED
assert result.errors[0].exception_class is LookupError
assert "nothing there" in result.errors[0].traceback
assert finished(site.unwritable.enqueue()).errors[0].exception_class is TypeError
"""
    )


def test_signals() -> None:
    """Receivers of Django's signals hear of each task; sync ones may use the ORM."""
    run_script(
        SETUP
        + """
from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.tasks import signals
heard, done = [], threading.Event()
def receiver(sender, task_result, signal, **_):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    BaseDatabaseWrapper.close(connections["default"])  # its own leaves a database in memory open
    heard.append((sender.__name__, task_result.status.value))
    if task_result.is_finished:
        done.set()
for one in (signals.task_enqueued, signals.task_started, signals.task_finished):
    one.connect(receiver)
site.look.enqueue()
assert done.wait(20)
assert heard == [("LoopBackend", word) for word in ("READY", "RUNNING", "SUCCESSFUL")], heard
"""
    )


def test_a_task_waits_for_the_commit() -> None:
    """In a transaction it begins after the commit, and not at all after a rollback."""
    run_script(
        SETUP
        + """
from django.db import transaction
with transaction.atomic():
    result = site.look.enqueue()
    try:
        result.refresh()
    except TaskResultDoesNotExist:
        pass
    else:
        raise AssertionError
assert finished(result).status == TaskResultStatus.SUCCESSFUL
try:
    with transaction.atomic():
        dropped = site.look.enqueue()
        raise KeyError
except KeyError:
    pass
finished(site.look.enqueue())
try:
    dropped.refresh()
except TaskResultDoesNotExist:
    pass
else:
    raise AssertionError
"""
    )


def test_queries_of_an_async_task(tmp_path: Path) -> None:
    """The ORM works in an async task, and its connection is closed afterwards."""
    run_script(
        f"import os\nos.environ['DATABASE'] = {str(tmp_path / 'db.sqlite3')!r}"
        + SETUP
        + """
for _ in range(2):
    assert finished(site.query.enqueue()).return_value == [False, 7]
"""
    )


def test_what_cannot_be_done_is_refused() -> None:
    """Priorities, a time to run after and unknown options are refused, as Django's backends do."""
    run_script(
        SETUP
        + """
from datetime import timedelta
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone
from wsgi_async.integrations.django.tasks import LoopBackend
for options in ({"priority": 5}, {"run_after": timezone.now() + timedelta(1)}):
    try:
        site.look.using(**options)
    except InvalidTask:
        pass
    else:
        raise AssertionError
try:
    LoopBackend("default", {"OPTIONS": {"max_result": 3}})
except ImproperlyConfigured as error:
    assert "max_result" in str(error)
else:
    raise AssertionError
"""
    )


def test_results_are_bounded() -> None:
    """The oldest finished tasks are forgotten, by number and by age; unfinished ones are not."""
    run_script(
        """import os
os.environ["OPTIONS"] = '{"max_results": 2}'
"""
        + SETUP
        + """
waiting = site.wait.enqueue()
results = [finished(site.look.enqueue()) for _ in range(4)]
def kept(result):
    try:
        result.refresh()
    except TaskResultDoesNotExist:
        return False
    return True
assert [kept(one) for one in results] == [False, False, True, True]
assert kept(waiting)
default_task_backend._limits["max_age"] = 0
assert [kept(one) for one in results] == [False] * 4
assert kept(waiting)
site.go_on.set()
"""
    )


def test_the_end_of_the_process() -> None:
    """A task that runs then is canceled and cleans up; its result is a failure."""
    run_script(
        SETUP
        + """
result = site.endless.enqueue()
assert site.begun.wait(20)
process_manager().stop()
assert site.cleaned_up.is_set()
result.refresh()
assert result.errors[0].exception_class is asyncio.CancelledError
assert finished(site.look.enqueue()).status == TaskResultStatus.SUCCESSFUL
"""
    )


def test_a_forked_worker_has_its_own() -> None:
    """A forked process does not know the results of its parent."""
    run_script(
        SETUP
        + """
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)
result = finished(site.sync.enqueue(1))
child = os.fork()
if not child:
    try:
        result.refresh()
    except TaskResultDoesNotExist:
        os._exit(0)
    os._exit(2)
assert os.waitpid(child, 0)[1] == 0
"""
    )
