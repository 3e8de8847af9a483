from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from tests.example.board import READY, board
from tests.servers.process import LIMIT, assert_clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from selenium.webdriver.chrome.webdriver import WebDriver

    from tests.example.local import LocalServer
    from tests.servers.process import Server

pytestmark = [pytest.mark.gunicorn, pytest.mark.slow]


@pytest.fixture(scope="module")
def chromium() -> Iterator[WebDriver]:
    """A headless Chromium, without a profile that others use."""
    browser = shutil.which("chromium")
    driver = shutil.which("chromedriver")
    if not (browser and driver):
        missing = "Debian's packages chromium and chromium-driver are not installed"
        if "WSGI_ASYNC_BROWSER" in os.environ:
            pytest.fail(missing)  # a test that is skipped for good would go unnoticed in CI
        pytest.skip(missing)
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    window = webdriver.Chrome(options, Service(driver))
    try:
        yield window
    finally:
        window.quit()


_ROW = """
const rows = [...document.querySelectorAll("#rows > li")];
return rows.find((row) => row.querySelector("h3").innerText === arguments[0])?.innerText ?? "";
"""
_STREAM_ENDED = """
const loaded = performance.getEntriesByType("resource");
return loaded.some((one) => one.name.includes("/events"));
"""


class Page:
    """The board in the browser's window."""

    def __init__(self, window: WebDriver, server: Server) -> None:
        self.window = window
        self.address = f"http://127.0.0.1:{server.port}/"

    def load(self, path: str = "") -> None:
        self.window.get(self.address + path)
        # Gone if the page is ever loaded anew.
        self.run("window.loadedOnce = true")

    def run(self, script: str, *arguments: object) -> Any:
        return self.window.execute_script(script, *arguments)

    def wait(self, condition: Callable[[], object], what: str) -> None:
        WebDriverWait(self.window, LIMIT, 0.05).until(lambda _: condition(), what)

    def is_live(self) -> bool:
        return bool(self.run("return document.documentElement.classList.contains('is-live')"))

    def row(self, url: str) -> str:
        """The text of an address's row; empty if there is none."""
        return str(self.run(_ROW, url))

    @property
    def same_page(self) -> bool:
        """Whether it was never loaded anew since `load`."""
        return bool(self.run("return window.loadedOnce === true"))

    def errors(self) -> list[str]:
        """What the browser's console has told since the last time."""
        log: list[dict[str, Any]] = self.window.get_log("browser")
        return [entry["message"] for entry in log]


@contextlib.contextmanager
def shown(window: WebDriver, checkout: Path, database: Path, **environment: str) -> Iterator[Page]:
    """A new board under gunicorn, in a window without cookies."""
    with board(checkout, database, **environment) as server:
        server.ready(READY)
        page = Page(window, server)
        window.delete_all_cookies()
        page.load()
        try:
            yield page
            assert page.errors() == []
        finally:
            window.get("about:blank")
        assert_clean(server)


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
            page.wait(
                lambda: page.run(_STREAM_ENDED),
                "the end of a stream",
            )
        assert page.same_page


def test_without_a_place_the_page_can_be_refreshed(
    chromium: WebDriver, checkout: Path, tmp_path: Path
) -> None:
    """A server with one thread has no streams: the page does not claim to be live."""
    one = {"WORKERS": "1", "THREADS": "1", "CHECK_INTERVAL": "3600"}
    with shown(chromium, checkout, tmp_path / "board.sqlite3", **one) as page:
        page.wait(
            lambda: page.run(_STREAM_ENDED),
            "the answer to the stream",
        )
        assert not page.is_live()
        assert chromium.find_element(By.LINK_TEXT, "Refresh every 5 s").is_displayed()
        assert not chromium.find_element(By.CSS_SELECTOR, ".live-mark").is_displayed()
