"""Kills runs at every boundary between two steps, and looks with a program of its own at what is left."""
