"""The real command given something wrong: what the user sees, and what is left behind."""
