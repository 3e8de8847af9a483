"""Looking at the loops from outside: what they do, and what stands in their way."""
