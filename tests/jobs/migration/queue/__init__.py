"""How much is under way at once."""
