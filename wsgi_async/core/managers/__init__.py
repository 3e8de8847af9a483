"""What a user holds: managers, found by id and thread, and what opens once on each loop."""
