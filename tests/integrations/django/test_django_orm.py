"""Async ORM calls, on the request's own thread, connection and transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.servers.process import assert_clean, wait_until

if TYPE_CHECKING:
    from tests.servers.process import Server


def texts(site: Server) -> list[str]:
    found: list[str] = site.get("/texts")["texts"]
    return found


def assert_at_home(facts: dict[str, Any], runner: str) -> None:
    """The coroutine runs on the loop's one thread, and its queries on the worker's."""
    (thread,) = facts["stepped_by"]
    assert (thread == facts["worker"]) == (runner == "resident")
    assert facts["orm"] == facts["worker"]
    assert facts["orm_connection"] == facts["connection"]
    assert facts["is_request_loop"]


def test_an_async_view_runs_on_the_requests_loop_and_its_queries_on_the_worker(
    site: Server, runner: str
) -> None:
    """That holds for a function and for a class. The loop may be the worker's own."""
    for path in ("/where", "/class"):
        assert_at_home(site.get(path), runner)


def test_async_code_that_a_sync_view_calls_runs_there_too(site: Server, runner: str) -> None:
    """asgiref's `async_to_sync` and the loop's `run()` are the same in a sync view."""
    ways = site.get("/sync")["ways"]
    for facts in ways:
        assert_at_home(facts, runner)
    assert len({facts["loop"] for facts in ways}) == 1


def test_a_loop_lives_from_one_request_to_the_next(site: Server) -> None:
    """Two threads serve all requests, with one loop each."""
    asked = [site.get("/where") for _ in range(6)]
    assert len({(facts["worker"], facts["loop"]) for facts in asked}) <= 2
    assert len({facts["worker"] for facts in asked}) == len({facts["loop"] for facts in asked})


def test_every_kind_of_async_orm_call_works(site: Server) -> None:
    """Create, save, get, refresh, iterate and delete do what their sync kin do."""
    assert site.get("/entries?text=a") == {
        "lists": [["a!"], [["a!"]], ["a!"]],
        "exist": [True, False],
        "left": 0,
    }


def test_connection_queries_has_what_async_code_asked(site: Server) -> None:
    """Sync middleware counts an async view's queries, as a debug toolbar does."""
    response, _ = site.request("/entries?text=b")
    words = [word for word in response.headers["X-Queries"].split() if word.isalpha()]
    assert [words.count(verb) for verb in ("INSERT", "UPDATE", "DELETE")] == [1, 1, 1]
    # One of them may read by a cursor on the server, and Django does not count those.
    assert words.count("SELECT") in (7, 8)


def test_async_code_is_inside_of_a_sync_views_transaction(site: Server) -> None:
    """What async ORM calls write within `atomic()` is seen inside, and is gone when it fails."""
    assert site.get("/rolled-back") == {"inside": 2}
    assert not [text for text in texts(site) if text.startswith("undone")]


def test_a_transaction_in_an_async_view_holds_for_the_async_code_below_it(site: Server) -> None:
    """`sync_to_async` around `atomic()`, and `async_to_sync` below it, are one transaction."""
    assert site.get("/rolled-back-inside") == {"left": False}


def test_other_work_of_the_view_goes_on_between_its_queries(site: Server) -> None:
    """A task beside the queries has its turns."""
    facts = site.get("/beside")
    assert facts["ticks"] >= facts["queries"] == 5


def test_connections_are_closed_after_each_request(site: Server) -> None:
    """With `CONN_MAX_AGE=0` each request opens one connection, its async part none of its own."""
    before = site.get("/connections")["created"]
    site.get("/sync")
    site.get("/entries?text=c")
    assert site.get("/connections")["created"] == before + 3


def test_a_background_task_may_use_the_orm(site: Server) -> None:
    """It outlives the request, on asgiref's thread for what no request waits for."""
    site.get("/background?text=later")
    wait_until(lambda: "later" in texts(site), what="the background task has written")
    assert_clean(site)


def test_with_conn_max_age_a_thread_keeps_its_connection(strict_site: Server) -> None:
    """Async ORM calls use and keep the thread's persistent connection."""
    for _ in range(6):
        strict_site.get("/free-write")
        created = strict_site.get("/connections")
    assert created["created"] == created["threads"] <= 2


def test_atomic_requests_undoes_what_async_code_of_a_failed_view_wrote(
    strict_site: Server,
) -> None:
    """The transaction around a sync view holds for the async ORM calls in it."""
    response, _ = strict_site.request("/atomic-error")
    assert response.status == 500
    strict_site.wait_for("RuntimeError: after the write")
    assert "from a view that failed" not in texts(strict_site)


def test_atomic_requests_refuses_async_views_as_django_does(strict_site: Server) -> None:
    """Django's own rule holds; `non_atomic_requests` takes a view out of it."""
    response, _ = strict_site.request("/write")
    assert response.status == 500
    strict_site.wait_for("You cannot use ATOMIC_REQUESTS with async views")
    assert strict_site.get("/free-write")["written"] >= 1
    assert "from an async view" not in texts(strict_site)
    assert "from a free async view" in texts(strict_site)
