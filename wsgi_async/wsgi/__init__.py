"""The parts of the middleware."""
