"""Removes the local copy of an execution whose stored copy is proven."""
