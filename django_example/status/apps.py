"""The app's entry in `INSTALLED_APPS`."""

from django.apps import AppConfig


class StatusConfig(AppConfig):
    """Lives as long as the process."""

    name = "status"
    verbose_name = "Status board"
