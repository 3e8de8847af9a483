"""The inspector's page: who may see it, and how it looks."""
