"""Management commands, tests and other code that imports no `wsgi.py`."""

from __future__ import annotations

from tests.servers.process import run_script

SETUP = """
import asyncio, os, threading
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.integrations.django.project.settings"
os.environ["APPS"] = "wsgi_async.integrations.django"
import django
django.setup()
from asgiref.sync import async_to_sync, sync_to_async
from django.core.management import call_command
call_command("migrate", run_syncdb=True, verbosity=0)

async def loop():
    assert await sync_to_async(threading.get_ident)() == threading.main_thread().ident
    return asyncio.get_running_loop()
"""


def test_the_app_gives_management_commands_a_living_loop() -> None:
    """With it in `INSTALLED_APPS`, calls of `async_to_sync` share a loop."""
    run_script(SETUP + "assert async_to_sync(loop)() is async_to_sync(loop)()")


def test_djangos_test_client_runs_async_views_on_a_living_loop() -> None:
    """In a test case's transaction, too; `loop_from()` works when the client is given a manager."""
    run_script(
        SETUP
        + """
from django.test import Client, TestCase
from django.core.signals import request_finished
from tests.integrations.django.project import receivers
from tests.integrations.django.project.models import Entry
from wsgi_async import get_or_create_loop_manager

manager = get_or_create_loop_manager()
if not manager.running:
    manager.start()
# Django's test client sends it in a coroutine, where async receivers cannot be.
request_finished.disconnect(receivers.finished)

class Views(TestCase):
    def test_where(self):
        client = Client(**{"async.loop": manager})
        one, two = (client.get("/where").json() for _ in range(2))
        self.assertEqual(one["loop"], two["loop"])
        self.assertTrue(one["is_request_loop"])
        self.assertEqual(one["orm_connection"], one["connection"])
        self.assertEqual(one["orm"], one["worker"])

    def test_stream(self):
        response = Client(**{"async.loop": manager}).get("/sync-view-stream")
        with manager.iterate(response.streaming_content) as items:
            self.assertEqual(b"".join(items).decode(), "grün True")

    def test_writes(self):
        self.assertEqual(Client().get("/write").json(), {"written": 1})
        self.assertEqual(Entry.objects.count(), 1)

    def test_writes_again(self):
        self.assertEqual(Client().get("/write").json(), {"written": 1})

    async def test_async(self):
        await Entry.objects.acreate(text="from an async test")
        response = await self.async_client.get("/write")
        self.assertEqual(response.json(), {"written": 1})
        self.assertEqual(await Entry.objects.acount(), 2)

from django.conf import settings
from django.test.runner import DiscoverRunner
runner = DiscoverRunner(verbosity=0, interactive=False)
suite = runner.build_suite([])
suite.addTests([Views(name) for name in dir(Views) if name.startswith("test_")])
result = runner.run_suite(suite)
assert result.testsRun == 5 and result.wasSuccessful()
""",
        silent=False,
    )


def test_options_reach_the_middleware() -> None:
    """`get_wsgi_application()` takes what `AsyncLoopMiddleware` takes, and `reuse` is on."""
    run_script(
        """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.integrations.django.project.settings"
from wsgi_async import AsyncLoopMiddleware
from wsgi_async.integrations.django import get_wsgi_application
assert isinstance(get_wsgi_application(), AsyncLoopMiddleware)
get_wsgi_application(force_create=False)
get_wsgi_application(reuse=False, grace=0.01)
for wrong in ({"per": "request"}, {"reuse": True, "force_create": False}, {"no": "option"}):
    try:
        get_wsgi_application(**wrong)
    except (TypeError, ValueError):
        continue
    raise AssertionError(wrong)
"""
    )


def test_an_iterator_of_the_views_own_is_closed_once() -> None:
    """One that is no generator, a database cursor for one, may take the second time ill."""
    run_script(
        """
import threading
from django.conf import settings
settings.configure(ROOT_URLCONF="__main__", ALLOWED_HOSTS=["*"], SECRET_KEY="-")
from django.http import StreamingHttpResponse
from django.urls import path
from werkzeug.test import Client
from wsgi_async.integrations.django import get_wsgi_application

class Rows:
    left, closed = 3, 0
    def __aiter__(self):
        return self
    async def __anext__(self):
        self.left -= 1
        if self.left < 0:
            raise StopAsyncIteration
        return "row "
    async def aclose(self):
        self.closed += 1

rows = Rows()
async def view(request):
    return StreamingHttpResponse(rows)
urlpatterns = [path("", view)]

def serve():
    with Client(get_wsgi_application(reuse=False)).get("/") as response:
        assert response.text == "row row row "

thread = threading.Thread(target=serve)
thread.start()
thread.join()
assert rows.closed == 1, rows.closed
"""
    )
