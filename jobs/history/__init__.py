"""Deletes the program's own records that are old and no longer needed."""
