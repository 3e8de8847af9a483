from __future__ import annotations

from pathlib import Path

import pytest

from example_app.settings import Settings, SettingsError


def test_settings_come_from_the_environment() -> None:
    """Each variable sets what it names, and what is not set keeps its default."""
    settings = Settings.from_environ(
        {"HOST": "0.0.0.0", "PORT": "8080", "THREADS": "1", "STATUS_BOARD_DB": "/data/board"}
    )
    assert (settings.host, settings.port, settings.workers, settings.threads) == (
        "0.0.0.0",
        8080,
        2,
        1,
    )
    assert settings.database == Path("/data/board")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PORT", "http", "PORT must be a whole number from 0 to 65535, not 'http'"),
        ("PORT", "65536", "PORT must be"),
        ("PORT", "-1", "PORT must be"),
        ("PORT", "", "PORT must be"),
        ("WORKERS", "0", "WORKERS must be a whole number from 1 to 64"),
        ("THREADS", "4.5", "THREADS must be"),
        ("HOST", "", "HOST must be a host name"),
        ("HOST", "a b", "HOST must be"),
        ("CHECK_INTERVAL", "0", "CHECK_INTERVAL must be a number of seconds"),
        ("CHECK_TIMEOUT", "nan", "CHECK_TIMEOUT must be"),
        ("CHECK_TIMEOUT", "long", "CHECK_TIMEOUT must be"),
        ("STREAM_SECONDS", "0", "STREAM_SECONDS must be a number of seconds from 0.5 to 3600"),
        ("STATUS_BOARD_DB", "", "STATUS_BOARD_DB must be"),
        ("STATUS_BOARD_QUEUE", "localhost", "STATUS_BOARD_QUEUE must be .* redis://"),
        ("STATUS_BOARD_URL", "localhost:80", "STATUS_BOARD_URL must be .* http://"),
    ],
)
def test_a_bad_setting_is_named(name: str, value: str, says: str) -> None:
    """A value that cannot be used is refused with its name, the range and the value."""
    with pytest.raises(SettingsError, match=says):
        Settings.from_environ({name: value})


def test_settings_of_a_board_on_several_hosts() -> None:
    """A database server, a queue, and the address of the proxy."""
    settings = Settings.from_environ(
        {
            "STATUS_BOARD_DB": "postgresql://me:secret@db.test/board",
            "STATUS_BOARD_QUEUE": "redis://queue.test/0",
            "STATUS_BOARD_URL": "https://board.test/",
        }
    )
    assert settings.database == "postgresql://me:secret@db.test/board"
    assert settings.database_name == "postgresql://db.test/board"
    assert (settings.queue, settings.base_url) == ("redis://queue.test/0", "https://board.test")


@pytest.mark.parametrize(
    ("host", "bind", "base_url"),
    [
        ("127.0.0.1", "127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("0.0.0.0", "0.0.0.0:8000", "http://127.0.0.1:8000"),
        ("[::1]", "[::1]:8000", "http://[::1]:8000"),
        ("::", "[::]:8000", "http://[::1]:8000"),
    ],
)
def test_the_service_knows_how_to_reach_itself(host: str, bind: str, base_url: str) -> None:
    """Its own endpoints are watched under an address that works, whatever it listens on."""
    settings = Settings.from_environ({"HOST": host})
    assert (settings.bind, settings.base_url) == (bind, base_url)


def test_a_board_on_the_loopback_interface_has_local_names_only() -> None:
    """Elsewhere any name will do, unless names are set."""
    assert Settings().allowed_hosts == {"127.0.0.1", "localhost", "::1"}
    assert Settings(host="0.0.0.0").allowed_hosts == set()
    names = Settings.from_environ({"HOST": "0.0.0.0", "TRUSTED_HOSTS": "Board.example, 10.0.0.1"})
    assert names.allowed_hosts == {"board.example", "10.0.0.1"}
