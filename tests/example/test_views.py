from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from webtest import TestApp

from example_app.app import create_app
from example_app.board import board_from
from example_app.chart import describe
from example_app.models import CheckResult
from example_app.settings import Settings
from example_app.store import Store
from example_app.words import in_ms, status_line
from tests.example.local import LocalServer
from wsgi_async import AsyncioLoopManager

MADE_UP = CheckResult(1, 1_700_000_000.0, 200, None, 12.34, reused=True)


@pytest.fixture
def web(settings: Settings, store: Store) -> Iterator[Any]:
    """A browser, more or less, before a board with nothing on it."""
    before = set(AsyncioLoopManager.all_instances())
    yield TestApp(create_app(settings))
    for manager in set(AsyncioLoopManager.all_instances()) - before:
        manager.stop()


def add(web: Any, url: str, *, status: int = 303) -> Any:
    form = web.get("/").forms[0]
    form["url"] = url
    return form.submit(status=status)


def insert(store: Store, *urls: str) -> None:
    """Past the form, as an older version or somebody with a database shell might."""
    with closing(sqlite3.connect(store.database)) as db:
        db.executemany("INSERT INTO urls (url) VALUES (?)", [(url,) for url in urls])
        db.commit()


def insert_checks(store: Store, *checks: CheckResult) -> None:
    values = [(c.url_id, c.at, c.status, c.error, c.latency_ms, c.reused) for c in checks]
    columns = "url_id, at, status, error, latency_ms, reused"
    with closing(sqlite3.connect(store.database)) as db:
        db.executemany(f"INSERT INTO checks ({columns}) VALUES (?, ?, ?, ?, ?, ?)", values)
        db.commit()


def test_an_empty_board_says_what_to_do(web: Any) -> None:
    """The first page of a board without addresses is no dead end."""
    page = web.get("/")
    assert "Nothing is watched yet" in page
    assert "No background checker is running" in page


def test_add_shows_the_address_and_says_so(web: Any) -> None:
    """After adding, the browser is sent to the board, where the address waits for its check."""
    sent = add(web, "HTTP://Example.org")
    assert sent.location == "/"
    page = sent.follow()
    assert "http://example.org/ is on the board" in page.html.find(role="status").get_text()
    assert page.html.find("h3").get_text() == "http://example.org/"
    assert "Waiting for its first check" in page
    assert "is on the board" not in web.get("/")


def test_remove_takes_it_off_and_can_be_undone(web: Any, store: Store) -> None:
    """A slip of the finger costs one more click."""
    insert(store, "http://a.example/", "http://b.example/")
    page = web.get("/")
    button = page.html.find("button", attrs={"aria-label": "Remove http://a.example/"})
    page = page.forms[1].submit(status=303).follow()
    assert button is not None
    assert [h3.get_text() for h3 in page.html.find_all("h3")] == ["http://b.example/"]
    undo = next(form for form in page.forms.values() if "Watch it again" in form.text)
    page = undo.submit(status=303).follow()
    shown = [h3.get_text() for h3 in page.html.find_all("h3")]
    assert shown == ["http://b.example/", "http://a.example/"]


def test_remove_twice_is_no_error(web: Any, store: Store) -> None:
    """Two people who remove the same address at the same time both see it gone."""
    insert(store, "http://a.example/")
    form = web.get("/").forms[1]
    form.submit(status=303)
    assert "It had been removed already" in form.submit(status=303).follow()


@pytest.mark.parametrize(
    ("entered", "says"),
    [
        ("", "Enter an address"),
        ("ftp://example.org/", "must start with http"),
        ("http:///nowhere", "no host name"),
        ("http://example.org:99999/", "The port must be"),
        ("http://example.org/" + "a" * 600, "too long: 619 characters"),
        ("http://watched.example/", "on the board already"),
    ],
)
def test_a_bad_address_gets_a_message_beside_the_form(
    web: Any, store: Store, entered: str, says: str
) -> None:
    """What was entered is still there, and the message is tied to the field."""
    insert(store, "http://watched.example/")
    page = add(web, entered, status=400)
    field = page.html.find("input", id="url")
    assert field["value"] == entered
    assert field["aria-invalid"] == "true"
    assert says in page.html.find(id=field["aria-describedby"]).get_text()
    assert page.html.title.get_text().startswith("Error: ")
    assert len(page.html.find_all("h3")) == 1


def test_a_full_board_says_so(settings: Settings, store: Store) -> None:
    """The limit on the number of addresses has a message too."""
    web = TestApp(create_app(replace(settings, max_urls=2)))
    add(web, "http://a.example/")
    add(web, "http://b.example/")
    page = add(web, "http://c.example/", status=400)
    assert "The board is full: it watches 2 addresses" in page.html.find(id="url-error").get_text()


@pytest.mark.parametrize(
    "hostile",
    [
        "http://a.example/<script>alert(1)</script>",
        'http://a.example/"><script>alert(1)</script>',
        "http://a.example/'onmouseover='alert(1)",
        "javascript:<script>alert(1)</script>",
    ],
)
def test_everything_that_is_shown_is_escaped(web: Any, store: Store, hostile: str) -> None:
    """No text that somebody enters becomes part of the page, wherever it is shown."""
    insert(store, hostile)
    insert_checks(store, CheckResult(1, 0.0, None, hostile, None, reused=False))
    pages = [web.get("/"), web.get("/check"), web.get("/").forms[1].submit().follow()]
    form = web.get("/").forms[0]
    form["url"] = hostile + "\\"
    pages.append(form.submit(status=400))
    for page in pages:
        assert {tag.get("src") for tag in page.html.find_all("script")} <= {"/static/board.js"}
        assert not [tag for tag in page.html.find_all("script") if tag.get_text()]
        assert "alert(1)" in page
        assert not [tag for tag in page.html.find_all(True) if "onmouseover" in tag.attrs]


def test_a_form_of_another_site_does_nothing(web: Any, store: Store) -> None:
    """Without this visitor's token nothing is added or removed, and the page says why."""
    insert(store, "http://a.example/")
    web.get("/")
    for token in ({}, {"csrf_token": ""}, {"csrf_token": "ümade-up"}):
        page = web.post("/urls", {"url": "http://evil.example/", **token}, status=400)
        assert "This form has expired" in page
        assert "evil.example" not in page
        assert "This page has expired" in web.post("/urls/1/remove", token, status=400)
    assert [h3.get_text() for h3 in web.get("/").html.find_all("h3")] == ["http://a.example/"]


def test_a_token_is_good_for_its_visitor_only(web: Any, settings: Settings) -> None:
    """What an attacker gets for himself does not work in somebody else's browser."""
    stolen = web.get("/").forms[0]["csrf_token"].value
    victim = TestApp(create_app(settings))
    form = victim.get("/").forms[0]
    assert form["csrf_token"].value != stolen
    form["csrf_token"].force_value(stolen)
    form["url"] = "http://evil.example/"
    assert "This form has expired" in form.submit(status=400)


def test_the_session_survives_another_worker(web: Any, settings: Settings) -> None:
    """A form that one process made is taken by another one on the same database."""
    form = web.get("/").forms[0]
    form["url"] = "http://a.example/"
    other = TestApp(create_app(settings), cookiejar=web.cookiejar)
    fields = dict(form.submit_fields())
    assert "is on the board" in other.post("/urls", fields, status=303).follow()


def test_a_foreign_host_name_is_refused(web: Any) -> None:
    """A site that lets its own name resolve to this machine cannot read the board."""
    page = web.get("/", headers={"Host": "evil.example"}, status=400)
    assert "This host name is not served here" in page
    for host in ("localhost:8000", "127.0.0.1:8000", "[::1]:8000"):
        web.get("/", headers={"Host": host}, status=200)


def test_pages_load_nothing_from_elsewhere(web: Any) -> None:
    """The policy in the headers allows our own style sheet, script and images, and no others."""
    response = web.get("/")
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    for tag in response.html.find_all(["link", "img", "script"]):
        assert web.get(tag.get("href") or tag["src"]).status_int == 200
    assert response.headers["Cache-Control"] == "no-store"


def test_a_check_now_shows_status_latency_and_reuse(
    web: Any, store: Store, local: LocalServer
) -> None:
    """The live view really asks, over connections that stay open from one request to the next."""
    insert(store, local.url("/"), local.url("/503"), local.url("/cut"))
    first = web.get("/check")
    assert "This worker thread had no open connections yet" in first
    page = web.get("/check").html
    text = " ".join(page.get_text().split())
    assert "Checked 3 addresses at once in" in text
    assert "2 of 2 answers came over a connection that this worker thread had kept open" in text
    states = [" ".join(row.get_text().split()) for row in page.select("li.row")]
    assert re.match(r"Up http\S+ 200 OK connection reused just now .* [\d.]+ ms$", states[0])
    assert re.match(r"Down http\S+ 503 Service Unavailable connection reused", states[1])
    assert re.match(r"Down http\S+/cut The connection was cut off", states[2])


def test_json_gives_the_same_data_as_the_page(web: Any, store: Store) -> None:
    """Whoever reads the JSON knows what whoever reads the page knows."""
    insert(store, "http://a.example/", "http://b.example/", "http://c.example/")
    late = replace(MADE_UP, at=1_700_000_009.0, latency_ms=2500.0, reused=False)
    broken = CheckResult(2, 1_700_000_001.0, None, "no answer within 3 s", None, reused=False)
    insert_checks(store, MADE_UP, late, broken)
    page, data = web.get("/").html, web.get("/api/status").json
    tiles = [int(re.findall(r"\d+", dd.get_text())[0]) for dd in page.select(".tile dd")]
    assert tiles == [data["up"], data["down"], data["reused"]] == [1, 1, 0]
    assert data["waiting"] == 1
    for row, one in zip(page.select("li.row"), data["urls"], strict=True):
        text = " ".join(row.get_text().split())
        assert row.find("h3").get_text() == one["url"]
        assert row.find(class_="state").get_text(strip=True).lower() == one["state"]
        assert int(row.find("svg", class_="chart").title["id"].removeprefix("chart-")) == one["id"]
        history = [CheckResult(one["id"], 0, *_facts(check)) for check in one["history"]]
        assert row.find("svg", class_="chart").title.get_text() == describe(history)
        if one["latest"]:
            assert row.find("time")["datetime"] == one["latest"]["at"]
            shown = one["latest"]["error"] or status_line(one["latest"]["status"])
            assert shown in text.replace("No answer", "no answer")
        if one["median_ms"]:
            assert f"median {in_ms(one['median_ms'])}" in text
            assert in_ms(one["latest"]["latency_ms"]) == "2.50 s"
            assert "2.50 s" in text
    assert [one["uptime"] for one in data["urls"]] == [1.0, 0.0, None]


def _facts(check: dict[str, Any]) -> tuple[int | None, str | None, float | None, bool]:
    return check["status"], check["error"], check["latency_ms"], check["reused"]


def test_live_json_counts_what_was_reused(web: Any, store: Store, local: LocalServer) -> None:
    """The figure on the page is the figure in the JSON is what the server saw."""
    insert(store, local.url("/"), local.url("/404"))
    seen = [web.get("/api/check").json for _ in range(2)]
    assert [(one["live"], one["answered"], one["reused"]) for one in seen] == [
        (True, 2, 0),
        (True, 2, 2),
    ]
    assert local.connections == 2


def test_errors_are_pages_or_json(web: Any) -> None:
    """A wrong address on the board itself leads back to it, or stays machine-readable."""
    page = web.get("/nowhere", status=404)
    assert page.html.find("a", string="Back to the board")["href"] == "/"
    assert web.get("/api/nowhere", status=404).json["error"] == "Not Found"
    assert web.get("/demo/nowhere", status=404)
    assert web.get("/urls").location == "/"


def test_a_database_in_trouble_is_a_503(web: Any, store: Store) -> None:
    """The page says that it is not the visitor's fault, and the health check goes on."""
    with closing(sqlite3.connect(store.database)) as db:
        db.execute("DROP TABLE lease")
    assert "The database is busy" in web.get("/", status=503)
    assert web.get("/healthz").text == "ok\n"


def test_refreshing_is_asked_for(web: Any) -> None:
    """The page reloads itself only for those who want it, without a script."""
    assert web.get("/").html.find("meta", attrs={"http-equiv": "refresh"}) is None
    page = web.get("/").click("Refresh every 5 s")
    assert page.html.find("script") is None
    assert page.html.find("meta", attrs={"http-equiv": "refresh"})["content"] == "5"
    assert page.click("Stop refreshing").html.find("meta", attrs={"http-equiv": "refresh"}) is None


def test_the_demo_endpoints_do_as_they_are_called(web: Any) -> None:
    """One is fast, one takes its time, one fails."""
    assert web.get("/demo/fast").status_int == 200
    assert web.get("/demo/slow").status_int == 200
    assert web.get("/demo/failing", status=503)


def test_medians_and_shares(manager: AsyncioLoopManager, store: Store) -> None:
    """A failed check counts against the uptime, and not for the latency."""
    insert(store, "http://a.example/")
    times = [replace(MADE_UP, latency_ms=ms) for ms in (10.0, 30.0, 20.0)]
    insert_checks(store, *times, replace(MADE_UP, status=500, latency_ms=9000.0))
    (row,) = board_from(manager.run(store.snapshot(checks=60))).rows
    assert (row.median_ms, row.uptime, row.state) == (20.0, 0.75, "down")
