"""The app for `INSTALLED_APPS`: sets up the integration if no `wsgi.py` is imported."""
# Django has no types, and strict mode would complain of each use of it.
# pyright: standard

from django.apps import AppConfig

from .processwide import install

__all__ = ["AsyncLoopConfig"]


class AsyncLoopConfig(AppConfig):
    """Lets management commands and tests call async code on their thread's own loop.

    Lives as long as the process.
    """

    name = "wsgi_async.integrations.django"
    label = "wsgi_async"
    verbose_name = "wsgi_async"

    def ready(self) -> None:
        """Called once by Django, when its settings are loaded."""
        install()
