"""Where the doctor sends its patients."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.project


def anchor(heading: str) -> str:
    """A heading's address within its page."""
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")


def test_every_page_and_place_exists(checkout: Path) -> None:
    """Who follows a finding into the documentation finds the page and the heading."""
    source = "".join(path.read_text() for path in checkout.glob("wsgi_async/doctor/*.py"))
    named = set(re.findall(r'"(docs/[\w/]+\.md)(?:#([\w-]+))?"', source))
    assert len(named) > 10
    for page, place in named:
        text = (checkout / page).read_text()
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        assert not place or place in map(anchor, headings), f"{page}#{place}"
