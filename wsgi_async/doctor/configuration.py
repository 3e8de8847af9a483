"""Read gunicorn's settings with gunicorn's own classes."""
# gunicorn has no types, and strict mode would complain of each use of it.
# pyright: standard

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path
from typing import Any

from .findings import Finding, Server, derives_from

__all__ = ["DEFAULT", "UnreadableError", "gunicorn_missing", "is_configured", "not_read", "read"]

DEFAULT = "gunicorn.conf.py"
"""The file that gunicorn reads by default."""

_ARGUMENTS = "GUNICORN_CMD_ARGS"

_NAMES = {
    "sync": "sync",
    "gthread": "gthread",
    "gevent": "green",
    "gevent_wsgi": "green",
    "gevent_pywsgi": "green",
    "eventlet": "green",
    "tornado": "tornado",
    "asgi": "asgi",
}
_MODULES = {
    "gunicorn.workers.ggevent": "green",
    "gunicorn.workers.geventlet": "green",
    "gunicorn.workers.gtornado": "tornado",
    "gunicorn.workers.gasgi": "asgi",
    "uvicorn.workers": "asgi",
    "uvicorn_worker": "asgi",
}
_CLASSES = {
    "wsgi_async.integrations.gunicorn.LoopThreadWorker": "resident",
    "gunicorn.workers.gthread.ThreadWorker": "gthread",
    "gunicorn.workers.sync.SyncWorker": "sync",
    "gunicorn.workers.ggevent.GeventWorker": "green",
    "gunicorn.workers.geventlet.EventletWorker": "green",
    "gunicorn.workers.gtornado.TornadoWorker": "tornado",
    "gunicorn.workers.gasgi.ASGIWorker": "asgi",
    "uvicorn.workers.UvicornWorker": "asgi",
    "uvicorn_worker.UvicornWorker": "asgi",
}
"""A worker class has the kind of the class in this table that it is derived from."""


class UnreadableError(Exception):
    """gunicorn would not start with these settings."""


def is_configured() -> bool:
    """Whether the current folder or the environment has settings that gunicorn would read."""
    return _ARGUMENTS in os.environ or Path(DEFAULT).is_file()


def gunicorn_missing() -> bool:
    """Whether gunicorn is not installed."""
    return importlib.util.find_spec("gunicorn") is None


def read(location: str | None) -> Server:
    """Read the settings, and enter gunicorn's working directory, as gunicorn does.

    Args:
        location: As for gunicorn's `--config`; None for the settings that it reads without it.

    Raises:
        UnreadableError: gunicorn would not start. It has written the reason to stderr.
    """
    from gunicorn.app.base import Application  # noqa: PLC0415 - optional
    from gunicorn.config import get_default_config_file  # noqa: PLC0415

    class Settings(Application):  # type: ignore[misc]
        """gunicorn's application without a command line. Lives while the settings are read."""

        def load_config(self) -> None:
            options = self.cfg.parser().parse_args(self.cfg.get_cmd_args_from_env())
            file = location or options.config or get_default_config_file()
            if file is not None:
                self.load_config_from_file(file)
            for name, value in vars(options).items():
                if value is not None and name != "args":
                    self.cfg.set(name.lower(), value)

    try:
        settings = Settings()
        os.environ.update(settings.cfg.env)
        settings.chdir()
    except (SystemExit, RuntimeError, OSError) as error:
        raise UnreadableError(f"gunicorn cannot use {location or DEFAULT}: {error}.") from error
    return _server(settings.cfg)


def _server(cfg: Any) -> Server:
    name, kind = _worker(cfg)
    hook = cfg.settings["post_worker_init"].get()
    return Server(
        kind=kind,
        worker_class=name,
        workers=cfg.workers,
        threads=cfg.threads,
        timeout=cfg.timeout,
        graceful_timeout=cfg.graceful_timeout,
        preload=cfg.preload_app,
        default_hook=getattr(hook, "__module__", "") == "gunicorn.config",
        app=cfg.wsgi_app or "",
    )


def _worker(cfg: Any) -> tuple[str, str]:
    """The worker class's name and kind. Does not ask `cfg`, which makes gevent patch."""
    name: str = cfg.worker_class_str  # gthread, if the class is sync with several threads
    value = cfg.settings["worker_class"].get()
    if isinstance(value, type):
        return name, _kind_of_class(value)
    if name in _NAMES:
        return name, _NAMES[name]
    module = name.rpartition(".")[0]
    if module in _MODULES:
        return name, _MODULES[module]
    return name, _kind_of_class(_imported(name))


def _imported(name: str) -> type | None:
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception:
        return None  # an entry point, or a name that gunicorn will refuse
    return found if isinstance(found, type) else None


def _kind_of_class(kind: type | None) -> str:
    if kind is None:
        return "unknown"
    return next((value for name, value in _CLASSES.items() if derives_from(kind, name)), "unknown")


def not_read() -> Finding:
    """The finding if there are settings, but gunicorn is not installed."""
    return Finding(
        code="gunicorn-missing",
        severity="note",
        state="There are settings of gunicorn, which is not installed here, so they were not read.",
        remedy="Call the doctor with the Python that runs your server.",
        page="docs/doctor.md#give-it-the-settings-of-your-server",
    )
