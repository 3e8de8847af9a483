"""A worker of django-tasks-db, with `wsgi_async.integrations.django` among the apps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.servers.process import run_script

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("django.tasks", reason="this Django has no tasks: it is older than 6.0")
pytest.importorskip("django_tasks_db", reason="django-tasks-db is not installed")

SCRIPT = """
import os
os.environ.update(DATABASE={database!r}, QUEUED="db")
from tests.integrations.django_tasks import site
from django.core.management import call_command
from wsgi_async.integrations.django.tasks import DjangoRoute
from wsgi_async.routing import set_routes
set_routes({{"mail": DjangoRoute()}})
call_command("migrate", verbosity=0)
"""
WORK = """
call_command("db_worker", batch=True, interval=0, startup_delay=False, queue_name="*", verbosity=0)
"""


def test_a_worker_keeps_one_loop(tmp_path: Path) -> None:
    """Its async tasks share one loop and what is open on it, and routed functions do too."""
    database = str(tmp_path / "db.sqlite3")
    script = SCRIPT.format(database=database)
    run_script(
        script
        + "results = [site.look.enqueue(), site.look.enqueue(), site.routed.submit(3, plus=1)]"
        + WORK
        + """
for result in results:
    result.refresh()
one, two, routed = (result.return_value for result in results)
assert one == two and one[1] == 1, (one, two)
assert routed == [7, one[0], 1], routed
""",
        silent=False,
    )


def test_without_the_app_each_task_has_a_loop(tmp_path: Path) -> None:
    """What the app is for: with asgiref's own function every task makes a loop and a client."""
    script = SCRIPT.format(database=str(tmp_path / "db.sqlite3"))
    run_script(
        script
        + """
from wsgi_async.integrations import asgiref
asgiref.uninstall()
results = [site.routed.submit(number) for number in range(2)]
"""
        + WORK
        + """
for result in results:
    result.refresh()
assert [result.return_value[2] for result in results if result.errors == []] != [1, 1]
""",
        silent=False,
    )
