"""Chromium, and the board as it shows it."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers.process import LIMIT, assert_clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from selenium.webdriver.chrome.webdriver import WebDriver

    from tests.servers.process import Server


@pytest.fixture(scope="module")
def chromium() -> Iterator[WebDriver]:
    """A headless Chromium, without a profile that others use."""
    # Here, and below, as all tests of a folder import this file, and few need it.
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

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
        from selenium.webdriver.support.wait import WebDriverWait

        WebDriverWait(self.window, LIMIT, 0.05).until(lambda _: condition(), what)

    def is_live(self) -> bool:
        return bool(self.run("return document.documentElement.classList.contains('is-live')"))

    def stream_ended(self) -> bool:
        """Whether a stream has ended, or was refused, since the page was loaded."""
        return bool(self.run(_STREAM_ENDED))

    def load_live(self) -> None:
        """Load the page, which has to get a stream at its first attempt."""
        self.load()
        self.wait(lambda: self.is_live() or self.stream_ended(), "an answer to the stream")
        assert self.is_live()

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
def shown(window: WebDriver, server: Server) -> Iterator[Page]:
    """A board that is served, in a window without cookies."""
    page = Page(window, server)
    window.delete_all_cookies()
    page.load()
    try:
        yield page
        assert page.errors() == []
    finally:
        window.get("about:blank")
    assert_clean(server)
