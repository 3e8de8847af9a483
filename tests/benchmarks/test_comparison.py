"""The comparison with other frameworks and servers."""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.comparison import __main__ as command
from benchmarks.comparison import contenders, load, measure, processes, report, services, views
from benchmarks.comparison.measure import Effort, Row
from benchmarks.timing import Missing
from tests.servers.needed import POSTGRES, do_without

if TYPE_CHECKING:
    from pathlib import Path

TINY = Effort(rounds=1, seconds=0.2)

WRK = """
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     7.55ms    1.50ms  20.12ms   85.36%
  Latency Distribution
     50%    7.20ms
     75%    8.10ms
     90%  950.00us
     99%    1.20s
  1064 requests in 1.00s, 170.41KB read
Requests/sec:   1063.45
"""


def row(rate: float, connections: float = 0.0) -> Row:
    return Row(rate, 7.25, 20.5, 0.51, 40.25, connections)


def content(**others: Any) -> dict[str, Any]:
    """Made-up results as they are in the JSON file."""
    rates = {"flask_async": 200.0, "keeper": 480.0, "process_uvloop": 750.0, "quart": 1000.0}
    http = {width: {key: row(rate, 24) for key, rate in rates.items()} for width in (4, 16)}
    machine: Any = dict.fromkeys(("cpu", "cores", "python", "system", "server", "client"), "x")
    measured: Any = {"http": http, "noop": {8: {"keeper": row(1234.5)}}}
    return report.document(measured, None, machine | {"date": "2024-02-29"}, TINY) | others


def options(*arguments: str) -> argparse.Namespace:
    return command.arguments().parse_args(arguments)


@pytest.mark.gunicorn
def test_a_view_is_measured() -> None:
    """Contenders of a view are measured side by side, each in a server of its own."""
    who = [contenders.BY_KEY[key] for key in ("keeper", "resident")]
    found = measure.measure(views.BY_KEY["noop"], who, TINY)
    assert set(found[8]) == {"keeper", "resident"}
    for each in found[8].values():
        assert each.rate > 0
        assert 0 < each.median <= each.slowest
        assert each.memory > 10


@pytest.mark.gunicorn
def test_kept_connections_are_counted() -> None:
    """A user sees how many connections a way of keeping clients opens."""
    pytest.importorskip("aiohttp")
    view = replace(views.BY_KEY["http"], connections=(1,))
    found = measure.measure(view, [contenders.BY_KEY["process"]], TINY)
    assert found[1]["process"].connections == 3


@pytest.mark.gunicorn
def test_a_contender_that_fails_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """One that does not start is named, with what its server wrote, and the others are measured."""
    broken = replace(contenders.BY_KEY["keeper"], key="broken", framework="no_such")
    found = measure.measure(views.BY_KEY["noop"], [broken, contenders.BY_KEY["keeper"]], TINY)
    assert set(found[8]) == {"keeper"}
    told = capsys.readouterr().err
    assert "without broken" in told
    assert "no_such" in told


def test_what_is_not_installed_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A contender whose package is missing is skipped, and the reason is told."""
    monkeypatch.setattr(contenders, "find_spec", lambda name: None if name == "quart" else name)
    assert contenders.skipped() == {"quart": "quart is not installed"}
    assert "quart" not in [each.key for each in contenders.of(views.BY_KEY["http"])]


def test_a_machine_without_postgresql(monkeypatch: pytest.MonkeyPatch) -> None:
    """A view whose service is missing is skipped, and the reason is told."""
    monkeypatch.setattr(services, "PROGRAMS", ("no-such-program",))
    monkeypatch.setattr(services, "find_spec", lambda name: name)
    with (
        pytest.raises(Missing, match="PostgreSQL is not installed"),
        services.services(views.BY_KEY["postgres"]),
    ):
        pass


def test_postgresql_has_the_row() -> None:
    """The PostgreSQL that is started answers the query of the views."""
    try:
        programs = services.programs()
    except Missing as reason:
        do_without(str(reason), POSTGRES)
    with services.postgres_server() as folder:
        asked = ["-h", folder, "-U", "postgres", "-Atc", "SELECT text FROM fact WHERE id = 1"]
        done = subprocess.run(
            [programs / "psql", *asked], capture_output=True, text=True, check=True
        )
    assert done.stdout == "ok\n"


def test_what_wrk_says_is_read() -> None:
    """Requests, rate and latencies are read from wrk, whatever their units."""
    assert load.of_wrk(WRK) == (1064, 1063.45, 7.2, 1200.0)


def test_errors_are_not_counted_as_answers() -> None:
    """Figures with errors in them are refused."""
    with pytest.raises(RuntimeError, match="Some requests failed"):
        load.of_wrk(WRK + "  Non-2xx or 3xx responses: 3\n")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ],
)
def test_own_client_reads_whole_answers(answer: bytes) -> None:
    """The client for machines without wrk takes an answer to its end and nothing after it."""

    async def read() -> bytes:
        reader = asyncio.StreamReader()
        reader.feed_data(answer + b"next")
        reader.feed_eof()
        await load.read_answer(reader)
        return await reader.read()

    assert asyncio.run(read()) == b"next"


def test_own_client_refuses_errors() -> None:
    """The client for machines without wrk refuses answers that are errors."""

    async def read() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")
        await load.read_answer(reader)

    with pytest.raises(RuntimeError, match="500 oh"):
        asyncio.run(read())


def test_what_a_process_tree_takes() -> None:
    """CPU, memory and connections are those of a process and of its children."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        child = f"import socket; c = socket.create_connection(('127.0.0.1', {port})); input()"
        parent = f"import subprocess; subprocess.run([{sys.executable!r}, '-c', {child!r}])"
        with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE) as process:
            with server.accept()[0]:
                assert len(processes.tree(process.pid)) == 2
                assert processes.connections(process.pid, port) == 1
                assert processes.cpu_seconds(process.pid) >= 0
                assert processes.memory(process.pid) > 5
            process.communicate()


def test_every_contender_has_a_name_of_its_own() -> None:
    """Rows of a table are told apart, and a view or a contender can be chosen by its key."""
    assert len({each.label for each in contenders.CONTENDERS}) == len(contenders.CONTENDERS)
    assert set(report.BARS) <= set(contenders.BY_KEY)
    assert set(contenders.FREE_THREADED) <= set(contenders.BY_KEY)
    assert set(views.FREE_THREADED) <= set(views.BY_KEY)


def test_tables_show_one_setting_or_all() -> None:
    """A table has the values of one number of connections, or one value of all numbers."""
    one = report.one_setting(content(), "http", "16", labels={"keeper": "ours"})
    assert one[0] == ["", *(report.COLUMNS[name] for name in report.SHOWN)]
    assert one[1:] == [["ours", "480", "7.25", "20.5", "0.51", "40.2"]]
    every = report.all_settings(content(), "http")
    assert every[0] == ["requests/s", "4 connections", "16 connections"]
    assert ["Quart on uvicorn", "1,000", "1,000"] in every


def test_rows_without_the_gil() -> None:
    """The free-threaded rows set one core beside two."""
    rows = {"1": {"resident": {"rate": 900.0}}, "2": {"resident": {"rate": 1700.0}}}
    without_gil = {"python": "CPython", "results": {"noop": rows}}
    table = report.free_threaded(content(free_threaded=without_gil))
    assert table[1:] == [["Flask, `LoopThreadWorker`: a view that does nothing", "900", "1,700"]]
    assert report.free_threaded(content()) == []


def test_bars_are_as_long_as_they_should_be(tmp_path: Path) -> None:
    """The README's bars are those of the results, the longest one for the greatest rate."""
    readme = tmp_path / "README.md"
    readme.write_text("```text\nmake\n```\n```text\nold  1  █\n```\nrest")
    report.update_readme(readme, content())
    assert readme.read_text() == f"```text\nmake\n```\n```text\n{report.bars(content())}\n```\nrest"
    lines = report.bars(content()).splitlines()
    assert [line.count("█") for line in lines] == [8, 19, 30, 40]
    assert report.bars(content(results={})) == ""


def test_results_are_written(tmp_path: Path) -> None:
    """A run leaves JSON for programs, and Markdown for people."""
    report.write(tmp_path, content())
    assert json.loads((tmp_path / "comparison.json").read_text()) == content()
    text = (tmp_path / "comparison.md").read_text()
    assert "## Three HTTP calls of 5 ms at once, 16 connections" in text
    assert "| Flask, a loop per thread | 1,234 |" in text


def test_everything_is_compared_by_default() -> None:
    """Without options nothing is left out; `--quick` takes one number of connections."""
    assert command.chosen(options()) == list(views.VIEWS)
    assert command.among(options()) == list(contenders.CONTENDERS)
    assert {len(view.connections) for view in command.chosen(options("--quick"))} == {1}


def test_a_part_can_be_chosen() -> None:
    """A view, a contender and the numbers of connections can be chosen."""
    chosen = options("--only", "http", "--contender", "quart", "--connections", "32")
    (view,) = command.chosen(chosen)
    assert (view.key, view.connections) == ("http", (32,))
    assert command.among(chosen) == [contenders.BY_KEY["quart"]]


@pytest.mark.gunicorn
def test_part_of_it_as_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--only --contender --output` prints the table and leaves the results in the folder."""
    monkeypatch.setattr("benchmarks.machine.debug_modes", list)
    arguments = ("--only", "noop", "--contender", "keeper", "--seconds", "0.2", "--rounds", "1")
    assert command.main([*arguments, "--output", str(tmp_path)]) == 0
    assert "## A view that does nothing, 8 connections" in capsys.readouterr().out
    written = json.loads((tmp_path / "comparison.json").read_text())
    assert list(written["results"]["noop"]["8"]) == ["keeper"]
    assert written["measured_on"]["client"] == "an asyncio client"


def test_debug_mode_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody publishes figures that were taken in debug mode by mistake."""
    monkeypatch.setattr("benchmarks.machine.debug_modes", lambda: ["-X dev"])
    assert command.main(["--only", "noop"]) == 2
    assert "Refused: with -X dev" in capsys.readouterr().err


def test_requests_that_fail_leave_a_cell_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A long run is not lost to one contender that gives errors; the others have all rounds."""

    def asked(_: object, served: object, *__: object) -> Row:
        if served == "broken":
            raise RuntimeError("Some requests failed")
        return row(100)

    monkeypatch.setattr(measure, "asked", asked)
    servers: Any = {"keeper": "good", "quart": "broken"}
    cells = [("keeper", 8), ("quart", 8)]
    kept = measure.rounds(views.BY_KEY["noop"], servers, cells, Effort(3, 1), 0)
    assert kept == {("keeper", 8): [row(100)] * 3}
    assert "without quart at 8: Some requests failed" in capsys.readouterr().err


def test_connections_are_counted_from_few_to_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a load of 64 connections has opened is not counted for a load of 4."""
    most = 0

    def asked(_: object, __: object, width: int, *___: object) -> Row:
        nonlocal most
        most = max(most, width)
        return row(100, 3 * most)

    monkeypatch.setattr(measure, "asked", asked)
    servers: Any = {"process": "any"}
    cells = [("process", 64), ("process", 4)]
    kept = measure.rounds(views.BY_KEY["http"], servers, cells, Effort(2, 1), 0)
    assert {width: rows[-1].connections for (_, width), rows in kept.items()} == {64: 192, 4: 12}
