"""The Django project's application; made here, as making it needs the settings."""

from wsgi_async.integrations.django import get_wsgi_application

application = get_wsgi_application()
