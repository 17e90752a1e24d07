"""Rows written anew from what providers have."""
