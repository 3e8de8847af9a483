from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.by import By

from example_app.settings import Settings
from tests.django_example.board import board, forget, watch
from tests.example.browser import shown

if TYPE_CHECKING:
    from pathlib import Path

    from selenium.webdriver.chrome.webdriver import WebDriver

    from tests.example.local import LocalServer

pytestmark = [pytest.mark.gunicorn, pytest.mark.slow]


def test_the_page_is_live(
    chromium: WebDriver, checkout: Path, database: Path, local: LocalServer
) -> None:
    """Who leaves the page open sees what comes, changes and goes, and can use its forms."""
    with board(checkout, database) as server, shown(chromium, server) as page:
        page.wait(page.is_live, "the stream")
        other = local.url("/other")
        watch(database, other)
        page.wait(lambda: "200 OK" in page.row(other), "the new address, checked")
        local.status = 503
        page.wait(lambda: "503 Service Unavailable" in page.row(other), "the failure")
        forget(database, other)
        page.wait(lambda: not page.row(other), "the row to go")
        assert page.same_page

        url = local.url("/added")
        field = chromium.find_element(By.NAME, "url")
        field.send_keys(url)
        field.submit()
        page.wait(lambda: "503" in page.row(url), "the address, checked")
        assert "is on the board" in chromium.find_element(By.CSS_SELECTOR, ".message").text
        chromium.find_element(By.CSS_SELECTOR, f"button[aria-label='Remove {url}']").click()
        page.wait(lambda: not page.row(url), "the row to go")


def test_a_page_that_is_loaded_ten_times_in_a_row_stays_live(
    chromium: WebDriver, checkout: Path, database: Path
) -> None:
    """Each time it gets a stream at once, as the pages before it keep no place."""
    # As `make run-django` serves it, but with one worker process, which has fewer than ten places.
    usual = {"WORKERS": "1", "THREADS": str(Settings().threads), "STREAM_SECONDS": "3600"}
    with board(checkout, database, **usual) as server, shown(chromium, server) as page:
        for _ in range(10):
            page.load_live()
        assert chromium.find_element(By.CSS_SELECTOR, ".live-mark").is_displayed()
