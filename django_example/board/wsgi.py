"""The WSGI application: the one file of the project that is about `wsgi_async`."""

import os

from wsgi_async.integrations.django import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "board.settings")

application = get_wsgi_application()
