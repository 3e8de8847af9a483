"""The pages' code blocks, and a program that runs those of one page.

A block of Python is a program of its own, as pasted. Comments, which the site leaves out, say what
the tests do with the blocks around them::

    <!-- check              Python code that runs after the block above, in its namespace
    assert ...
    -->
    <!-- continues -->      the next block goes on where the last one ended
    <!-- output -->         the next block is all that the program above has printed
    <!-- file: app.py -->   the next block is not run, but put into the page's folder; with a plus
                            before the name it is added to the file
    <!-- pytest: 2 -->      the next block is a file of so many tests, which pass
    <!-- not run: why -->   the next block is not run
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import threading
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 30.0
"""Seconds after which a program has failed; nothing waits for it to pass."""

_TOKEN = re.compile(
    r"^(?P<fence>```+)(?P<language>[^\n`]*)\n(?P<source>.*?)^(?P=fence)[ ]*$"
    r"|^<!--[ ]*(?P<word>[a-z][a-z ]*?)(?:: *(?P<argument>[^\n]*?))?[ ]*(?:\n(?P<body>.*?))?-->",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A fenced block, or a comment for the tests.

    Args:
        word: The fence's language, or the comment's word.
        source: What is inside.
        line: The number of its first line in the page.
        comment: Whether it is a comment.
        argument: What stands behind a comment's colon.
    """

    word: str
    source: str
    line: int
    comment: bool = False
    argument: str = ""


def blocks(page: str) -> Iterator[Block]:
    """What a page consists of besides its text."""
    for token in _TOKEN.finditer(page):
        if token["fence"]:
            line = page.count("\n", 0, token.start("source")) + 1
            yield Block(token["language"].strip(), token["source"], line)
        else:
            begin = token.start("body") if token["body"] else token.start()
            line = page.count("\n", 0, begin) + 1
            argument = (token["argument"] or "").strip()
            yield Block(token["word"], token["body"] or "", line, True, argument)


@dataclass
class Program:
    """What runs together, in one namespace. Lives as long as its page's tests.

    Args:
        path: The page, for tracebacks.
    """

    path: Path
    namespace: dict[str, Any] = field(default_factory=lambda: {"__name__": "example"})
    printed: io.StringIO = field(default_factory=io.StringIO)

    def run(self, block: Block) -> None:
        """Run a block in a thread that is not the main one, as a server would."""
        code = compile("\n" * (block.line - 1) + block.source, str(self.path), "exec")
        failed: list[str] = []

        def target() -> None:
            try:
                exec(code, self.namespace)
            except BaseException:
                failed.append(traceback.format_exc())

        with contextlib.redirect_stdout(self.printed):
            thread = threading.Thread(target=target, name="worker", daemon=True)
            thread.start()
            thread.join(LIMIT)
        if thread.is_alive() or failed:
            raise SystemExit("".join(failed) or f"{self.path}:{block.line} does not end")


def run_tests(block: Block, number: str) -> None:
    """Run a block as a file of tests, in a process of its own."""
    Path("test_page.py").write_text(block.source)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "wsgi_async.testing", "-W", "error", "."],
        # By its module: an editable install may not know of the plugin yet.
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    if f" {number} passed in " not in done.stdout or done.returncode:
        raise SystemExit(f"line {block.line}:\n{done.stdout}{done.stderr}")


class Run:
    """One run of a page, in the current folder. Lives as long as the process.

    Args:
        path: The page.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._program = Program(path)
        self._before: Block | None = None  # a comment about the next block

    def page(self) -> None:
        """Run all its blocks, in order."""
        for block in blocks(self.path.read_text()):
            if block.word == "check":
                self._program.run(block)
            elif block.comment:
                self._before = block
            else:
                self._block(block, self._before)
                self._before = None

    def _block(self, block: Block, before: Block | None) -> None:
        word = "" if before is None else before.word
        if before is not None and word == "file":
            name = before.argument
            with Path(name.lstrip("+")).open("a" if name.startswith("+") else "w") as file:
                file.write(block.source)
        elif before is not None and word == "pytest":
            run_tests(block, before.argument)
        elif word == "output":
            self._compare(block)
        elif block.word == "python" and word != "not run":
            if word != "continues":
                self._program = Program(self.path)
            self._program.run(block)

    def _compare(self, block: Block) -> None:
        printed = self._program.printed.getvalue()
        if printed != block.source:
            raise SystemExit(f"{self.path}:{block.line} says it prints this, not\n{printed}")


if __name__ == "__main__":
    # The page's folder is where its files are put, and imported from.
    sys.path.insert(0, str(Path.cwd()))
    Run(Path(sys.argv[1])).page()
