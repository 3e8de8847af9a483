"""Put the board's own endpoints on it, once: who removes them does not get them back."""

from typing import Any

from django.conf import settings
from django.db import migrations

from example_app.demo import DEMO_PATHS


def add(apps: Any, _schema_editor: object) -> None:
    """Add them, where the server is expected; `status.demo` moves them to where it is."""
    objects = apps.get_model("status", "Address").objects
    for path in DEMO_PATHS:
        objects.create(url=settings.BOARD.base_url + path, demo=path)


class Migration(migrations.Migration):
    """A migration of the data."""

    dependencies = [("status", "0001_initial")]
    operations = [migrations.RunPython(add, migrations.RunPython.noop)]
