from __future__ import annotations

import asyncio
import gc
import signal
import threading
import urllib.request
from concurrent.futures import Future
from typing import TYPE_CHECKING

from werkzeug.serving import make_server

from tests.servers.process import LIMIT, Server, assert_clean, wait_until
from wsgi_async import AsyncioLoopManager, AsyncLoopMiddleware, loop_from

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment


def test_waitress_threads_have_loops_that_are_closed_on_sigint() -> None:
    """Under waitress requests share the thread's loop, and Ctrl-C runs the cleanup."""
    options = ["-m", "waitress", "--listen=127.0.0.1:0", "--threads=1", "tests.servers.apps:app"]
    with Server(*options) as server:
        server.ready(r"Serving on http://127\.0\.0\.1:(\d+)")
        assert server.get("/where") == server.get("/where")
        thread = server.get("/keep")["thread"]
        server.signal(signal.SIGINT)
        assert server.wait() == 0
        assert server.find(rf"cleaned up pid={server.pid} thread={thread}")
        assert_clean(server)


def test_waitress_sends_every_kind_of_body_as_it_would_unwrapped() -> None:
    """Headers and bytes are the same with and without the middleware."""
    options = ["-m", "waitress", "--listen=127.0.0.1:0"]
    bare = Server(*options, "tests.servers.apps:bodies")
    with bare, Server(*options, "tests.servers.apps:wrapped_bodies") as wrapped:
        for kind in ("list", "tuple", "sized", "sized2", "generator", "file", "write"):
            answers = []
            for server in (bare, wrapped):
                server.ready(r"Serving on http://127\.0\.0\.1:(\d+)")
                response, body = server.request(f"/{kind}")
                headers = {name: text for name, text in response.getheaders() if name != "Date"}
                answers.append((response.status, headers, body))
            assert answers[0] == answers[1], kind


def test_a_thread_for_each_request_leaves_no_manager_behind() -> None:
    """Without reuse a loop ends with its thread, which Werkzeug ends after each request."""
    cleaned: list[Future[None]] = []

    async def never_ends(began: Future[None], ended: Future[None]) -> None:
        began.set_result(None)
        try:
            await asyncio.Event().wait()
        finally:
            ended.set_result(None)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        began: Future[None] = Future()
        cleaned.append(Future())
        loop_from(environ).submit_task(never_ends(began, cleaned[-1]))
        began.result(LIMIT)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"%d" % threading.get_ident()]

    before = running_managers()
    threads_before = threading.active_count()
    server = make_server("127.0.0.1", 0, AsyncLoopMiddleware(app, reuse=False), threaded=True)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        for _ in range(5):
            url = f"http://127.0.0.1:{server.server_port}/"
            with urllib.request.urlopen(url, timeout=LIMIT) as response:
                assert response.status == 200
        for future in cleaned:
            future.result(LIMIT)
        wait_until(lambda: running_managers() == before, what="every manager is stopped")
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
    wait_until(lambda: threading.active_count() <= threads_before, what="every keeper has ended")


def running_managers() -> set[int]:
    gc.collect()
    return {id(manager) for manager in AsyncioLoopManager.all_instances() if manager.running}
