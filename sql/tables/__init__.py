"""The program's own tables: how they are made and upgraded, and what they then have."""
