"""The documentation's site as it is built: complete, and no link in it leads nowhere."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest

import wsgi_async

pytestmark = [pytest.mark.project, pytest.mark.slow, pytest.mark.timeout(160)]

ROOT = Path(__file__).resolve().parents[2]
PARTS = [
    "wsgi_async",
    "wsgi_async.inspector",
    "wsgi_async.inspector.app",
    "wsgi_async.asgi",
    "wsgi_async.routing",
    "wsgi_async.testing",
    *(f"wsgi_async.integrations.{name}" for name in ("asgiref", "django", "flask", "gunicorn")),
]


class Page(HTMLParser):
    """What a page has and where it leads. Lives as long as the tests."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.comments: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if found.get("id"):
            self.anchors.add(found["id"] or "")
        target = found.get("href") if tag in ("a", "link") else found.get("src")
        if target:
            self.links.append(target)

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does it: a warning is an error."""
    for module in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-E"),
            *("-d", folder / "doctrees", ROOT / "docs", folder / "html"),
        ],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    """All pages by their addresses below the site's."""
    return {path.relative_to(site).as_posix(): Page(path) for path in site.glob("**/*.html")}


def test_every_page_is_in_the_site(pages: dict[str, Page]) -> None:
    """Each page of the folder can be read on the site, and reached from its first page."""
    found = (path.relative_to(ROOT / "docs") for path in ROOT.glob("docs/**/*.md"))
    expected = {path.with_suffix(".html").as_posix() for path in found}
    assert "reference/managers.html" in expected
    assert expected <= set(pages)
    assert expected - {urldefrag(link).url for link in pages["index.html"].links} <= {"index.html"}


def test_internal_links_lead_somewhere(site: Path, pages: dict[str, Page]) -> None:
    """Who follows a link within the site finds the page, and the place in it."""
    seen = 0
    for name, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            seen += 1
            target = unquote(urlsplit(urljoin(name, link)).path)
            assert (site / target).is_file(), f"{name}: {link}"
            # The theme's own "back to top" links go to "#".
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].anchors, f"{name}: {link}"
    assert seen > len(pages)


def test_external_links_are_well_formed(pages: dict[str, Page]) -> None:
    """A link that leads away says https and a host; the tests have no network to follow it."""
    for name, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                assert parts.scheme in ("https", "mailto", "data"), f"{name}: {link}"
                assert parts.scheme != "https" or "." in parts.netloc, f"{name}: {link}"


def test_readmes_links_into_the_pages_lead_somewhere(pages: dict[str, Page]) -> None:
    """Who reads the README in the repository finds what it promises in docs."""
    readme = (ROOT / "README.md").read_text()
    links = re.findall(r"\]\(docs/([\w/]+)\.md(?:#([\w-]+))?\)", readme)
    assert links
    for name, anchor in links:
        page = pages[f"{name}.html"]
        assert not anchor or anchor in page.anchors, f"{name}.md#{anchor}"


@pytest.mark.parametrize("part", PARTS)
def test_every_public_name_is_in_the_reference(part: str, pages: dict[str, Page]) -> None:
    """The API pages have each public name, with an address of its own."""
    names = import_module(part).__all__
    # A plugin's hooks are for pytest, not for people.
    wanted = {f"{part}.{name}" for name in names if not name.startswith("pytest_")}
    assert wanted
    found = [page.anchors for name, page in pages.items() if name.startswith("reference/")]
    assert wanted - set().union(*found) == set()


def test_reference_takes_no_words_for_a_type(site: Path) -> None:
    """A colon in the first line of a docstring does not make a type of what stands before it."""
    paths = list(site.glob("reference/*.html"))
    assert paths
    assert [path.name for path in paths if "Return type" in path.read_text()] == []


def test_site_is_more_than_a_default_build(site: Path, pages: dict[str, Page]) -> None:
    """Blocks have file names and copy buttons, pages a description, a logo and a favicon."""
    start = (site / "quickstart.html").read_text()
    assert '<span class="caption-text">app.py</span>' in start
    assert "copybutton.js" in start
    for name, page in pages.items():
        # The favicon and the logo are one file.
        assert sum("logo.svg" in link for link in page.links) >= 2, name
        if name != "search.html":
            assert 'content="Call async code from Flask' in (site / name).read_text(), name


def test_site_is_of_this_version(site: Path) -> None:
    """Who reads the site sees which version it describes."""
    assert f"wsgi_async {wsgi_async.__version__}" in (site / "index.html").read_text()


def test_site_shows_nothing_that_is_for_the_tests(pages: dict[str, Page]) -> None:
    """The checks in the pages' sources stay there."""
    words = ("check", "continues", "output", "file:", "pytest:", "not run")
    for name, page in pages.items():
        found = [text for text in page.comments if text.strip().startswith(words)]
        assert found == [], name


def test_picture_is_a_part_of_its_page(site: Path) -> None:
    """The drawing follows the reader's choice of light or dark, which only a part of it can."""
    page = (site / "how_it_works.html").read_text()
    assert page.count('<svg class="drawing"') == 1
    assert 'body[data-theme="dark"] svg.drawing' in page
