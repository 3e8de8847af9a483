"""The board's own endpoints, on it from the start: it shows something without a network."""

from contextlib import suppress
from dataclasses import replace

from django.conf import settings
from django.db import IntegrityError, transaction

from status.models import Address


def move_to(port: int) -> None:
    """Have the board's own endpoints checked where the server listens. Those removed stay away."""
    base_url = replace(settings.BOARD, port=port).base_url
    for address in Address.objects.exclude(demo=None):
        address.url = base_url + address.demo
        with suppress(IntegrityError), transaction.atomic():  # somebody has added the very same
            address.save(update_fields=["url"])
