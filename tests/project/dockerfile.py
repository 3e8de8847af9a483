"""Just enough of the grammar of Dockerfile and .dockerignore to check ours without an engine."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    """One instruction: its keyword and what follows, continuation lines joined."""

    keyword: str
    rest: str

    @property
    def flags(self) -> dict[str, str]:
        """The `--name=value` flags at the front."""
        return dict(re.findall(r"--([a-z-]+)=(\S+)", self._split()[0]))

    @property
    def words(self) -> list[str]:
        """The words after the flags; those of the list in exec form."""
        body = self._split()[1]
        if not body.startswith("["):
            return shlex.split(body)
        words: list[str] = json.loads(body)
        return words

    @property
    def is_exec_form(self) -> bool:
        """Whether the words are a JSON list, so that no shell stands in between."""
        return self._split()[1].startswith("[")

    def _split(self) -> tuple[str, str]:
        match = re.match(r"((?:--[a-z-]+=\S+\s+)*)(.*)", self.rest, re.DOTALL)
        assert match
        return match[1], match[2].strip()


@dataclass
class Stage:
    """A build stage: its base image, its name, its instructions."""

    base: str
    name: str | None
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, keyword: str) -> list[Instruction]:
        """The stage's instructions with this keyword, in order."""
        return [found for found in self.instructions if found.keyword == keyword]

    def only(self, keyword: str) -> Instruction:
        """The stage's one instruction with this keyword."""
        (found,) = self.all(keyword)
        return found

    @property
    def environment(self) -> dict[str, str]:
        """What its ENV instructions set."""
        pairs = (word.split("=", 1) for found in self.all("ENV") for word in found.words)
        return {name: value for name, value in pairs}  # noqa: C416 - a check that each is a pair


def parse(text: str) -> list[Stage]:
    """The stages of a Dockerfile."""
    stages: list[Stage] = []
    for instruction in _instructions(text):
        if instruction.keyword == "FROM":
            base, *name = re.split(r"\s+AS\s+", instruction.rest, flags=re.IGNORECASE)
            stages.append(Stage(base, name[0] if name else None))
        else:
            stages[-1].instructions.append(instruction)
    return stages


def _instructions(text: str) -> Iterator[Instruction]:
    lines = [line for line in text.splitlines() if not re.match(r"\s*(#|$)", line)]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        keyword, rest = line.split(maxsplit=1)
        yield Instruction(keyword.upper(), rest)


class Ignored:
    """The rules of a .dockerignore file; the last one that matches a path decides."""

    def __init__(self, text: str) -> None:
        lines = [line.strip() for line in text.splitlines()]
        self._rules = [_rule(line) for line in lines if line and not line.startswith("#")]

    def __contains__(self, path: Any) -> bool:
        ignored = False
        for excludes, pattern in self._rules:
            if pattern.match(path):
                ignored = excludes
        return ignored

    def kept(self, root: Path, source: str) -> list[str]:
        """The files that `COPY source` finds, as paths below the root."""
        start = root / source
        files = (
            [start] if start.is_file() else [path for path in start.rglob("*") if path.is_file()]
        )
        names = [path.relative_to(root).as_posix() for path in files]
        return [name for name in names if name not in self]


def _rule(line: str) -> tuple[bool, re.Pattern[str]]:
    excludes = not line.startswith("!")
    pattern = re.escape(line.lstrip("!").strip("/"))
    pattern = pattern.replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
    pattern = re.sub(r"\\\[(.*?)\\\]", r"[\1]", pattern)
    return excludes, re.compile(f"{pattern}(/.*)?$")
