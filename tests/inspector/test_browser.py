"""The page in a real browser, served by gunicorn with two workers."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.example import browser
from tests.servers.process import gunicorn, wait_until
from wsgi_async.inspector.reading import read_all, socket_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium.webdriver.chrome.webdriver import WebDriver

    from tests.example.browser import Page
    from tests.servers.process import Server

pytestmark = [pytest.mark.gunicorn, pytest.mark.slow]

TOKEN = "a-long-and-random-token"
APP = "tests.inspector.served:app"
ALONE = "wsgi_async.inspector.app:app"


@contextmanager
def served(folder: Path, app: str = APP, **environment: str) -> Iterator[Server]:
    """The app with two workers, both of which have their sockets."""
    given = {"WSGI_ASYNC_INSPECT": str(folder)} | environment
    with gunicorn(app, "--workers", "2", "--threads", "2", **given) as server:
        if app == APP:
            wait_until(lambda: len(read_all(socket_files([folder]))) == 2, what="two sockets")
        yield server


@contextmanager
def shown(window: WebDriver, folder: Path, path: str = "inspect/") -> Iterator[Page]:
    """The page, mounted in the app, in the browser."""
    with served(folder) as server, browser.shown(window, server) as page:
        page.load(path)
        yield page


@contextmanager
def emulated(
    window: WebDriver, command: str, on: dict[str, Any], off: dict[str, Any]
) -> Iterator[None]:
    """While the browser is told to behave in another way."""
    window.execute_cdp_cmd(command, on)
    try:
        yield
    finally:
        window.execute_cdp_cmd(command, off)


def text(window: WebDriver) -> str:
    return window.find_element(By.TAG_NAME, "body").text


def workers(window: WebDriver) -> set[str]:
    return {one.text for one in window.find_elements(By.TAG_NAME, "h2")}


def test_the_page_is_live(chromium: WebDriver, folder: Path) -> None:
    """All workers are shown; what comes later appears; what is open stays open, and focused."""
    with shown(chromium, folder) as page:
        page.wait(page.is_live, "the script")
        found = read_all(socket_files([folder]))
        assert workers(chromium) == {f"Process {reply.pid}" for reply in found}
        assert "<b>the worker's</b>" in text(chromium)
        summary = chromium.find_element(By.CSS_SELECTOR, "summary")
        summary.send_keys(Keys.ENTER)
        assert "served.py:" in text(chromium)
        page.run("window.before = document.querySelector('.totals')")
        page.run("return fetch('/more').then((answer) => answer.text())")
        page.wait(lambda: "started_later" in text(chromium), "the new task")
        assert not page.run("return window.before.isConnected")
        assert page.run("return document.activeElement.parentElement.open") is True
        assert "served.py:" in text(chromium)
        assert page.same_page


def test_it_can_be_paused(chromium: WebDriver, folder: Path) -> None:
    """The button stops the updates, and starts them again."""
    with shown(chromium, folder) as page:
        button = chromium.find_element(By.ID, "pause")
        button.send_keys(Keys.SPACE)
        assert button.get_attribute("aria-pressed") == "true"
        page.run("performance.clearResourceTimings(); window.before = document.querySelector('h2')")
        assert page.run("return window.before.isConnected")
        button.click()
        page.wait(lambda: page.run("return !window.before.isConnected"), "an update")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_every_width_and_both_schemes(
    chromium: WebDriver, folder: Path, width: int, scheme: str
) -> None:
    """Nothing sticks out at a phone's width or a screen's, and text can be read in both schemes."""
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    with (
        emulated(
            chromium, "Emulation.setDeviceMetricsOverride", size, {**size, "width": 0, "height": 0}
        ),
        emulated(chromium, "Emulation.setEmulatedMedia", media, {"features": []}),
        shown(chromium, folder) as page,
    ):
        assert page.run("return innerWidth") == width
        page.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert page.run("return document.documentElement.scrollWidth") <= width
        assert page.run(_CONTRAST) >= 4.5


_CONTRAST = """
const light = (color) => {
  const parts = color.match(/[\\d.]+/g).slice(0, 3).map((one) => one / 255);
  const [r, g, b] = parts.map((one) => one <= .04045 ? one / 12.92 : ((one + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b;
};
const card = light(getComputedStyle(document.querySelector("article")).backgroundColor);
const found = [...document.querySelectorAll("article *, nav a")].map((one) => {
  const [a, b] = [light(getComputedStyle(one).color), card].sort((x, y) => y - x);
  return (a + .05) / (b + .05);
});
return Math.min(...found);
"""


def test_without_javascript(chromium: WebDriver, folder: Path) -> None:
    """The page shows all, opens where one waits, and reloads itself when asked to."""
    off, on = {"value": True}, {"value": False}
    with (
        served(folder) as server,
        browser.shown(chromium, server) as page,
        emulated(chromium, "Emulation.setScriptExecutionDisabled", off, on),
    ):
        chromium.get(page.address + "inspect")
        assert chromium.current_url == page.address + "inspect/"
        assert len(workers(chromium)) == 2
        assert not chromium.find_element(By.ID, "pause").is_displayed()
        chromium.find_element(By.TAG_NAME, "summary").click()
        assert "served.py:" in text(chromium)
        chromium.find_element(By.LINK_TEXT, "Reload every 5 s").click()
        assert chromium.current_url == page.address + "inspect/?reload"
        first = chromium.find_element(By.CSS_SELECTOR, ".totals")
        page.wait(lambda: first.id != _totals(chromium), "the page to reload itself")
        chromium.find_element(By.LINK_TEXT, "Stop reloading").click()
        assert chromium.current_url == page.address + "inspect/"


def _totals(window: WebDriver) -> str:
    return window.find_element(By.CSS_SELECTOR, ".totals").id


def test_the_page_alone_with_a_token(chromium: WebDriver, folder: Path) -> None:
    """The page of another server asks for the token, and shows it once it is given."""
    with (
        served(folder),
        served(folder, ALONE, WSGI_ASYNC_INSPECT_TOKEN=TOKEN) as server,
        browser.shown(chromium, server) as page,
    ):
        page.errors()  # the browser tells of the status 401
        field = chromium.find_element(By.ID, "token")
        assert chromium.switch_to.active_element == field
        field.send_keys(TOKEN, Keys.ENTER)
        page.wait(lambda: len(workers(chromium)) == 2, "the workers")
        assert chromium.current_url == page.address
        page.wait(page.is_live, "the script")
        assert TOKEN not in page.run("return document.cookie + document.documentElement.outerHTML")
