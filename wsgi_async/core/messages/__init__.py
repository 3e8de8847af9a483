"""What a user is told: the errors, and the advice that goes into them."""
