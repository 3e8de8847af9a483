"""The example when its disk is full."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.example.board import READY, board
from tests.example.test_serving import post

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.process import Server

pytestmark = [pytest.mark.gunicorn, pytest.mark.slow]

resource = pytest.importorskip("resource")
if not hasattr(resource, "prlimit"):
    pytest.skip("only Linux limits another process", allow_module_level=True)


def limit(server: Server, size: int) -> None:
    """Bound the size of the files that the workers write; a full disk, as they see it."""
    for found in server.find(r"Booting worker with pid: (\d+)"):
        _, hard = resource.prlimit(int(found[1]), resource.RLIMIT_FSIZE)
        resource.prlimit(int(found[1]), resource.RLIMIT_FSIZE, (size, hard))


def test_full_disk(checkout: Path, tmp_path: Path) -> None:
    """Pages are shown, what writes answers 503, and it works again when there is room."""
    with board(checkout, tmp_path / "board.sqlite3") as server:
        server.ready(READY)
        server.get("/api/status")
        response, page = server.request("/")
        cookie = (response.headers["Set-Cookie"] or "").partition(";")[0]
        found = re.search(rb'name="csrf_token" value="([^"]+)"', page)
        assert found is not None

        def add(number: int) -> int:
            url = f"http%3A%2F%2F{number}.example%2F"
            return post(server, "/urls", f"csrf_token={found[1].decode()}&url={url}", cookie)

        assert add(1) == 303
        limit(server, 0)
        assert [add(2) for _ in range(4)] == [503] * 4
        assert server.request("/")[0].status == 200
        limit(server, resource.RLIM_INFINITY)
        assert add(3) == 303
        shown = [row["url"] for row in server.get("/api/status")["urls"]]
        assert shown[3:] == ["http://1.example/", "http://3.example/"]
        server.wait_for("/urls cannot be served", count=4)
        server.wait_for("sqlite3.OperationalError: ", count=4)
