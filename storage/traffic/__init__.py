"""How many bytes travel, and how many transfers at a time."""
