"""Async middleware, error handlers and signal receivers, on the worker's own loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integrations.django.conftest import WORKERS, WSGI
from tests.servers.process import gunicorn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.process import Server

MIDDLEWARE = "tests.integrations.django.project.middleware."


@pytest.fixture(scope="module")
def lone_site(sqlite: str, runner: str) -> Iterator[Server]:
    """One thread, so one loop, with async middleware too."""
    names = " ".join(MIDDLEWARE + name for name in ("AsyncOnly", "AsyncHooks", "AsyncAnswer"))
    options = {"DATABASE": sqlite, "MIDDLEWARE": names}
    with gunicorn(WSGI, "--threads=1", worker_class=WORKERS[runner], **options) as server:
        yield server


@pytest.fixture(scope="module")
def loop(lone_site: Server) -> int:
    """The loop that async views run on."""
    found: int = lone_site.get("/signals")["loop"]
    return found


def test_async_middleware_runs_on_the_loop_of_the_view(lone_site: Server, loop: int) -> None:
    """A middleware that is async only has the loop of the request, and so has one above it."""
    response, _ = lone_site.request("/where")
    assert response.headers["X-Loop"] == str(loop)
    assert response.headers["X-Either"] == "async"


def test_queries_below_async_middleware_are_the_requests_own(lone_site: Server) -> None:
    """Sync code, async code and sync code again, one inside of the other, share the connection."""
    for facts in [lone_site.get("/where"), *lone_site.get("/sync")["ways"]]:
        assert facts["orm"] == facts["worker"]
        assert facts["orm_connection"] == facts["connection"]


def test_async_hooks_of_middleware_run_on_that_loop(lone_site: Server, loop: int) -> None:
    """`process_view`, `process_exception` and `process_template_response` may all be async."""
    _, body = lone_site.request("/divide")
    assert body.decode() == f"ZeroDivisionError {loop} {loop} {loop}"


def test_error_handlers_may_be_async(lone_site: Server, loop: int) -> None:
    """An async `handler404` or `handler500` answers, also after the request's deadline."""
    for path, status in (("/nowhere", 404), ("/fail", 500), ("/late", 500)):
        response, body = lone_site.request(path)
        assert response.status == status
        assert body.decode() == f"{status} on {loop}"


def test_async_receivers_of_signals_run_on_that_loop(lone_site: Server, loop: int) -> None:
    """`request_started` and `request_finished` are sent once for each request, as always."""
    before = len(lone_site.get("/signals")["seen"])
    lone_site.get("/where")
    seen = lone_site.get("/signals")["seen"][before:]
    assert seen == [
        ["finished", loop],
        *([["started", loop], ["finished", loop]]),
        ["started", loop],
    ]


def test_a_language_goes_in_and_comes_out_but_not_to_the_next_request(lone_site: Server) -> None:
    """What `activate()` sets in async code holds for the rest of the request alone."""
    for _ in range(2):
        response, body = lone_site.request("/language")
        assert body == b'{"found": "en"}'
        assert response.headers["X-Language"] == "de"


def test_a_cache_client_serves_one_request_after_the_other(lone_site: Server) -> None:
    """A cache's connections stay open, and async and sync code have the same."""
    asked = [lone_site.get("/cache") for _ in range(3)]
    assert len({facts["here"] for facts in asked} | {facts["sync"] for facts in asked}) == 1


def test_a_worker_that_serves_in_its_main_thread_has_the_orm_there(sqlite: str) -> None:
    """Under gunicorn's `sync` worker the view's queries run on the main thread, as sync ones do."""
    with gunicorn(WSGI, worker_class="sync", DATABASE=sqlite) as server:
        assert server.request("/where")[0].headers["X-Either"] == "sync"
        for facts in [server.get("/where"), *server.get("/sync")["ways"]]:
            assert facts["orm"] == facts["worker"] not in facts["stepped_by"]
            assert facts["orm_connection"] == facts["connection"]
            assert facts["is_request_loop"]
