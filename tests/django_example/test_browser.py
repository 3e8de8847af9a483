from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.by import By

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
