"""Django: async views, middleware and ORM calls on a loop that stays open.

Change one import in `wsgi.py`, which `runserver` uses too::

    from wsgi_async.integrations.django import get_wsgi_application

    application = get_wsgi_application()

In a view, `current_loop` is the manager of the request's loop. For management commands and tests,
which do not import `wsgi.py`, add `"wsgi_async.integrations.django"` to `INSTALLED_APPS`.
"""

from .application import DjangoApplication, get_wsgi_application
from .current import current_loop
from .handler import Handler
from .processwide import install

__all__ = ["DjangoApplication", "Handler", "current_loop", "get_wsgi_application", "install"]
