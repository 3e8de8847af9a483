"""The admin's pages, sync as ever: they and the async views use the same connection."""

from django.contrib import admin

from status.models import Address, Check


@admin.register(Address)
class AddressAdmin(admin.ModelAdmin):
    """The addresses."""

    search_fields = ["url"]


@admin.register(Check)
class CheckAdmin(admin.ModelAdmin):
    """The checks, newest first."""

    list_display = ["address", "at", "status", "error", "latency_ms", "reused"]
    list_filter = ["address"]
    list_select_related = ["address"]
    ordering = ["-id"]
