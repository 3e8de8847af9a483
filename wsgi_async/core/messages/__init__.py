"""The errors that users get, and the advice in them."""
