"""Apache with mod_wsgi: its configuration, and where it is."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import wsgi_async
from tests.servers.process import Server, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["apache", "apache_missing", "readable_copy"]

_MODULES = Path("/usr/lib/apache2/modules")

_CONFIGURATION = """
ServerRoot {folder}
ServerName localhost
Listen 127.0.0.1:{port}
PidFile {folder}/{port}.pid
ErrorLog /dev/stderr
LogLevel info
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule wsgi_module {modules}/mod_wsgi.so
{user}
WSGISocketPrefix {folder}/{port}
WSGIRestrictEmbedded On
WSGIDaemonProcess site threads={threads} python-path={folder}
WSGIProcessGroup site
WSGIApplicationGroup {group}
WSGIScriptAlias / {folder}/site.wsgi
<Directory {folder}>
    Require all granted
</Directory>
"""


def apache_missing() -> str:
    """Why Apache cannot be started; nothing if it can."""
    if not _program() or not (_MODULES / "mod_wsgi.so").exists():
        return "Debian's apache2-bin and libapache2-mod-wsgi-py3 are not installed"
    # mod_wsgi brings the distribution's Python, not the one that runs the tests.
    version = re.fullmatch(r"python3\.(\d+)", Path("/usr/bin/python3").resolve().name)
    return "" if version and int(version[1]) >= 11 else "mod_wsgi's Python is older than 3.11"


def _program() -> str | None:
    return shutil.which("apache2", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def readable_copy(folder: Path) -> Iterator[Path]:
    """The package and the tests where Apache's user may read them, as root's home may not be."""
    for source in (Path(wsgi_async.__file__).parent, Path(__file__).parents[1]):
        shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    folder.chmod(0o755)
    (folder / "site.wsgi").write_text("from tests.servers.apps import app as application\n")
    yield folder
    shutil.rmtree(folder)


def apache(folder: Path, *, group: str = "%{GLOBAL}", threads: int = 3) -> Server:
    """An Apache with one mod_wsgi process, and ready; `folder` is a readable copy."""
    port = free_port()
    text = _CONFIGURATION.format(
        folder=folder,
        port=port,
        modules=_MODULES,
        user="User nobody\nGroup nogroup" if os.geteuid() == 0 else "",
        threads=threads,
        group=group,
    )
    configuration = folder / f"{port}.conf"
    configuration.write_text(text)
    server = Server("-f", str(configuration), "-DFOREGROUND", program=_program())
    return server.ready("resuming normal operations", port=port)
