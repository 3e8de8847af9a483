"""Responses that are streamed from async iterators."""

from __future__ import annotations

import http.client
import zlib
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.integrations.django.conftest import WSGI
from tests.servers.process import LIMIT, assert_clean, complaints, gunicorn, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.process import Server

AT_HOME = "closed, same task thread orm connection"


@pytest.fixture
def clean_site(site: Server) -> Iterator[Server]:
    """The site; it has nothing more to complain of afterwards."""
    before = len(complaints(site))
    yield site
    assert not site.find("must consume")
    assert_clean(site, before=before)


def texts(site: Server) -> list[str]:
    found: list[str] = site.get("/texts")["texts"]
    return found


def test_a_stream_is_sent_item_by_item(clean_site: Server) -> None:
    """The client has the first item before the second is made, and cleanup has the ORM."""
    with closing(clean_site.send("/stream?name=steps")) as connection:
        response = connection.getresponse()
        assert response.readline() == b"first\n"
        clean_site.get("/release")
        assert response.read() == b"second\n"
    assert f"steps {AT_HOME}" in texts(clean_site)


def test_a_client_that_goes_away_ends_the_stream(clean_site: Server) -> None:
    """The generator's `finally` block runs, in its own task, with the request's connection."""
    with closing(clean_site.send("/stream?name=gone&endless")) as connection:
        assert connection.getresponse().readline() == b"first\n"
    clean_site.get("/release")
    wait_until(lambda: f"gone {AT_HOME}" in texts(clean_site), what="the stream is closed")


def send_compressed(site: Server, path: str) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=LIMIT)
    connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
    return connection


class Unpacker:
    """Decompresses what has come: one gzip member for each item, or one for all of them."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        self._member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)

    def item(self) -> bytes:
        """The next bytes that are not just a header; none at the end."""
        while packed := self._response.read1():
            if item := self._unpack(packed):
                return item
        return b""

    def _unpack(self, packed: bytes) -> bytes:
        unpacked = b""
        while packed:
            if self._member.eof:
                self._member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            unpacked += self._member.decompress(packed)
            packed = self._member.unused_data
        return unpacked


def test_a_compressed_stream_is_sent_item_by_item(clean_site: Server) -> None:
    """Django's own GZipMiddleware works on it, and the view's cleanup has its own task."""
    with closing(send_compressed(clean_site, "/stream?name=packed")) as connection:
        response = connection.getresponse()
        assert response.headers["Content-Encoding"] == "gzip"
        unpacker = Unpacker(response)
        assert unpacker.item() == b"first\n"
        clean_site.get("/release")
        assert unpacker.item() == b"second\n"
        assert unpacker.item() == b""
    assert f"packed {AT_HOME}" in texts(clean_site)


def test_a_client_that_leaves_a_compressed_stream_ends_the_views_generator(
    clean_site: Server,
) -> None:
    """Its `finally` block runs at once and in its own task, with another generator around it."""
    with closing(send_compressed(clean_site, "/stream?name=torn&endless")) as connection:
        assert Unpacker(connection.getresponse()).item() == b"first\n"
    clean_site.get("/release")
    wait_until(lambda: f"torn {AT_HOME}" in texts(clean_site), what="the stream is closed")


def test_a_stream_reads_the_database_on_its_way(clean_site: Server) -> None:
    """Rows come from the request's connection, chunk by chunk."""
    _, body = clean_site.request("/rows")
    assert body.decode().splitlines() == [f"row {number}" for number in range(300)]


def test_a_sync_view_may_stream_from_an_async_generator(clean_site: Server) -> None:
    """It runs on the request's loop, and text is encoded."""
    _, body = clean_site.request("/sync-view-stream")
    assert body.decode() == "grün True"


def test_a_stream_of_async_middleware_is_sent_too() -> None:
    """A middleware that answers with an async stream is served as a view that does."""
    name = "tests.integrations.django.project.middleware.AsyncAnswer"
    with gunicorn(WSGI, MIDDLEWARE=name) as server:
        _, body = server.request("/from-middleware")
        assert body == b"012"
        assert not server.find("must consume")
        assert_clean(server)


def test_an_error_in_the_middle_ends_the_response(site: Server) -> None:
    """The client sees that it is cut short, the server logs why, and the next request works."""
    with pytest.raises(http.client.IncompleteRead):
        site.request("/broken-stream")
    site.wait_for("RuntimeError: in the middle of a stream")
    assert site.request("/sync-view-stream")[0].status == 200
