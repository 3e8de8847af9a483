"""The admin's pages, which are sync: they and the async views use the same connection."""

from django.contrib import admin
from django.http import HttpRequest

from status.models import Address, Check


@admin.register(Address)
class AddressAdmin(admin.ModelAdmin):
    """The addresses."""

    search_fields = ["url"]


@admin.register(Check)
class CheckAdmin(admin.ModelAdmin):
    """The checks, newest first. The background task makes them; here they are only read."""

    list_display = ["address", "at", "status", "error", "latency_ms", "reused"]
    list_filter = ["address"]
    list_select_related = ["address"]
    ordering = ["-id"]

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        """Nobody adds a check by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Check | None = None) -> bool:  # noqa: ARG002
        """Nor corrects one."""
        return False
