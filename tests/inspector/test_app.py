"""The page as a WSGI app: who sees it, what it holds, and where it can be mounted."""

from __future__ import annotations

import json
import os
import re
from io import BytesIO
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from tests.core.support import Worker
from tests.inspector.test_command import snapshot
from tests.servers.process import run_script
from wsgi_async import AsyncioLoopManager
from wsgi_async.inspector import open_inspector, reading
from wsgi_async.inspector.app import InspectorApp, mount
from wsgi_async.inspector.reading import Reply
from wsgi_async.inspector.web.page import part
from wsgi_async.inspector.words import SHOWN

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

TOKEN = "a-long-and-random-token"
STOPPED = {"state": "new", "runner": None, "thread": None, "loop": None, "lag": None}


class Answer:
    """What an app answers to a request, which comes from this machine unless it says otherwise."""

    def __init__(self, app: WSGIApplication, path: str = "/", body: str = "", **environ: str):
        given: dict[str, Any] = {
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": "",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "localhost:8000",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": BytesIO(body.encode()),
        }
        if body:
            given["REQUEST_METHOD"] = "POST"
            given["CONTENT_TYPE"] = "application/x-www-form-urlencoded"
        given |= environ
        setup_testing_defaults(given)
        self.status, self.headers = "", dict[str, str]()
        checked = app if "strange" in given else validator(app)
        chunks = checked(given, self._start)
        self.text = b"".join(chunks).decode()
        getattr(chunks, "close", lambda: None)()

    def _start(self, status: str, headers: list[tuple[str, str]], *_: object) -> Any:
        self.status, self.headers = status[:3], dict(headers)


@pytest.fixture
def page(folder: Path) -> Iterable[InspectorApp]:
    """The page of this process, which has one manager."""
    open_inspector(folder)
    with AsyncioLoopManager("<script>alert(1)</script>"):
        yield InspectorApp(folder)


def test_this_machine_sees_the_page(page: InspectorApp) -> None:
    """A browser at a loopback address gets all processes, with every name escaped."""
    found = Answer(page)
    assert (found.status, found.headers["Content-Type"]) == ("200", "text/html; charset=utf-8")
    assert f"Process {os.getpid()}" in found.text
    assert "&lt;script&gt;alert(1)" in found.text
    assert "<script>alert" not in found.text
    assert Answer(page, "/part").text.startswith('<p class="totals">')


def test_the_loop_of_the_very_thread_that_serves_the_page(page: InspectorApp) -> None:
    """Where loops live on the server's threads, the one that serves the page answers too."""

    def serve() -> str:
        with AsyncioLoopManager("resident"):
            return Answer(page).text

    with Worker(resident=True) as worker:
        text = worker.call(serve)
    assert "<dd>resident</dd>" in text
    assert "does not answer" not in text


def test_nothing_is_stored_or_loaded_from_elsewhere(page: InspectorApp) -> None:
    """Every response forbids caches, frames and foreign or inline scripts."""
    for path in ("/", "/part", "/json", "/page.css", "/page.js", "/none"):
        headers = Answer(page, path).headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy


def test_json(page: InspectorApp) -> None:
    """A program gets the same as the command's --json."""
    found = Answer(page, "/json")
    assert found.headers["Content-Type"] == "application/json"
    assert [one["pid"] for one in json.loads(found.text)] == [os.getpid()]


@pytest.mark.parametrize(
    "environ",
    [
        {"REMOTE_ADDR": "10.0.0.7"},
        {"REMOTE_ADDR": ""},
        {"REMOTE_ADDR": "::ffff:10.0.0.7"},
        {"HTTP_HOST": "attacker.example"},
        {"HTTP_HOST": "localhost.attacker.example"},
        {"HTTP_HOST": "[broken"},
        {"HTTP_FORWARDED": "for=127.0.0.1"},
        {"HTTP_X_FORWARDED_FOR": "127.0.0.1"},
        {"HTTP_X_REAL_IP": "127.0.0.1"},
        {"HTTP_VIA": "1.1 proxy"},
        {"SERVER_PROTOCOL": "HTTP/1.0"},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/", "/json", "/page.js", "/token"])
def test_others_are_refused(page: InspectorApp, path: str, environ: dict[str, str]) -> None:
    """Without a token, no other machine, no proxy and no foreign name gets anything."""
    found = Answer(page, path, **environ)
    assert found.status == "403"
    assert "WSGI_ASYNC_INSPECT_TOKEN" in found.text
    assert str(os.getpid()) not in found.text


@pytest.mark.parametrize(
    ("address", "host"),
    [("127.0.0.1", "127.0.0.1:8000"), ("::1", "[::1]:8000"), ("::ffff:127.0.0.1", "localhost")],
)
def test_loopback_addresses(page: InspectorApp, address: str, host: str) -> None:
    """Every spelling of this machine counts."""
    assert Answer(page, REMOTE_ADDR=address, HTTP_HOST=host).status == "200"


def test_a_token_opens_it_from_elsewhere(page: InspectorApp, folder: Path) -> None:
    """With the token as a header, a client behind a proxy sees the page."""
    app = InspectorApp(folder, TOKEN)
    far = {"REMOTE_ADDR": "10.0.0.7", "HTTP_X_FORWARDED_FOR": "10.0.0.8", "HTTP_HOST": "example"}
    assert Answer(app, HTTP_AUTHORIZATION=f"Bearer {TOKEN}", **far).status == "200"
    for wrong in (
        "",
        "Bearer",
        "Bearer nonsense",
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        "Bearer \xfc",
    ):
        found = Answer(app, HTTP_AUTHORIZATION=wrong, **far)
        assert (found.status, found.headers["WWW-Authenticate"]) == ("401", "Bearer")
        assert str(os.getpid()) not in found.text
    assert Answer(app, QUERY_STRING=f"token={TOKEN}").status == "401"


def test_a_form_asks_for_the_token(folder: Path) -> None:
    """A browser is let in by the form, and by the cookie that it gets, which hides the token."""
    app = InspectorApp(folder, TOKEN)
    asked = Answer(app)
    assert (asked.status, 'type="password"' in asked.text) == ("401", True)
    wrong = Answer(app, "/token", "token=wrong")
    assert (wrong.status, "not the token" in wrong.text) == ("401", True)
    assert "Set-Cookie" not in wrong.headers
    right = Answer(app, "/token", f"token={TOKEN}", SCRIPT_NAME="/inspect")
    assert (right.status, right.headers["Location"]) == ("303", "/inspect/")
    cookie, *attributes = right.headers["Set-Cookie"].split("; ")
    assert attributes == ["Path=/inspect/", "HttpOnly", "SameSite=Strict"]
    assert TOKEN not in cookie
    assert Answer(app, HTTP_COOKIE=f"a=b; {cookie}").status == "200"
    assert Answer(app, HTTP_COOKIE=f"{cookie}0").status == "401"
    assert Answer(InspectorApp(folder, TOKEN * 2), HTTP_COOKIE=cookie).status == "401"


def test_the_cookie_is_secure_over_https(folder: Path) -> None:
    """Over HTTPS the cookie is never sent without it."""
    environ = {"wsgi.url_scheme": "https"}
    found = Answer(InspectorApp(folder, TOKEN), "/token", f"token={TOKEN}", **environ)
    assert found.headers["Set-Cookie"].endswith("; Secure")


@pytest.mark.parametrize("length", ["", "x", "-1", "99999999"])
def test_a_form_of_a_strange_length(folder: Path, length: str) -> None:
    """A body that is too long, or whose length is not a number, is not read."""
    strange = {"CONTENT_LENGTH": length, "strange": "the validator would refuse it first"}
    found = Answer(InspectorApp(folder, TOKEN), "/token", f"token={TOKEN}", **strange)
    assert found.status == "401"


def test_a_short_token_is_refused() -> None:
    """A token that can be guessed is an error at the start."""
    with pytest.raises(ValueError, match="16 characters"):
        InspectorApp(token="secret")


def test_other_requests(page: InspectorApp) -> None:
    """Unknown paths and methods have their own answers; HEAD has no body."""
    assert Answer(page, "/none").status == "404"
    assert Answer(page, body="x=1").headers["Allow"] == "GET, HEAD"
    head = Answer(page, "/page.js", REQUEST_METHOD="HEAD")
    assert (head.status, head.text) == ("200", "")
    assert int(head.headers["Content-Length"]) > 100
    assert Answer(page, "", SCRIPT_NAME="//evil").headers["Location"] == "/evil/"
    assert Answer(page, "", SCRIPT_NAME="/a\r\nb").headers["Location"] == "/a%0D%0Ab/"


def test_a_folder_that_is_not_private(page: InspectorApp, folder: Path) -> None:
    """The page says what is wrong with the folder."""
    folder.chmod(0o755)
    found = Answer(page)
    assert (found.status, f"chmod 700 {folder}" in found.text) == ("500", True)
    folder.chmod(0o700)


def test_no_descriptors_are_left(page: InspectorApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """What keeps the page from asking the processes is on the page."""

    def fail(pid: int, path: Path) -> None:
        raise OSError("Too many open files")

    monkeypatch.setattr(reading, "_connect", fail)
    found = Answer(page)
    assert (found.status, "Too many open files" in found.text) == ("500", True)


def test_a_page_without_a_token_lets_nobody_in_by_the_form(page: InspectorApp) -> None:
    """Where no token is set, none is the right one."""
    for token in ("", "x"):
        found = Answer(page, "/token", f"token={token}")
        assert found.status == "401"
        assert "Set-Cookie" not in found.headers


def test_a_manager_that_is_not_started_has_no_lag() -> None:
    """The page leaves out what there is not."""
    started, new = (part([Reply(7, snapshot(**more))]) for more in ({}, STOPPED))
    assert "<dt>lag</dt>" in started
    assert "<dt>lag</dt>" not in new
    assert "does not answer" not in new


def test_no_process_has_a_socket(folder: Path) -> None:
    """An empty page says which setting is missing."""
    assert "WSGI_ASYNC_INSPECT=1" in Answer(InspectorApp(folder)).text


def test_everything_is_escaped() -> None:
    """No name of any kind can bring in markup."""
    bad = "<i>\"'&"
    frame = {"function": bad, "file": f"/a/{bad}", "line": 1}
    task = {"name": bad, "request": bad, "age": 1.0, "waiter": bad, "awaits": [frame]}
    manager = {
        **dict.fromkeys(("id", "state", "task_type", "runner", "thread", "loop"), bad),
        "lineage": [bad],
        "lag": None,
        "tasks": [task] * (SHOWN + 1),
        "resources": [{"name": bad, "state": bad}],
        "stack": [frame],
        "queued": 2,
    }
    html = part([Reply(7, snapshot(**manager)), Reply(8, error=bad)])
    assert "<i>" not in html
    assert bad not in html
    assert html.count("&lt;i&gt;&quot;&#x27;&amp;") > 100
    assert "does not answer" in html
    assert "1 more tasks" in html


def test_what_is_open_keeps_its_key() -> None:
    """A manager that comes before another one does not close what is open below that."""
    frame = {"function": "wait", "file": "/a.py", "line": 1}
    task = {"name": "wait", "request": None, "age": 1.0, "waiter": None, "awaits": [frame]}
    before = snapshot(id="'b c'", tasks=[task, task])
    after = snapshot(id="'a'")
    after["managers"] += before["managers"]
    keys = [re.findall('details id="([^ "]+)"', part([Reply(7, one)])) for one in (before, after)]
    assert keys[0] == keys[1]
    assert len(set(keys[0])) == 2


def hello(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode()]


def test_mounted_in_any_app(page: InspectorApp) -> None:
    """`mount()` takes one path, and leaves all others to the app."""
    app = mount(hello, "/inspect", page)
    assert Answer(app, "/inspected").text == "/inspected"
    assert Answer(app, "/").text == "/"
    moved = Answer(app, "/inspect", SCRIPT_NAME="/shop")
    assert (moved.status, moved.headers["Location"]) == ("303", "/shop/inspect/")
    assert f"Process {os.getpid()}" in Answer(app, "/inspect/").text


@pytest.mark.parametrize("path", ["inspect", "/inspect/", "/", ""])
def test_a_path_that_cannot_be_mounted(path: str) -> None:
    """A path without its slash, or with one too many, is refused."""
    with pytest.raises(ValueError, match="slash"):
        mount(hello, path)


def test_mounted_in_flask(page: InspectorApp) -> None:
    """Flask serves the page through Werkzeug's dispatcher, beside `AsyncLoop`."""
    flask = pytest.importorskip("flask")
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    from wsgi_async.integrations.flask import AsyncLoop

    app = flask.Flask("shop")
    AsyncLoop(app)
    app.get("/")(lambda: "the shop")
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/inspect": page})
    client = app.test_client()
    assert client.get("/").text == "the shop"
    response = client.get("/inspect", follow_redirects=True)
    assert response.request.path == "/inspect/"
    assert f"Process {os.getpid()}" in response.text


DJANGO = """
from wsgiref.util import setup_testing_defaults

from django.conf import settings
from django.http import HttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"], ROOT_URLCONF="urls", SECRET_KEY="of no use", USE_TZ=True
)
import sys, types
urls = sys.modules["urls"] = types.ModuleType("urls")
urls.urlpatterns = [path("", lambda request: HttpResponse("the shop"))]

from wsgi_async.inspector.app import InspectorApp, mount
from wsgi_async.integrations.django import get_wsgi_application

application = mount(get_wsgi_application(), "/inspect", InspectorApp({folder!r}))
for asked in ("/", "/inspect/"):
    environ = {"PATH_INFO": asked, "REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "localhost"}
    environ["SERVER_PROTOCOL"] = "HTTP/1.1"
    setup_testing_defaults(environ)
    body = application(environ, lambda *_: None)
    print("the shop" in (text := b"".join(body).decode()), "Start your server with" in text)
    getattr(body, "close", lambda: None)()
"""


def test_mounted_in_django(folder: Path) -> None:
    """Django's application serves the page through `mount()`."""
    pytest.importorskip("django")
    code = DJANGO.replace("{folder!r}", repr(str(folder)))
    assert run_script(code) == "True False\nFalse True\n"
