"""Django's test client in a plain `TestCase`: views find their loop, as behind a server."""

from __future__ import annotations

from tests.servers.process import run_script

SETUP = """
import asyncio, os, sys, threading
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.integrations.django.project.settings"
os.environ["APPS"] = "wsgi_async.integrations.django"
import django
django.setup()
from django.http import HttpResponse, StreamingHttpResponse
from django.test import Client, RequestFactory, SimpleTestCase, TestCase, override_settings
from django.urls import path
from asgiref.sync import sync_to_async
import wsgi_async
from wsgi_async import AsyncioLoopManager, loop_from, run, scope_from
from wsgi_async.integrations.django import current_loop
from tests.integrations.django.project import receivers
from tests.integrations.django.project.models import Entry
from django.core.signals import request_finished
# Django's test client sends it in a coroutine, where async receivers cannot be.
request_finished.disconnect(receivers.finished)

async def loop():
    await asyncio.sleep(0)
    return asyncio.get_running_loop()
"""

RUN = """
from django.test.runner import DiscoverRunner
runner = DiscoverRunner(verbosity=0, interactive=False)
suite = runner.build_suite([])
suite.addTests([Views(name) for name in dir(Views) if name.startswith("test_")])
databases = runner.setup_databases()
result = runner.run_suite(suite)
runner.teardown_databases(databases)
for _, text in result.errors + result.failures:
    print(text, file=sys.stderr)
assert result.wasSuccessful()
"""


def run_cases(code: str, count: int) -> None:
    """Run a test case, as `manage.py test` does; each of its tests has to pass."""
    run_script(f"{SETUP}{code}{RUN}assert result.testsRun == {count}\n", silent=False)


def test_views_find_their_loop() -> None:
    """`loop_from(request)` and `current_loop` work, sync and async, in the transaction."""
    run_cases(
        """
async def add(text):
    await Entry.objects.acreate(text=text)
    return await sync_to_async(threading.get_ident)()

def sync(request):
    manager = loop_from(request)
    assert manager is loop_from(request.environ) is request.environ["async.loop"]
    assert manager.run(loop()) is current_loop.run(loop()) is run(loop())
    assert isinstance(current_loop, AsyncioLoopManager) and current_loop == manager
    assert manager.run(add("sync")) == threading.get_ident()
    return HttpResponse(str(id(manager.get_event_loop())))

async def view(request):
    assert current_loop == loop_from(request)
    assert current_loop.get_event_loop() is asyncio.get_running_loop()
    assert await current_loop.submit_task(loop()) is asyncio.get_running_loop()
    await Entry.objects.acreate(text="async")
    return HttpResponse(str(id(asyncio.get_running_loop())))

urlpatterns = [path("sync", sync), path("async", view)]

@override_settings(ROOT_URLCONF="__main__")
class Views(TestCase):
    def test_requests(self):
        seen = {self.client.get(where).content for where in ("/sync", "/async") * 2}
        self.assertEqual(len(seen), 1)
        self.assertEqual(Entry.objects.count(), 4)
        self.assertEqual(seen.pop().decode(), str(id(run(loop()))))

    def test_the_transaction_is_rolled_back(self):
        self.assertEqual(Entry.objects.count(), 0)

    def test_a_manager_of_the_tests_own(self):
        with AsyncioLoopManager("mine") as mine:
            def given(request):
                assert loop_from(request) is mine and current_loop == mine
                return HttpResponse("ok")
            urlpatterns.append(path("given", given))
            from django.urls import clear_url_caches
            clear_url_caches()
            Client(**{"async.loop": mine}).get("/given")
""",
        3,
    )


def test_scopes_end_with_their_request() -> None:
    """`scope_from(request)` has tasks and a deadline, which end when Django closes the response."""
    run_cases(
        """
began, ended = threading.Event(), []

async def endless():
    began.set()
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        ended.append(1)

def view(request):
    scope = scope_from(request)
    assert scope is scope_from(request)
    async def elsewhere():
        scope_from(request).timeout(5)
    try:
        loop_from(request).run(elsewhere())
    except RuntimeError:
        pass
    else:
        raise AssertionError
    scope.submit_task(endless())
    assert began.wait(20)
    scope.timeout(0.05)
    try:
        run(asyncio.sleep(20))
    except TimeoutError as error:
        assert "request's deadline" in str(error)
    else:
        raise AssertionError
    if "fail" in request.GET:
        raise LookupError("theirs")
    if "stream" in request.GET:
        return StreamingHttpResponse(iter(["a", "b"]))
    return HttpResponse("ok")

urlpatterns = [path("", view)]

@override_settings(ROOT_URLCONF="__main__")
class Views(SimpleTestCase):
    def setUp(self):
        began.clear()
        ended.clear()

    def tearDown(self):
        self.assertEqual(ended, [1])
        run(asyncio.sleep(0.1))  # the request's deadline is over
        with self.assertRaisesRegex(RuntimeError, "outside of a request"):
            current_loop.run

    def test_a_response(self):
        self.client.get("/")

    def test_an_error(self):
        client = Client(raise_request_exception=False)
        self.assertEqual(client.get("/?fail").status_code, 500)

    def test_a_stream(self):
        response = self.client.get("/?stream")
        self.assertEqual(ended, [])
        self.assertEqual(b"".join(response.streaming_content), b"ab")
""",
        3,
    )


def test_other_requests_of_tests() -> None:
    """A request factory's find a loop; async tests and real environs are told what to do."""
    run_cases(
        """
from werkzeug.test import create_environ

async def told(request):
    try:
        loop_from(request)
    except wsgi_async.LoopNotFound as error:
        return HttpResponse(str(error))

urlpatterns = [path("", told)]

@override_settings(ROOT_URLCONF="__main__")
class Views(SimpleTestCase):
    def test_a_request_factory(self):
        request = RequestFactory().get("/")
        self.assertIs(loop_from(request).run(loop()), run(loop()))
        with self.assertRaises(LookupError):
            scope_from(request)
        with self.assertRaisesRegex(RuntimeError, "get_wsgi_application"):
            current_loop.run
        self.assertEqual(repr(current_loop), "<current_loop outside of a request>")

    async def test_an_async_client(self):
        response = await self.async_client.get("/")
        self.assertIn("await", response.content.decode())

    def test_an_environ_of_a_server(self):
        with self.assertRaisesRegex(LookupError, "not wrapped"):
            loop_from(create_environ())
        for wrong in (None, 5, object()):
            with self.assertRaisesRegex(TypeError, "neither a WSGI environ"):
                loop_from(wrong)
""",
        3,
    )


def test_nothing_is_made_that_nobody_asks_for() -> None:
    """Tests of views without async code have no loop and no thread."""
    run_script(
        """
import threading
from django.conf import settings
settings.configure(
    ROOT_URLCONF="__main__", ALLOWED_HOSTS=["*"], SECRET_KEY="-",
    INSTALLED_APPS=["wsgi_async.integrations.django"],
)
import django
django.setup()
from django.http import HttpResponse
from django.test import Client
from django.urls import path
from wsgi_async import AsyncioLoopManager
urlpatterns = [path("", lambda request: HttpResponse("ok"))]
assert Client().get("/").content == b"ok"
assert AsyncioLoopManager.all_instances() == []
assert threading.enumerate() == [threading.main_thread()]
"""
    )


def test_requests_within_requests() -> None:
    """A view that uses the test client itself has its own request back afterwards."""
    run_cases(
        """
def inner(request):
    scope_from(request).submit_task(asyncio.sleep(20))
    return HttpResponse("inner")

def outer(request):
    scope = scope_from(request)
    Client().get("/inner")
    assert scope_from(request) is scope and "open" in repr(scope)
    return HttpResponse(Client().get("/inner").content)

urlpatterns = [path("inner", inner), path("outer", outer)]

@override_settings(ROOT_URLCONF="__main__")
class Views(SimpleTestCase):
    def test_both(self):
        self.assertEqual(self.client.get("/outer").content, b"inner")
""",
        1,
    )


def test_a_request_whose_exception_leaves_the_client_is_over() -> None:
    """With DEBUG_PROPAGATE_EXCEPTIONS its scope ends, and an outer request has its own back.

    The middleware still has its loop, as the exception goes through it.
    """
    run_cases(
        """
import concurrent.futures
from wsgi_async import OutsideRequestError
tasks = []

def failing(request):
    tasks.append(scope_from(request).submit_task(asyncio.sleep(20)))
    raise ValueError("propagated")

def outer(request):
    scope = scope_from(request)
    try:
        Client().get("/failing")
    except ValueError:
        assert scope_from(request) is scope and "open" in repr(scope)
        return HttpResponse("outer")

def cleaning(get_response):
    def call(request):
        try:
            return get_response(request)
        finally:
            cleaned.append(current_loop.run(loop()))
    return call

cleaned = []
urlpatterns = [path("failing", failing), path("outer", outer)]

@override_settings(
    ROOT_URLCONF="__main__", DEBUG_PROPAGATE_EXCEPTIONS=True, MIDDLEWARE=["__main__.cleaning"]
)
class Views(SimpleTestCase):
    def test_alone(self):
        with self.assertRaisesMessage(ValueError, "propagated"):
            self.client.get("/failing")
        with self.assertRaises(OutsideRequestError):
            current_loop.run(loop())
        with self.assertRaises(concurrent.futures.CancelledError):
            tasks[-1].result(10)
        assert len(cleaned) == 1

    def test_within_another(self):
        client = Client(raise_request_exception=False)  # it hears of the inner one's, too
        self.assertEqual(client.get("/outer").content, b"outer")
        with self.assertRaises(OutsideRequestError):
            current_loop.run(loop())
""",
        2,
    )


def test_install_is_enough() -> None:
    """Without the app in `INSTALLED_APPS`, a call of `install()` does the same."""
    run_script(
        """
import asyncio
from django.conf import settings
settings.configure(ROOT_URLCONF="__main__", ALLOWED_HOSTS=["*"], SECRET_KEY="-")
import django
django.setup()
from django.http import HttpResponse
from django.test import Client
from django.urls import path
from wsgi_async import loop_from
from wsgi_async.integrations.django import current_loop, install
install()
install()

def view(request):
    loop_from(request).run(asyncio.sleep(0))
    current_loop.run(asyncio.sleep(0))
    return HttpResponse("ok")

urlpatterns = [path("", view)]
assert Client().get("/").content == b"ok"
"""
    )


def test_current_loop_behind_a_server() -> None:
    """It is the request's manager in sync and async views and in background tasks."""
    run_script(
        """
import asyncio, threading
from django.conf import settings
settings.configure(ROOT_URLCONF="__main__", ALLOWED_HOSTS=["*"], SECRET_KEY="-")
from django.http import HttpResponse
from django.urls import path
from werkzeug.test import Client
from wsgi_async import loop_from
from wsgi_async.integrations.django import current_loop, get_wsgi_application

found = []

async def later(manager, go_on):
    await go_on.wait()
    return current_loop == manager

def sync(request):
    manager = loop_from(request)
    assert current_loop == manager and hash(current_loop) == hash(manager)
    assert repr(current_loop) == repr(manager)
    go_on = asyncio.Event()
    found.append((manager, go_on, current_loop.submit_task(later(manager, go_on))))
    return HttpResponse("ok")

async def view(request):
    assert current_loop.get_event_loop() is asyncio.get_running_loop()
    return HttpResponse("ok")

urlpatterns = [path("sync", sync), path("async", view)]
client = Client(get_wsgi_application(id="web"))
assert client.get("/sync").text == client.get("/async").text == "ok"
[(manager, go_on, future)] = found
manager.get_event_loop().call_soon_threadsafe(go_on.set)
assert future.result(20)
"""
    )
