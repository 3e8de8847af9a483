"""A Django project with async views, made by a factory: each server process has one."""
# Django has no types, and what is guessed of them is wrong.
# pyright: reportAssignmentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication


def application(database: str, *, integrated: bool) -> WSGIApplication:
    """Set Django up, and make the project's application.

    Args:
        database: path of an SQLite file; made if it is not there.
        integrated: whether the integration makes it, or Django itself.
    """
    configure(database)
    if integrated:
        from wsgi_async.integrations.django import get_wsgi_application

        app: WSGIApplication = get_wsgi_application()
    else:
        from django.core.wsgi import get_wsgi_application as django_get_wsgi_application

        app = django_get_wsgi_application()
    fill()
    return app


def configure(database: str) -> None:
    """Give Django its settings: as few as possible, so that the time is that of the views."""
    from django.conf import settings

    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1"],
        INSTALLED_APPS=["benchmarks.django_project"],
        ROOT_URLCONF=f"{__name__}.views",
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": database,
                # As in production: to connect for each request would be most of what is measured.
                "CONN_MAX_AGE": None,
            }
        },
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
    )


def fill() -> None:
    """Make the table, with the one row that the views look for."""
    from django.db import connection

    from benchmarks.django_project.models import Fact

    with connection.schema_editor() as editor:
        editor.create_model(Fact)
    Fact.objects.create(pk=1, text="ok")
    connection.close()
