"""The page's HTML. Data from a process is escaped here, and nowhere else."""

from __future__ import annotations

import time
from collections import Counter
from html import escape
from typing import TYPE_CHECKING

from wsgi_async.inspector import words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wsgi_async.insight.snapshot import Manager, Snapshot, Task
    from wsgi_async.insight.stacks import Frame
    from wsgi_async.inspector.reading import Reply

__all__ = ["form", "message", "page", "part"]

_RELOAD = 5
"""Seconds between two reloads without JavaScript."""


def page(content: str, *, reloads: bool) -> str:
    """The whole page.

    Args:
        content: The result of `part()`.
        reloads: Whether the page reloads itself if JavaScript is off.
    """
    refresh = f'<noscript><meta http-equiv="refresh" content="{_RELOAD}"></noscript>'
    link = (
        '<a href="./">Stop reloading</a>'
        if reloads
        else f'<a href="./?reload">Reload every {_RELOAD} s</a>'
    )
    return _document(
        f"""<header><h1>Event loops</h1>
<nav aria-label="Updates"><a href="./{"?reload" if reloads else ""}">Reload</a>
<noscript>{link}</noscript>
<button type="button" id="pause" aria-pressed="false" hidden>Pause</button>
<a href="json">JSON</a></nav>
<p role="status" id="news"></p></header>
<main id="main">{content}</main>""",
        head=(refresh if reloads else "") + '<script src="page.js" defer></script>',
    )


def form(*, wrong: bool) -> str:
    """The form that asks for the token."""
    error = '<p role="alert">This is not the token.</p>' if wrong else ""
    return _document(f"""<main class="form"><h1>Event loops</h1>{error}
<form method="post" action="token"><label for="token">Token</label>
<input type="password" id="token" name="token" required autocomplete="current-password" autofocus>
<button>Show</button></form></main>""")


def message(text: str) -> str:
    """A page with only a message."""
    return _document(f'<main class="form"><h1>Event loops</h1><p>{escape(text)}</p></main>')


def _document(body: str, head: str = "") -> str:
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Event loops - wsgi_async</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="page.css">{head}</head>
<body>{body}</body></html>
"""


def part(replies: list[Reply]) -> str:
    """The part of the page that changes: all processes, or how to make them appear."""
    found = [reply.snapshot for reply in replies if reply.snapshot is not None]
    now = time.strftime("%H:%M:%S %Z")
    head = f'<p class="totals"><strong>{words.totals(found)}</strong> at {escape(now)}</p>'
    if not replies:
        head += (
            "<p>Start your server with <code>WSGI_ASYNC_INSPECT=1</code>. A process is shown once "
            "its first manager has started.</p>"
        )
    return head + "".join(map(_process, replies))


def _process(reply: Reply) -> str:
    name = f'<h2 id="p{reply.pid}">Process {reply.pid}</h2>'
    if reply.snapshot is None:
        inside = f'<p class="bad">{escape(reply.error)}</p>'
    else:
        inside = _facts(_process_facts(reply.snapshot)) + _managers(reply.snapshot, reply.pid)
    return f'<section aria-labelledby="p{reply.pid}">{name}{inside}</section>'


def _managers(snapshot: Snapshot, pid: int) -> str:
    managers = snapshot["managers"]
    keys = _keys(f"p{pid}-{words.title(one)}" for one in managers)
    return "".join(map(_manager, managers, keys))


def _keys(names: Iterable[str]) -> Iterable[str]:
    """Keys that stay the same after a reload, so that open items stay open; without spaces."""
    seen: Counter[str] = Counter()
    for name in names:  # pragma: no branch - map() asks for no more than it needs
        yield f"{'_'.join(name.split())}-{seen[name]}"
        seen[name] += 1


def _process_facts(snapshot: Snapshot) -> list[tuple[str, str]]:
    facts = [("started by", str(snapshot["parent"])), ("Python", snapshot["python"])]
    return facts if snapshot["managers"] else [*facts, ("managers", "none")]


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    return f'<dl class="facts">{"".join(_fact(*fact) for fact in facts)}</dl>'


def _fact(name: str, value: str) -> str:
    return f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"


def _manager(manager: Manager, key: str) -> str:
    silent = manager["runner"] is not None and manager["lag"] is None
    state = f'<span class="state{" bad" if silent else ""}">{_state(manager, silent)}</span>'
    inside = [_facts(_manager_facts(manager))]
    if manager["stack"]:
        inside.append(
            f'<h4 class="bad">The loop does not answer. Its thread is here:</h4>'
            f"{_frames(manager['stack'])}"
        )
    inside += [_tasks(manager["tasks"], key), _resources(manager)]
    return (
        f'<article aria-labelledby="{escape(key)}"><h3 id="{escape(key)}">'
        f"{escape(words.title(manager))} {state}</h3>{''.join(inside)}</article>"
    )


def _state(manager: Manager, silent: bool) -> str:
    return "does not answer" if silent else escape(manager["state"])


def _manager_facts(manager: Manager) -> list[tuple[str, str]]:
    facts = [
        ("thread", manager["thread"]),
        ("runner", manager["runner"]),
        ("lag", words.lag(manager)),
        ("loop", manager["loop"]),
        ("task type", manager["task_type"]),
        ("queued", str(manager["queued"]) if manager["queued"] else None),
        ("lineage", " < ".join(manager["lineage"]) or None),
    ]
    return [(name, value) for name, value in facts if value is not None]


def _tasks(tasks: list[Task], key: str) -> str:
    if not tasks:
        return ""
    shown = tasks[: words.SHOWN]
    rows = map(_task, shown, _keys(f"{key}-{task['name']}" for task in shown))
    more = len(tasks) - words.SHOWN
    rest = f'<p><a href="json">{more:,} more tasks</a></p>' if more > 0 else ""
    return f'<h4>Tasks</h4><ul class="tasks">{"".join(rows)}</ul>{rest}'


def _task(task: Task, key: str) -> str:
    facts = " · ".join(map(escape, words.task_facts(task)))
    return (
        f'<li><details id="{escape(key)}"><summary><code>{escape(task["name"])}</code> '
        f'<span class="muted">{facts}</span></summary>{_frames(task["awaits"])}</details></li>'
    )


def _frames(frames: list[Frame]) -> str:
    return f'<ol class="frames">{"".join(map(_frame, frames))}</ol>'


def _frame(frame: Frame) -> str:
    full = f"{frame['file']}:{frame['line']}"
    return (
        f"<li><code>{escape(frame['function'])}</code> "
        f'<span class="muted" title="{escape(full)}">{escape(words.place(frame))}</span></li>'
    )


def _resources(manager: Manager) -> str:
    if not manager["resources"]:
        return ""
    rows = (
        f'<li><code>{escape(one["name"])}</code> <span class="muted">{escape(one["state"])}</span>'
        "</li>"
        for one in manager["resources"]
    )
    return f"<h4>Resources</h4><ul>{''.join(rows)}</ul>"
