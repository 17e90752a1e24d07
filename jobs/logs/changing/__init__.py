"""Replaces a log by its compressed copy, or deletes it, and loses no byte."""
