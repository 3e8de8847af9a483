"""At home in frameworks: each module knows one of them, and imports it."""

__all__: list[str] = []
