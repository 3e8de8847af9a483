"""Flask and Django apps: async views without the integration, and settings that do not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.doctor.parts import diagnose, run_doctor, severities, subject, write
from wsgi_async import AsyncLoopMiddleware
from wsgi_async.doctor.frameworks import check_flask

if TYPE_CHECKING:
    from pathlib import Path

# -- Flask -----------------------------------------------------------------------------------------


def flask_app(*, view: bool = False, method: bool = False) -> Any:
    flask = pytest.importorskip("flask")
    views = pytest.importorskip("flask.views")
    app = flask.Flask(__name__)

    async def answer() -> str:
        return "hello"

    class Answer(views.MethodView):  # type: ignore[misc, name-defined]
        async def get(self) -> str:
            return "hello"

    app.add_url_rule("/sync", "sync", lambda: "hello")
    if view:
        app.add_url_rule("/view", "view", answer)
    if method:
        app.add_url_rule("/method", "method", Answer.as_view("method"))
    return app


@pytest.mark.parametrize(
    ("views", "words"),
    [
        ({}, None),
        ({"view": True}, "The view 'view' is"),
        ({"method": True}, "The view 'method' is"),
        ({"view": True, "method": True}, "and 1 more are"),
    ],
)
def test_async_views_of_flask_need_the_extension(views: dict[str, bool], words: str | None) -> None:
    """Who wraps Flask in the bare middleware hears that async views do not use its loop."""
    app = flask_app(**views)
    app.wsgi_app = AsyncLoopMiddleware(app.wsgi_app)
    found = list(check_flask(subject(app)))
    assert severities(found) == ({} if words is None else {"flask-async-views": "warning"})
    assert all(str(words) in each.state for each in found)


def test_each_of_several_flask_apps_is_looked_at() -> None:
    """The one inside counts as well as the one that is served."""
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    both = DispatcherMiddleware(flask_app(), {"/other": flask_app(view=True)})
    found = list(check_flask(subject(AsyncLoopMiddleware(both))))
    assert severities(found) == {"flask-async-views": "warning"}


def test_async_views_of_flask_with_the_extension_are_well() -> None:
    """Who uses the extension hears nothing of async views, whatever is around the app."""
    app = flask_app(view=True)
    from wsgi_async.integrations.flask import AsyncLoop

    AsyncLoop(app)
    assert list(check_flask(subject(app))) == []
    assert list(check_flask(subject(AsyncLoopMiddleware(app)))) == []


def test_asgirefs_function_may_be_replaced_instead() -> None:
    """Where asgiref's function is ours, Flask's async views use the thread's loop."""
    asgiref = pytest.importorskip("wsgi_async.integrations.asgiref")
    app = AsyncLoopMiddleware(flask_app(view=True))
    asgiref.install()
    try:
        assert list(check_flask(subject(app))) == []
    finally:
        asgiref.uninstall()
    assert list(check_flask(subject(app))) != []


# -- Django ----------------------------------------------------------------------------------------

SETTINGS = """
SECRET_KEY = "none"
ROOT_URLCONF = "urls"
WSGI_APPLICATION = "served.application"
INSTALLED_APPS = ["wsgi_async.integrations.django"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
"""
URLS = """
import asyncio
from django.db import transaction
from django.http import HttpResponse
from django.urls import include, path

async def view(request):
    return HttpResponse("hello")

def sync(request):
    return HttpResponse("hello")

urlpatterns = [path("sync", sync), path("more/", include([path("async", view)]))]
"""
OURS = "from wsgi_async.integrations.django import get_wsgi_application"
DJANGOS = "from django.core.wsgi import get_wsgi_application"
SERVED = """
import os
from wsgi_async import AsyncLoopMiddleware
{imported}
os.environ["DJANGO_SETTINGS_MODULE"] = "project_settings"
application = {application}
"""


def project(
    folder: Path,
    *,
    imported: str = OURS,
    application: str = "get_wsgi_application(timeout=30)",
    settings: str = "",
    urls: str = "",
) -> Path:
    """A project in a folder."""
    return write(
        folder,
        project_settings=SETTINGS + settings,
        urls=URLS + urls,
        served=SERVED.format(imported=imported, application=application),
    )


def said(folder: Path, **environ: str) -> dict[str, str]:
    pytest.importorskip("django")
    findings = diagnose(folder, "served", **environ).findings
    return {code: each["severity"] for code, each in findings.items()}


def test_a_project_with_the_integration_is_well(tmp_path: Path) -> None:
    """Async views behind our get_wsgi_application() get no word."""
    assert said(project(tmp_path)) == {}


def test_static_files_may_be_around_it(tmp_path: Path) -> None:
    """Django's handler of static files around the integration is not taken for a bare handler."""
    imported = f"{OURS}\nfrom django.contrib.staticfiles.handlers import StaticFilesHandler"
    application = "StaticFilesHandler(get_wsgi_application(timeout=30))"
    settings = "STATIC_URL = '/static/'\n"
    folder = project(tmp_path, imported=imported, application=application, settings=settings)
    assert said(folder) == {}


def test_a_project_without_the_integration_is_told(tmp_path: Path) -> None:
    """Who has left Django's import in wsgi.py is told which to use."""
    pytest.importorskip("django")
    folder = project(tmp_path, imported=DJANGOS, application="get_wsgi_application()")
    found = diagnose(folder, "served").findings["not-wrapped"]
    assert found["severity"] == "error"
    assert "wsgi_async.integrations.django" in found["remedy"]


BARE = "AsyncLoopMiddleware(get_wsgi_application(), timeout=30)"


def test_the_bare_middleware_is_not_enough_for_django(tmp_path: Path) -> None:
    """Async views under the bare middleware get a warning, and async streams a note."""
    folder = project(tmp_path, imported=DJANGOS, application=BARE, settings="INSTALLED_APPS = []")
    expected = {"django-handler": "warning", "django-commands": "note"}
    assert said(folder) == expected
    folder = project(tmp_path, imported=DJANGOS, application=BARE)
    assert said(folder) == {"django-handler": "note"}


def test_async_views_in_a_transaction_get_an_error(tmp_path: Path) -> None:
    """ATOMIC_REQUESTS with an async view fails at the first request, and is reported before."""
    settings = "DATABASES['default']['ATOMIC_REQUESTS'] = True\n"
    assert said(project(tmp_path, settings=settings)) == {"django-atomic-requests": "error"}
    urls = "view = transaction.non_atomic_requests(view)\nurlpatterns = [path('', view)]\n"
    assert said(project(tmp_path, settings=settings, urls=urls)) == {}


def test_kept_connections_are_counted(tmp_path: Path) -> None:
    """More connections than a database allows by default are worth a note."""
    pytest.importorskip("gunicorn")
    settings = (
        "DATABASES['other'] = {'ENGINE': 'django.db.backends.postgresql', 'CONN_MAX_AGE': 60}\n"
    )
    ours = "-k wsgi_async.integrations.gunicorn.LoopThreadWorker --graceful-timeout 45"
    folder = project(tmp_path, settings=settings)
    assert said(folder, GUNICORN_CMD_ARGS=f"{ours} --workers 2 --threads 8") == {}
    many = said(folder, GUNICORN_CMD_ARGS=f"{ours} --workers 8 --threads 16")
    assert many == {"django-connections": "note"}


def test_runserver_needs_the_setting(tmp_path: Path) -> None:
    """Without WSGI_APPLICATION the development server does not use the integration."""
    assert said(project(tmp_path, settings="WSGI_APPLICATION = None")) == {
        "django-runserver": "note"
    }


def test_views_that_cannot_be_imported_are_told(tmp_path: Path) -> None:
    """A project whose views fail at import is not called well because its wsgi.py does not."""
    pytest.importorskip("django")
    done = run_doctor(project(tmp_path, urls="1 / 0\n"), "served")
    assert done.returncode == 2
    assert "ZeroDivisionError" in done.stdout
    assert "urls.py:" in done.stdout


def test_clients_of_views_are_found(tmp_path: Path) -> None:
    """The modules of the views are searched, which Django imports at the first request."""
    assert said(project(tmp_path, urls="lock = asyncio.Lock()\n")) == {"shared-client": "warning"}
