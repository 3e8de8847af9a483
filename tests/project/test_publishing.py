"""What a package index shows, and what must be filled in before it does."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

import wsgi_async

if TYPE_CHECKING:
    from email.message import Message
    from pathlib import Path

pytestmark = pytest.mark.project

PLACEHOLDERS = {
    "pyproject.toml": "example.invalid",
    "README.md": "not on a package index yet",
    "CHANGELOG.md": "unreleased",
    "SECURITY.md": "security@example.invalid",
    "docs/benchmarks.md": "<!-- figures:",
}
"""Where there are some until the first release."""


class Rendered(HTMLParser):
    """Links, images and elements of a rendered page. Lives as long as a test."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.elements: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        found = dict(attrs)
        target = found.get("href") or found.get("src")
        if target and not target.startswith("#"):
            self.targets.append(target)


@pytest.fixture(scope="module")
def description(metadata: Message) -> str:
    """What is uploaded of the README."""
    text = metadata.get_payload()
    assert isinstance(text, str)
    return text


def test_readme_leads_somewhere_on_a_package_index(metadata: Message, description: str) -> None:
    """There are no files beside it there, so all its links are addresses."""
    assert metadata["Description-Content-Type"] == "text/markdown"
    links = re.findall(r"\]\(([^)]+)\)", description)
    assert links
    assert [link for link in links if not link.startswith("https://")] == []


def test_readme_renders_on_a_package_index(description: str) -> None:
    """Its page there has headings, code, lists and links, and no raw Markdown."""
    markdown = pytest.importorskip("readme_renderer.markdown", reason="it is not installed")
    html = markdown.render(description)  # None if its extra is not installed
    assert html is not None
    page = Rendered(html)
    assert {"h1", "h2", "pre", "code", "ul", "li", "strong", "a"} <= page.elements
    assert [target for target in page.targets if not target.startswith("https://")] == []
    text = re.sub(r"<pre.*?</pre>|<code>.*?</code>|<[^>]+>", "", html, flags=re.DOTALL)
    assert re.findall(r"```|\]\(|^#+ |<!--", text, re.MULTILINE) == []


def test_a_package_index_accepts_the_files(built: Path) -> None:
    """`twine check --strict`, which `make build` calls, finds nothing to complain of."""
    pytest.importorskip("twine", reason="twine is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "twine", "--no-color", "check", "--strict", *built.iterdir()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") == 2


def test_make_build_checks_what_it_builds(checkout: Path) -> None:
    """What cannot be uploaded is not built in silence."""
    makefile = (checkout / "Makefile").read_text()
    (steps,) = re.findall(r"^build: .*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert "-m build" in steps
    assert "-m twine check --strict dist/*" in steps


def test_metadata_leads_to_the_project(project: dict[str, Any]) -> None:
    """The page's side bar has the addresses that a user looks for."""
    urls = project["urls"]
    assert {"Documentation", "Changelog", "Source", "Issues"} <= set(urls)
    assert all(url.startswith("https://") for url in urls.values())


def test_classifiers_name_what_is_tested(project: dict[str, Any], checkout: Path) -> None:
    """Nobody reads of a system or of a Django that no test has seen."""
    stability = (checkout / "docs" / "stability.md").read_text()
    (djangos,) = re.findall(
        r"\| Django \|.*its own tests run with ([\d.]+) and ([\d.]+)", stability
    )
    named = [
        line.removeprefix("Framework :: Django :: ")
        for line in project["classifiers"]
        if line.startswith("Framework :: Django :: ")
    ]
    assert named == list(djangos)
    systems = [line for line in project["classifiers"] if line.startswith("Operating System")]
    assert systems == ["Operating System :: POSIX :: Linux"]


def test_security_policy_is_about_this_version(checkout: Path) -> None:
    """Who finds a vulnerability learns whether the release is supported, and whom to tell."""
    policy = (checkout / "SECURITY.md").read_text()
    minor = wsgi_async.__version__.rpartition(".")[0]
    assert f"\n| {minor} | yes |\n" in policy
    assert re.search(r"\[[\w.]+@[\w.]+\]\(mailto:[\w.]+@[\w.]+\)", policy)


def check_release(folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        [folder / ".ci" / "release-check"], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.fixture
def copy(checkout: Path, tmp_path: Path) -> Path:
    """A folder with what a release shows to people."""
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md", "SECURITY.md"):
        shutil.copy(checkout / name, tmp_path)
    for name in ("docs", ".ci"):
        shutil.copytree(checkout / name, tmp_path / name)
    return tmp_path


def fill_in(folder: Path) -> None:
    """Put something in the place of all placeholders."""
    for path in [folder / "pyproject.toml", *folder.glob("**/*.md")]:
        text = path.read_text().replace("example.invalid", "example.org")
        text = text.replace("- unreleased", "- 2030-01-31")
        text = text.replace("not on a package index yet", "on a package index")
        path.write_text(re.sub(r"<!-- figures:.*?-->", "", text, flags=re.DOTALL))


def test_a_release_names_its_placeholders(copy: Path) -> None:
    """Nobody publishes an address that leads nowhere: the check tells each by file and line."""
    fill_in(copy)
    assert check_release(copy) == (0, "Nothing is left to fill in.\n")
    for name, placeholder in PLACEHOLDERS.items():
        path = copy / name
        before = path.read_text()
        path.write_text(f"{before}\n## [9.9.9] - {placeholder} -->\n")
        status, said = check_release(copy)
        assert status == 1
        assert re.search(rf"^{name}:\d+:.*{re.escape(placeholder)}", said, re.MULTILINE)
        path.write_text(before)


def test_make_runs_the_check(checkout: Path) -> None:
    """`make release-check` is the command for it."""
    assert "\nrelease-check: ##" in (checkout / "Makefile").read_text()
    assert "\t@.ci/release-check\n" in (checkout / "Makefile").read_text()
