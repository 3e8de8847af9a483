"""A Django project's settings and tasks, for a process of its own."""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
import threading
from typing import TYPE_CHECKING, Any

import django
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NAME = "tests.integrations.django_tasks.site"
LOOP = "wsgi_async.integrations.django.tasks.LoopBackend"
QUEUES = {
    "": (LOOP, []),
    "db": ("django_tasks_db.DatabaseBackend", ["django_tasks_db"]),
    "rq": ("django_tasks_rq.RQBackend", ["django_rq", "django_tasks_rq"]),
}
"""What QUEUED in the environment stands for: a backend, and its apps."""


def set_up() -> None:
    """Make the present process one of the project."""
    database = os.environ.get("DATABASE", ":memory:")
    options = json.loads(os.environ.get("OPTIONS", "{}"))
    backend, apps = QUEUES[os.environ.get("QUEUED", "")]
    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": database}},
        INSTALLED_APPS=["wsgi_async.integrations.django", *apps],
        RQ_QUEUES={"default": {"URL": os.environ.get("REDIS_URL", "redis://")}},
        TASKS={
            "default": {"BACKEND": backend, "QUEUES": [], "OPTIONS": options},
            "immediate": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"},
        },
        USE_TZ=True,
    )
    django.setup()


set_up()

from django.tasks import task  # noqa: E402

from wsgi_async import current_manager, loop_resource  # noqa: E402
from wsgi_async.routing import async_task  # noqa: E402

who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")
go_on = threading.Event()
cleaned_up = threading.Event()
begun = threading.Event()
opened = 0


@loop_resource
async def client() -> AsyncIterator[int]:
    global opened
    opened += 1
    yield opened


@task
async def look() -> list[Any]:
    """Which loop it is on, and how many clients were opened so far."""
    loop = asyncio.get_running_loop()
    assert current_manager().get_event_loop() is loop
    return [id(loop), await client(), who.get()]


@task
async def wait() -> str:
    """Continue when the test allows it."""
    begun.set()
    await asyncio.to_thread(go_on.wait, 20)
    return "done"


@task
async def endless() -> None:
    begun.set()
    try:
        await asyncio.Event().wait()
    finally:
        cleaned_up.set()


@task(takes_context=True)
async def about_itself(context: Any, word: str) -> list[Any]:
    return [context.task_result.id, context.attempt, word]


@task
def sync(number: int) -> list[Any]:
    return [threading.current_thread().name, number]


def _query() -> list[Any]:
    was_open = connection.connection is not None
    with connection.cursor() as cursor:
        return [was_open, cursor.execute("SELECT 7").fetchone()[0]]


@task
async def query() -> list[Any]:
    """Whether a connection was open, and what the database says."""
    return await sync_to_async(_query)()


@task
async def fail() -> None:
    raise LookupError("nothing there")


@task
async def unwritable() -> object:
    return object()


@async_task("mail")
async def routed(number: int, *, plus: int = 0) -> list[Any]:
    return [2 * number + plus, id(asyncio.get_running_loop()), await client()]


async def not_a_task() -> None: ...
