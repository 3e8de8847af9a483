"""The WSGI application: the one file of the project that is about `wsgi_async`."""

import os

from django.core.wsgi import get_wsgi_application

from wsgi_async import AsyncLoopMiddleware
from wsgi_async.integrations import asgiref

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "board.settings")

asgiref.install()
application = AsyncLoopMiddleware(get_wsgi_application(), reuse=True)
