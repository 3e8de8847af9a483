from __future__ import annotations

import contextlib
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.by import By

from example_app.settings import Settings
from tests.example import browser
from tests.example.board import READY, board

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium.webdriver.chrome.webdriver import WebDriver

    from tests.example.browser import Page
    from tests.example.local import LocalServer

pytestmark = [pytest.mark.gunicorn, pytest.mark.slow]


@contextlib.contextmanager
def shown(window: WebDriver, checkout: Path, database: Path, **environment: str) -> Iterator[Page]:
    """A new board under gunicorn, in a window without cookies."""
    with board(checkout, database, **environment) as server:
        server.ready(READY)
        with browser.shown(window, server) as page:
            yield page


def watch(database: Path, url: str) -> None:
    with closing(sqlite3.connect(database)) as db:
        db.execute("INSERT INTO urls (url) VALUES (?)", (url,))
        db.commit()


def test_a_row_changes_without_a_reload(
    chromium: WebDriver, checkout: Path, tmp_path: Path, local: LocalServer
) -> None:
    """Who leaves the page open sees what comes, changes and goes, and is told of it."""
    database = tmp_path / "board.sqlite3"
    with shown(chromium, checkout, database) as page:
        page.wait(page.is_live, "the stream")
        url = local.url("/")
        watch(database, url)
        page.wait(lambda: "200 OK" in page.row(url), "the new address, checked")
        title = chromium.title
        local.status = 503
        page.wait(lambda: "503 Service Unavailable" in page.row(url), "the failure")
        page.wait(lambda: chromium.title != title, "the new title")
        said, title = page.run(
            "return [document.getElementById('news').textContent, document.title]"
        )
        assert said == title
        with closing(sqlite3.connect(database)) as db:
            db.execute("DELETE FROM urls WHERE url = ?", (url,))
            db.commit()
        page.wait(lambda: not page.row(url), "the row to go")
        assert page.same_page


def test_an_address_is_added_through_the_form(
    chromium: WebDriver, checkout: Path, tmp_path: Path, local: LocalServer
) -> None:
    """The form works on a live page, and events do not disturb who is typing."""
    url = local.url("/added")
    with shown(chromium, checkout, tmp_path / "board.sqlite3") as page:
        page.wait(page.is_live, "the stream")
        field = chromium.find_element(By.ID, "url")
        field.send_keys(url[:10])
        # The chart's part is another one after each check.
        assert page.run("return window.before = document.querySelector('#rows .trend')")
        page.wait(lambda: page.run("return !window.before.isConnected"), "an event")
        assert page.run("return document.activeElement.id") == "url"
        field.send_keys(url[10:])
        assert field.get_attribute("value") == url
        field.submit()
        page.wait(lambda: "200 OK" in page.row(url), "the address, checked")
        assert "is on the board" in chromium.find_element(By.CSS_SELECTOR, ".message").text
        remove = chromium.find_element(By.CSS_SELECTOR, f"button[aria-label='Remove {url}']")
        remove.click()
        page.wait(lambda: not page.row(url), "the row to go")


def test_a_stream_that_ends_is_followed_by_the_next(
    chromium: WebDriver, checkout: Path, tmp_path: Path, local: LocalServer
) -> None:
    """The page stays live for longer than a stream lasts."""
    database = tmp_path / "board.sqlite3"
    with shown(chromium, checkout, database, STREAM_SECONDS="0.5") as page:
        for number in range(3):
            page.wait(page.is_live, "the stream")
            url = local.url(f"/{number}th")
            watch(database, url)
            page.wait(lambda url=url: "200 OK" in page.row(url), "the new address")  # type: ignore[misc]
            page.run("performance.clearResourceTimings()")
            page.wait(page.stream_ended, "the end of a stream")
        assert page.same_page


def test_a_page_that_is_loaded_ten_times_in_a_row_stays_live(
    chromium: WebDriver, checkout: Path, tmp_path: Path
) -> None:
    """Each time it gets a stream at once, as the pages before it keep no place."""
    # As `make run` serves it, but with one worker process, which has fewer than ten places.
    usual = {"WORKERS": "1", "THREADS": str(Settings().threads), "STREAM_SECONDS": "3600"}
    with shown(chromium, checkout, tmp_path / "board.sqlite3", **usual) as page:
        for _ in range(10):
            page.load_live()
        assert chromium.find_element(By.CSS_SELECTOR, ".live-mark").is_displayed()


def test_without_a_place_the_page_can_be_refreshed(
    chromium: WebDriver, checkout: Path, tmp_path: Path
) -> None:
    """A server with one thread has no streams: the page does not claim to be live."""
    one = {"WORKERS": "1", "THREADS": "1", "CHECK_INTERVAL": "3600"}
    with shown(chromium, checkout, tmp_path / "board.sqlite3", **one) as page:
        page.wait(page.stream_ended, "the answer to the stream")
        assert not page.is_live()
        assert chromium.find_element(By.LINK_TEXT, "Refresh every 5 s").is_displayed()
        assert not chromium.find_element(By.CSS_SELECTOR, ".live-mark").is_displayed()
