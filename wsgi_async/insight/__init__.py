"""Look at the loops from outside: what they do, and what blocks them."""
