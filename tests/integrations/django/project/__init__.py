"""A small Django project. A package in earnest, as Django wants each app in one place."""
