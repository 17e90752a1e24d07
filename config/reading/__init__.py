"""Reads the files that settings may come from."""
