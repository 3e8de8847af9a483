from __future__ import annotations

import asyncio
import socket
import threading

from example_app.checks import check_all
from example_app.clients import http_client
from example_app.models import CheckResult, Watched
from tests.example.local import LIMIT, LocalServer
from wsgi_async import AsyncioLoopManager


def check(manager: AsyncioLoopManager, *urls: str, timeout: float = LIMIT) -> list[CheckResult]:
    watched = [Watched(number, url) for number, url in enumerate(urls)]
    return manager.run(check_all(watched, timeout=timeout), timeout=LIMIT)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_status_and_latency_of_each_address(
    manager: AsyncioLoopManager, local: LocalServer
) -> None:
    """Every address gets its own result, in order, whatever the others do."""
    refused = f"http://127.0.0.1:{closed_port()}/"
    results = check(manager, local.url("/"), local.url("/503"), refused, local.url("/cut"))
    assert [(one.status, one.ok, one.error) for one in results] == [
        (200, True, None),
        (503, False, None),
        (None, False, "no connection (connection refused)"),
        (None, False, "the connection was cut off"),
    ]
    assert [one.latency_ms is not None and one.latency_ms > 0 for one in results] == [
        True,
        True,
        False,
        False,
    ]


def test_a_redirect_is_an_answer_and_is_not_followed(
    manager: AsyncioLoopManager, local: LocalServer
) -> None:
    """The board asks for what was entered, and for nothing else."""
    (result,) = check(manager, local.url("/302"))
    assert (result.status, result.ok) == (302, True)
    assert local.wait_asked() == "/302"
    assert local.asked.empty()


def test_all_are_asked_before_any_has_answered(
    manager: AsyncioLoopManager, local: LocalServer
) -> None:
    """The checks run at the same time: the server sees all of them while none is answered."""
    results: list[CheckResult] = []
    checking = threading.Thread(
        target=lambda: results.extend(check(manager, *[local.url("/hang")] * 5))
    )
    checking.start()
    assert [local.wait_asked() for _ in range(5)] == ["/hang"] * 5
    assert results == []
    local.release.set()
    checking.join(LIMIT)
    assert [one.status for one in results] == [200] * 5


def test_connections_are_reused_and_counted(
    manager: AsyncioLoopManager, local: LocalServer
) -> None:
    """What the board says about reuse is what the server sees."""
    urls = [local.url("/a"), local.url("/b"), local.url("/404")]
    assert [one.reused for one in check(manager, *urls)] == [False] * 3
    assert local.connections == 3
    assert [one.reused for one in check(manager, *urls)] == [True] * 3
    assert local.connections == 3


def test_no_answer_in_time_is_a_result(manager: AsyncioLoopManager, local: LocalServer) -> None:
    """An address that hangs costs its time limit, not the page."""
    hanging, fine = check(manager, local.url("/hang"), local.url("/"), timeout=0.5)
    assert (hanging.status, hanging.error) == (None, "no answer within 0.5 s")
    assert fine.ok


def test_a_connection_that_the_server_just_closed_is_no_failure(
    manager: AsyncioLoopManager, local: LocalServer
) -> None:
    """An idle connection may be closed while it is used again: the check asks once more."""
    check(manager, local.url("/"))
    local.cut_next = True
    (result,) = check(manager, local.url("/"))
    assert (result.ok, result.reused, local.connections) == (True, False, 2)


def test_a_large_answer_is_not_read_to_its_end(
    manager: AsyncioLoopManager, local: LocalServer
) -> None:
    """Watching a large file costs its beginning only."""
    (result,) = check(manager, local.url("/large"))
    assert (result.ok, result.error) == (True, None)
    check(manager, local.url("/"))
    assert local.connections == 2  # the first one was closed with the answer in it


def test_a_check_leaves_no_cookie_behind(manager: AsyncioLoopManager, local: LocalServer) -> None:
    """Each check is the first visit, as far as the server can tell."""
    check(manager, local.url("/"))
    check(manager, local.url("/"))
    headers = [local.headers.get(timeout=LIMIT) for _ in range(2)]
    assert [one.get("Cookie") for one in headers] == [None, None]
    assert headers[0]["User-Agent"] == "wsgi_async-status-board"


def test_one_client_for_a_loop_closed_with_its_manager() -> None:
    """The client stays open between calls, belongs to one loop, and is closed by `stop()`."""
    first, second = AsyncioLoopManager("first"), AsyncioLoopManager("second")
    first.start()
    second.start()
    try:
        client = first.run(http_client())
        assert first.run(http_client()) is client
        assert second.run(http_client()) is not client
        assert not client.is_closed
    finally:
        first.stop()
        second.stop()
    assert client.is_closed


def test_two_coroutines_that_come_first_get_the_same_client(manager: AsyncioLoopManager) -> None:
    """A race for the first use opens one client, not two."""

    async def both() -> bool:
        one, other = await asyncio.gather(http_client(), http_client())
        return one is other

    assert manager.run(both())
