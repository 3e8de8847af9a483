"""A small Django project. A real package, as Django wants each app in one place."""
