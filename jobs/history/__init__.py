"""Deletes the program's own records that are old and that nothing needs any more."""
