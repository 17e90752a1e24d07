"""Removes the local copy of an execution that is proven to be stored."""
