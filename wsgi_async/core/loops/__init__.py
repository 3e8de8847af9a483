"""One event loop: how it is made, guarded and entered, and what lives on it."""
