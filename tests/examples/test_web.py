from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.servers.process import wait_until

if TYPE_CHECKING:
    import httpx2

    from tests.servers.process import Server

pytestmark = pytest.mark.gunicorn


def visit(client: httpx2.Client, *paths: str) -> list[httpx2.Response]:
    """What many visitors get who come at the same time."""
    with ThreadPoolExecutor(8) as visitors:
        responses = list(visitors.map(client.get, paths))
    assert {response.status_code for response in responses} == {200}
    return responses


@pytest.mark.example("flask_app")
def test_flask(client: httpx2.Client, server: Server) -> None:
    """Async and sync views answer, and the log line comes after the response."""
    assert client.get("/").json() == ["one answered", "two answered"]
    assert client.get("/sync").json() == ["one answered"]
    server.wait_for("logged after the response")


@pytest.mark.example("django_app", "django")
def test_django(client: httpx2.Client) -> None:
    """One file is a Django site with async views, a sync one and a stream."""
    assert client.get("/").json() == {"answers": ["one answered", "two answered"]}
    assert client.get("/sync").json() == {"answers": ["one answered"]}
    with client.stream("GET", "/stream") as response:
        lines = list(response.iter_lines())
    assert lines == ["one answered", "two answered", "three answered"]


@pytest.mark.example("llm_stream", "openai")
def test_llm_stream(client: httpx2.Client) -> None:
    """The browser gets an event for each token, also without a network."""
    response = client.get("/chat", params={"prompt": "How are you?"})
    assert response.headers["Content-Type"].startswith("text/event-stream")
    assert response.text.split("\n\n") == [
        *('data: "How "', 'data: "are "', 'data: "you? "'),
        "event: done\ndata:",
        "",
    ]


@pytest.mark.example("mcp_stdio", "mcp")
def test_mcp_stdio(client: httpx2.Client) -> None:
    """The tool answers in all requests, and no thread starts more than one server."""
    found = [one.json() for one in visit(client, *(f"/add/1/{n}" for n in range(20)))]
    assert [one["sum"] for one in found] == list(range(1, 21))
    assert len({one["process"] for one in found}) <= 4


@pytest.mark.example("pool_per_thread", "sqlalchemy", "greenlet", "aiosqlite")
def test_pool_per_thread(client: httpx2.Client) -> None:
    """A thread has the same pool in all its requests, and no other thread has it."""
    found = [one.json() for one in visit(client, *["/"] * 40)]
    assert {one["answer"] for one in found} == {42}
    pairs = {(one["thread"], one["pool"]) for one in found}
    assert len(pairs) == len({thread for thread, _ in pairs}) == len({pool for _, pool in pairs})
    assert len(pairs) <= 4


@pytest.mark.example("one_loop")
def test_one_loop(client: httpx2.Client) -> None:
    """A client that all threads share answers them all."""
    found = visit(client, *["/", "/sync"] * 30)
    assert {response.text for response in found} == {"hello"}


@pytest.mark.example("background_work")
def test_background_work(client: httpx2.Client) -> None:
    """The answer comes before the job is done, and its result later, from any thread."""
    started = client.post("/jobs/report")
    assert started.status_code == 202
    assert client.get(started.text).text == "not yet"
    wait_until(lambda: client.get(started.text).text == "report is ready", what="the job")
    assert client.get("/jobs/7").status_code == 404


@pytest.mark.example("sse")
def test_sse(client: httpx2.Client) -> None:
    """What one page says, all open ones hear, and a page that is closed gives its thread back."""
    assert "EventSource" in client.get("/").text
    for _ in range(20):  # more than there are threads
        with client.stream("GET", "/events") as left:
            assert next(left.iter_lines()) == "retry: 1000"
    with client.stream("GET", "/events") as one, client.stream("GET", "/events") as other:
        pages = [one.iter_lines(), other.iter_lines()]
        assert [next(page) for page in pages] == ["retry: 1000"] * 2
        assert client.post("/say", data={"text": "Hello\nthere"}).status_code == 204
        for page in pages:
            assert next(line for line in page if line.startswith("data")) == "data: Hello there"
