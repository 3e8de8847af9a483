"""As `startproject` writes it, but for the import."""

import os

from django.core.management import call_command

from wsgi_async.integrations.django import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.integrations.django.project.settings")

application = get_wsgi_application()

call_command("migrate", run_syncdb=True, verbosity=0)  # the tests' database is new
