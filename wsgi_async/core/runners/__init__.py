"""What runs a loop: a keeper, a resident worker thread, or a server with a guest."""
