"""Integrations: each module is for one framework or server, and imports it."""

__all__: list[str] = []
