"""Compares what the database says with what the providers hold."""
