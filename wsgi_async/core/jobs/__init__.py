"""Jobs for a loop, and what a thread does while it waits for them."""
