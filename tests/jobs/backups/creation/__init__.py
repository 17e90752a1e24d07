"""How a backup is made: exact, or not at all."""
