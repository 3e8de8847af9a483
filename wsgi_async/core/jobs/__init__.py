"""What a thread asks of a loop, and what it does while it waits."""
