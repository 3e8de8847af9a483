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
    <!-- pytest: 2 -->      the next block is a file of so many tests, which pass; with a name after
                            the number, the site shows that
    <!-- named: app.py -->  the site shows this as the next block's file
    <!-- not run: why -->   the next block is not run
    <!-- needs: mcp -->     the page's blocks run where this can be imported
    <!-- figures: what -->  here comes what has not been measured yet
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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


class Program:
    """What runs together: in one namespace, and in one thread that is not the main one.

    As under a server, so that the thread's manager is there from block to block. Lives until
    `end()`.

    Args:
        path: The page, for tracebacks.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._namespace: dict[str, Any] = {"__name__": "example"}
        self._worker = ThreadPoolExecutor(1, "worker")
        self._printed = io.StringIO()

    def run(self, block: Block) -> None:
        """Run a block."""
        code = compile("\n" * (block.line - 1) + block.source, str(self._path), "exec")
        with contextlib.redirect_stdout(self._printed):
            self._worker.submit(exec, code, self._namespace).result(LIMIT)

    def compare(self, block: Block) -> None:
        """Fail unless the block is what has been printed."""
        printed = self._printed.getvalue()
        if printed != block.source:
            raise SystemExit(f"{self._path}:{block.line} says it prints this, not\n{printed}")

    def end(self) -> None:
        """Let the thread end, and its manager with it."""
        self._worker.shutdown()


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
        self._path = path
        self._program = Program(path)
        self._before: Block | None = None  # a comment about the next block

    def page(self) -> None:
        """Run all its blocks, in order."""
        for block in blocks(self._path.read_text()):
            if block.word == "check":
                self._program.run(block)
            elif block.comment:
                self._before = block
            else:
                self._block(block, self._before)
                self._before = None
        self._program.end()

    def _block(self, block: Block, before: Block | None) -> None:
        word = "" if before is None else before.word
        if before is not None and word == "file":
            name = before.argument
            with Path(name.lstrip("+")).open("a" if name.startswith("+") else "w") as file:
                file.write(block.source)
        elif before is not None and word == "pytest":
            run_tests(block, before.argument.split()[0])
        elif word == "output":
            self._program.compare(block)
        elif block.word == "python" and word != "not run":
            if word != "continues":
                self._program.end()
                self._program = Program(self._path)
            self._program.run(block)


if __name__ == "__main__":
    # The page's folder is where its files are put, and imported from.
    sys.path.insert(0, str(Path.cwd()))
    # A block that hangs is cut off with the process, which its thread would keep alive.
    faulthandler.dump_traceback_later(LIMIT + 10, exit=True)
    Run(Path(sys.argv[1])).page()
