"""The views: plain sync functions, which call async code through the loop of their thread.

`current_loop` is the `AsyncioLoopManager` of the worker thread. It is the same one in every request
on this thread, so what was opened on it (the HTTP client with its connections) is still open in the
next one.
"""

import threading
import time
from asyncio import sleep
from collections.abc import Coroutine
from functools import partial
from os import getpid
from typing import Any, TypeVar

from flask import (
    Blueprint,
    current_app,
    flash,
    jsonify,
    redirect,
    render_template,
    request,
    url_for,
)
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

from example_app.board import Board, board_from, live_board
from example_app.checks import check_all
from example_app.demo import demo
from example_app.events import board_events, has_gone
from example_app.forms import FormError, clean_url
from example_app.guards import is_own_form
from example_app.settings import Settings
from example_app.store import DuplicateError, FullError, Snapshot, Store
from wsgi_async.integrations.flask import current_loop, stream

views = Blueprint("board", __name__)

_T = TypeVar("_T")
_Page = tuple[str, int]  # and a status


@views.get("/")
def index() -> _Page:
    """The board as the background checker sees it."""
    return _page(run(_stored()))


@views.get("/check")
def check_now() -> _Page:
    """The board, with all addresses checked at the same time in this very request."""
    return _page(run(_checked_now()))


@views.get("/events")
def events() -> Response:
    """What changes on the board, as Server-Sent Events.

    The server iterates over the stream on this worker thread, whose loop runs the generator. When
    the client has gone, the generator ends, and the thread is free.
    """
    places: threading.Semaphore = current_app.config["STREAMS"]
    # No body of the answer to HEAD is ever closed, and a place never given back.
    if request.method == "HEAD" or not places.acquire(blocking=False):
        return Response(status=204)  # tells an EventSource not to come back by itself
    response = stream(
        board_events(
            _store(),
            _event,
            seen=request.headers.get("Last-Event-ID") or request.args.get("seen"),
            checks=_settings().charted_checks,
            seconds=_settings().stream_seconds,
            gone=partial(has_gone, request.environ),
        ),
        mimetype="text/event-stream",
    )
    response.call_on_close(places.release)
    response.headers["X-Accel-Buffering"] = "no"  # a proxy is to hand on each event at once
    return response


@views.get("/api/status")
def api_status() -> Response:
    """What `/` shows, as JSON."""
    return jsonify(run(_stored()).as_json())


@views.get("/api/check")
def api_check() -> Response:
    """What `/check` shows, as JSON."""
    return jsonify(run(_checked_now()).as_json())


@views.post("/urls")
def add() -> Response | _Page:
    """Put the address from the form on the board."""
    if not is_own_form():
        return _page(run(_stored()), error=_EXPIRED)
    text = request.form.get("url", "")
    try:
        added = run(_store().add(clean_url(text), limit=_settings().max_urls))
    except FormError as problem:
        return _page(run(_stored()), error=str(problem), entered=text)
    except DuplicateError:
        return _page(run(_stored()), error="This address is on the board already.", entered=text)
    except FullError:
        return _page(run(_stored()), error=_FULL.format(_settings().max_urls), entered=text)
    flash(added.url, "added")
    return _to_the_board()


@views.post("/urls/<int:url_id>/remove")
def remove(url_id: int) -> Response | _Page:
    """Take an address off the board."""
    if not is_own_form():
        return _page(run(_stored()), error="This page has expired. Please try once more.")
    removed = run(_store().remove(url_id))
    flash(removed or "", "removed" if removed else "gone")
    return _to_the_board()


@views.get("/urls")
@views.get("/urls/<int:url_id>/remove")
def after_a_form(url_id: int | None = None) -> Response:  # noqa: ARG001
    """Where a browser ends up that asks for a form's address again."""
    return _to_the_board()


@views.get("/demo/<name>")
def demo_endpoint(name: str) -> Response:
    """One of the service's own endpoints."""
    answer = demo(name)
    if answer is None:
        raise NotFound
    run(sleep(answer.seconds))
    return Response(answer.text, answer.status, mimetype="text/plain")


@views.get("/healthz")
def healthz() -> Response:
    """Whether this process answers; looks at nothing else, and so costs nothing."""
    return Response("ok\n", mimetype="text/plain")


def run(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run async code from a view, on this worker thread's loop."""
    return current_loop.run(coroutine, timeout=_settings().longest_request)


async def _stored() -> Board:
    return board_from(await _store().snapshot(checks=_settings().charted_checks))


async def _checked_now() -> Board:
    snapshot = await _store().snapshot(checks=_settings().charted_checks)
    started = time.perf_counter()
    results = await check_all(snapshot.watched, timeout=_settings().check_timeout)
    return live_board(snapshot, results, (time.perf_counter() - started) * 1000)


def _page(board: Board, *, error: str | None = None, entered: str = "") -> _Page:
    served_by = f"worker {getpid()}, thread {threading.current_thread().name}"
    page = render_template(
        "board.html",
        board=board,
        error=error,
        entered=entered,
        settings=_settings(),
        refreshing="refresh" in request.args,
        served_by=served_by,
    )
    return page, 400 if error else 200


def _event(snapshot: Snapshot) -> str:
    return render_template("event.html", board=board_from(snapshot), settings=_settings())


def _to_the_board() -> Response:
    return redirect(url_for("board.index"), 303)


def _settings() -> Settings:
    settings: Settings = current_app.config["BOARD"]
    return settings


def _store() -> Store:
    return Store(_settings().database)


_EXPIRED = "This form has expired. Please enter the address once more."
_FULL = "The board is full: it watches {} addresses. Remove one first."
